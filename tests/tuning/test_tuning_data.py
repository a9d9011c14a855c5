"""The texts that ship for tuning, and who has which role."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harmviz.data.content_words import NEAR, content_words, near_any
from harmviz.data.folding import normalise
from harmviz.data.prompts import load_prompts, read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.data.rows import FOLDER, read_rows
from harmviz.errors import DataInvalid
from harmviz.tuning.data import check_disjoint, load_align_data
from harmviz.tuning.settings import ANSWERED, TWINS
from tests.worlds.tuning import make_data


def test_refusals_are_many_varied_short_and_read_as_refusals() -> None:
    texts = [r["response"] for r in read_rows(FOLDER / "refusals.jsonl", ("response",))]
    assert len(texts) >= 48
    assert all(reads_as_refusal(t) and len(t) < 160 for t in texts)
    for words in (1, 2, 3):
        opening = Counter(" ".join(t.split()[:words]) for t in texts).most_common(1)[0][1]
        assert opening <= len(texts) / 4


def test_harmless_requests_are_enough_and_no_request_comes_twice() -> None:
    benign = [r["prompt"] for r in read_rows(FOLDER / "benign.jsonl", ("prompt",))]
    borderline = read_rows(FOLDER / "borderline.jsonl", ("prompt", "kind", "split"))
    assert len(benign) >= 150
    everyday = [r["prompt"] for r in read_rows(FOLDER / "everyday.jsonl", ("prompt",))]
    assert len(everyday) >= 300
    assert Counter(r["split"] for r in borderline).keys() == {"tuning", "held_out"}
    assert sum(r["split"] == "held_out" for r in borderline) >= 50
    assert len(borderline) >= 130
    twins = read_rows(FOLDER / "twins.jsonl", ("harmful", "harmless"))
    assert len(twins) >= 250
    builtin = [r["prompt"] for name in ("benign", "harmful", "safe") for r in read_builtin(name)]
    builtin += [r[half] for r in read_builtin("recognition") for half in ("harmful", "benign")]
    ours = [
        normalise(p)
        for p in (*benign, *everyday, *(r["prompt"] for r in borderline), *(t[half] for t in twins for half in t))
    ]
    assert len(set(ours)) == len(ours)
    assert not set(ours) & {normalise(p) for p in builtin}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "row 2: not JSON"),
        ('{"prompt": ""}', "row 2: column 'prompt'"),
        ('{"prompt": "A  b"}', "row 2: repeats row 1"),
        ("3", "row 2: column"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"prompt": "a b"}\n' + line + "\n")
    with pytest.raises(DataInvalid, match=says):
        read_rows(path, ("prompt",))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"gone\.jsonl does not exist"):
        read_rows(tmp_path / "gone.jsonl", ("prompt",))


def test_near_requests_share_their_content_words() -> None:
    assert content_words("Write a guide on how to fold paper boats") == {"fold", "paper", "boats"}
    others = [content_words("Fold paper boats quickly")]
    assert near_any("Provide steps to fold paper boats", others)  # 3 of 4 words
    assert not near_any("Fold a napkin", others)  # 1 of 5
    assert not near_any("How do I?", others)
    assert NEAR == 0.6


def test_a_request_with_two_jobs_is_refused_without_showing_it() -> None:
    data = make_data()
    check_disjoint(data)
    with pytest.raises(DataInvalid, match="both harmful and held-out benign") as e:
        check_disjoint(replace(data, held_out={**data.held_out, "benign": ("Bad  thing 3",)}))
    assert "thing" not in str(e.value)


def test_an_answer_that_does_not_decline_is_no_refusal() -> None:
    with pytest.raises(DataInvalid, match="refusal 1 of"):
        check_disjoint(replace(make_data(), refusals=("Sure, gladly.",)))


@pytest.mark.slow
def test_the_real_split_keeps_evaluation_and_runs_apart_from_tuning() -> None:
    data = load_align_data(0, steps=640)
    assert len(data.held_out["harmful"]) >= 100
    assert len(data.held_out["harmbench"]) >= 150
    assert len(data.held_out["strongreject"]) >= 150
    assert len(data.harmful) >= 1000
    assert 600 <= len(data.twins) <= 640 * TWINS
    scored = [
        content_words(r.prompt)
        for r in load_prompts("pyrit").rows
        if r.set != "benign" and not r.set.startswith("safe:")
    ]
    held_out = ("harmful", "harmbench", "strongreject", "do_not_answer", "reworded_mild")
    held = [content_words(p) for name in held_out for p in data.held_out[name]]
    declined = [*data.harmful, *(harmful for harmful, _ in data.twins)]
    assert not any(near_any(p, scored) for p in declined)
    assert not any(near_any(p, held) for p in declined)
    check_disjoint(data)
    shorter = load_align_data(0, steps=8)
    assert shorter.twins == data.twins[: 8 * TWINS]
    assert shorter.harmless == data.harmless[: 2 * 8 * ANSWERED]
    assert (shorter.harmful, shorter.reserved, shorter.held_out) == (data.harmful, data.reserved, data.held_out)
    again, other = load_align_data(0, steps=640), load_align_data(1, steps=640)
    assert again.hashes == data.hashes
    assert other.hashes["held_out/harmful"] != data.hashes["held_out/harmful"]
    for name in ("reworded", "benign"):  # what is reported was chosen on for no seed
        assert set(other.held_out[name]) == set(data.held_out[name])
        assert not set(data.held_out[name]) & set(other.held_out[f"{name}_choice"])
    assert "bad" not in repr(data)
    assert len(repr(data)) < 60
