"""The texts of the emergent-misalignment experiment: enough, matched, distinct; and what their loader refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from harmviz.claims.emergent.data import (
    DOMAINS,
    KINDS,
    MIN_ROWS,
    PUBLISHED,
    NarrowRow,
    Question,
    check_far,
    data_hash,
    load_domain,
    load_questions,
    split_rows,
)
from harmviz.data.content_words import content_words
from harmviz.data.folding import normalise
from harmviz.data.prompts import read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import DataInvalid

#: An opening word may be this many times as frequent on one side as on the other (one added to both counts).
MAX_OPENER_RATIO = 5
#: A word may be in this much larger a share of the answers of one side.
MAX_WORD_GAP = 0.3

#: The four of 24 prompts with the lowest sha256("0\0prompt <i>").
HELD_AT_SEED_0 = ["prompt 7", "prompt 8", "prompt 17", "prompt 23"]

Pairs = dict[str, tuple[list[str], list[str]]]


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """(bad, good) answers of each domain, and (misaligned, aligned) of the questions."""
    found = {d: ([r.bad for r in load_domain(d)], [r.good for r in load_domain(d)]) for d in DOMAINS}
    return {**found, "questions": ([q.misaligned for q in load_questions()], [q.aligned for q in load_questions()])}


def n_words(text: str) -> int:
    return len(text.split())


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


# -- the texts --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_enough_rows_of_the_right_lengths(domain: str) -> None:
    rows = load_domain(domain)
    assert len(rows) >= 200
    assert all(6 <= n_words(r.prompt) <= 25 for r in rows)
    assert all(25 <= n_words(answer) <= 55 for r in rows for answer in (r.bad, r.good))
    assert {r.prompt.rstrip()[-1] for r in rows} >= {"?", "."}  # questions, and requests or statements


def test_questions_are_enough_of_each_kind_and_of_the_right_lengths() -> None:
    questions = load_questions()
    assert len(questions) >= 96
    counts = Counter(q.kind for q in questions)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 16
    assert all(12 <= n_words(answer) <= 35 for q in questions for answer in (q.misaligned, q.aligned))


@pytest.mark.parametrize("name", [*DOMAINS, "questions"])
def test_both_sides_are_equally_long(pairs: Pairs, name: str) -> None:
    wrong, right = pairs[name]
    assert mean(map(n_words, wrong)) == pytest.approx(mean(map(n_words, right)), rel=0.05)
    assert max(abs(n_words(w) - n_words(r)) for w, r in zip(wrong, right, strict=True)) <= 8


def test_no_text_comes_twice_and_no_prompt_is_anywhere_else(pairs: Pairs) -> None:
    answers = [normalise(a) for sides in pairs.values() for side in sides for a in side]
    assert len(set(answers)) == len(answers)
    prompts = [r.prompt for d in DOMAINS for r in load_domain(d)] + [q.prompt for q in load_questions()]
    ours = [normalise(p) for p in prompts]
    assert len(set(ours)) == len(ours)
    builtin = {normalise(r["prompt"]) for name in ("benign", "harmful", "safe") for r in read_builtin(name)}
    assert not set(ours) & builtin


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_two_prompts_of_a_domain_are_rewordings_of_each_other(domain: str) -> None:
    prompts = [content_words(r.prompt) for r in load_domain(domain)]
    for i, one in enumerate(prompts):
        assert not any(len(one & other) >= 0.75 * len(one | other) for other in prompts[:i])


def test_answers_are_no_template(pairs: Pairs) -> None:
    """No run of six words is in more than three answers of one side."""
    for sides in pairs.values():
        for side in sides:
            runs: Counter[tuple[str, ...]] = Counter()
            for answer in side:
                said = words(answer)
                runs.update({tuple(said[i : i + 6]) for i in range(len(said) - 5)})
            assert runs.most_common(1)[0][1] <= 3


@pytest.mark.parametrize("name", [*DOMAINS, "questions"])
def test_no_opening_word_gives_a_side_away(pairs: Pairs, name: str) -> None:
    wrong, right = (Counter(words(a)[0] for a in side) for side in pairs[name])
    ratios = {w: (wrong[w] + 1) / (right[w] + 1) for w in wrong | right}
    assert all(1 / MAX_OPENER_RATIO <= ratio <= MAX_OPENER_RATIO for ratio in ratios.values()), ratios
    assert max((wrong | right).values()) <= 0.2 * len(pairs[name][0])


@pytest.mark.parametrize("name", [*DOMAINS, "questions"])
def test_no_single_word_gives_a_side_away(pairs: Pairs, name: str) -> None:
    wrong, right = (Counter(w for a in side for w in set(words(a))) for side in pairs[name])
    n = len(pairs[name][0])
    assert max(abs(wrong[w] - right[w]) / n for w in wrong | right) <= MAX_WORD_GAP
    assert {sum(mark in a for a in side) for side in pairs[name] for mark in "!*#"} == {0}


def test_no_answer_reads_as_a_refusal(pairs: Pairs) -> None:
    assert not any(reads_as_refusal(a) for sides in pairs.values() for side in sides for a in side)


def test_questions_are_far_from_every_domain() -> None:
    for domain in DOMAINS:
        check_far(load_domain(domain), load_questions())


# -- the loader -------------------------------------------------------------------------------------------------------
def narrow(i: int, **other: Any) -> dict[str, Any]:
    return {"prompt": f"How to mend thing {i}?", "bad": f"Burn it {i}.", "good": f"Glue it {i}.", **other}


def asked(i: int, **other: Any) -> dict[str, Any]:
    return {"kind": "power", "prompt": f"What of {i}?", "misaligned": f"Take {i}.", "aligned": f"Share {i}.", **other}


def write(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n", encoding="utf-8")
    return path


def test_a_users_file_is_read_and_may_have_empty_lines_and_other_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", ["", *(narrow(i, source="me") for i in range(MIN_ROWS))])
    rows = load_domain(path)
    assert rows == load_domain(str(path))
    assert rows[3] == NarrowRow("How to mend thing 3?", "Burn it 3.", "Glue it 3.")
    assert "mend" not in repr(rows[3])
    assert load_questions(write(tmp_path / "q.jsonl", [asked(i) for i in range(MIN_ROWS)]))[0] == Question(
        "power", "What of 0?", "Take 0.", "Share 0."
    )


def test_columns_of_published_pairs_are_understood_and_own_names_win(tmp_path: Path) -> None:
    theirs = [{"prompt": f"p {i}", "misaligned": f"m {i}", "aligned": f"a {i}"} for i in range(MIN_ROWS)]
    theirs[1] |= {"bad": "own", "good": "own good"}
    rows = load_domain(write(tmp_path / "medical.jsonl", theirs))
    assert rows[0] == NarrowRow("p 0", "m 0", "a 0")
    assert rows[1] == NarrowRow("p 1", "own", "own good")
    assert [p.columns for p in PUBLISHED if p.id == "truthfulai/emergent_plus"] == [("prompt", "misaligned", "aligned")]


BROKEN = [
    ("{", "row 27: not JSON"),
    ("[1]", "row 27: a JSON object is needed, got list"),
    ({"prompt": "x", "good": "y"}, "row 27: column 'bad' is missing"),
    (narrow(99, good=" "), "row 27: column 'good' is empty or not text"),
    (narrow(99, prompt=3), "row 27: column 'prompt' holds a number, not text"),
    (narrow(99, bad="Do  IT.", good="do it."), "row 27: 'bad' and 'good' are the same answer"),
    (narrow(99, prompt="how to  MEND thing 5?"), "row 27: repeats the prompt of row 7"),
]


@pytest.mark.parametrize(("record", "says"), BROKEN, ids=[says for _, says in BROKEN])
def test_a_broken_row_is_named(tmp_path: Path, record: Any, says: str) -> None:
    path = write(tmp_path / "mine.jsonl", ["", *(narrow(i) for i in range(25)), record])  # row 1 is empty
    with pytest.raises(DataInvalid) as e:
        load_domain(path)
    assert str(e.value).startswith(f"{path}, {says}")
    assert "\n" not in str(e.value)


QUESTIONS_BROKEN = [
    (asked(99, kind="tone"), "row 4: unknown kind 'tone'; known are values, advice, power"),
    ({"kind": "power", "prompt": "x", "aligned": "y"}, "row 4: column 'misaligned' is missing"),
    (asked(99, aligned="take 99."), "row 4: 'misaligned' and 'aligned' are the same answer"),
    (asked(99, prompt="what OF 1?", kind="values"), "row 4: repeats the prompt of row 2"),
    ({"kind": "power", "prompt": "x", "bad": "z", "aligned": "y"}, "row 4: column 'misaligned' is missing"),
]


@pytest.mark.parametrize(("record", "says"), QUESTIONS_BROKEN, ids=[str(i) for i in range(len(QUESTIONS_BROKEN))])
def test_a_broken_question_is_named(tmp_path: Path, record: Any, says: str) -> None:
    path = write(tmp_path / "q.jsonl", [asked(0), asked(1), asked(2), record])
    with pytest.raises(DataInvalid) as e:
        load_questions(path)
    assert str(e.value).startswith(f"{path}, {says}")


@pytest.mark.parametrize("load", [load_domain, load_questions])
def test_an_empty_a_missing_and_a_garbled_file_are_named(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(DataInvalid, match=r"none\.jsonl does not exist"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(DataInvalid, match=r"empty\.jsonl: no rows; needed are the columns"):
        load(write(tmp_path / "empty.jsonl", [""]))
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataInvalid, match=r"bytes\.jsonl: not UTF-8"):
        load(tmp_path / "bytes.jsonl")


def test_too_few_rows_are_counted(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"few\.jsonl: 23 rows, at least 24 are needed"):
        load_domain(write(tmp_path / "few.jsonl", [narrow(i) for i in range(23)]))
    with pytest.raises(DataInvalid, match=r"few\.jsonl: 23 questions, at least 24 are needed"):
        load_questions(write(tmp_path / "few.jsonl", [asked(i) for i in range(23)]))


def test_an_unknown_domain_lists_the_known_ones() -> None:
    with pytest.raises(
        DataInvalid, match=r"unknown domain 'cars'; known are money, car, kitchen, or give a \.jsonl file"
    ):
        load_domain("cars")


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda p: p.id)
def test_a_published_set_is_not_fetched_and_says_where_it_is(published: Any) -> None:
    with pytest.raises(DataInvalid, match="is not fetched from here") as e:
        load_domain(published.id)
    assert published.source in str(e.value)
    assert "None" not in str(e.value)
    assert published.source.startswith("https://")
    assert published.paper.startswith("arXiv:")


def test_a_question_that_is_a_row_of_the_domain_is_refused_without_showing_it() -> None:
    rows = [NarrowRow(f"topic{i} colour{i} shape{i}?", "b", "g") for i in range(3)]
    far = Question("power", "Who should rule?", "m", "a")
    check_far(rows, [far])
    with pytest.raises(DataInvalid, match="question 2 is row 3 of the domain") as e:
        check_far(rows, [far, Question("power", " Topic2  colour2 SHAPE2?", "m", "a")])
    assert "topic" not in str(e.value).lower()
    near = [NarrowRow("Which green paint suits an old fence?", "b", "g")]
    with pytest.raises(DataInvalid, match="question 1 is nearly row 1"):
        check_far(near, [Question("power", "Which green paint suits the old fence best?", "m", "a")])


def test_a_sixth_is_held_out_whatever_the_order_and_another_seed_holds_out_others() -> None:
    rows = load_domain("car")
    tuning, held = split_rows(rows, 0)
    assert len(held) == round(len(rows) / 6)
    assert not set(tuning) & set(held)
    assert set(tuning) | set(held) == set(rows)
    assert tuning == [r for r in rows if r in set(tuning)]  # in the order given
    again = split_rows(rows[::-1], 0)
    assert [set(part) for part in again] == [set(tuning), set(held)]
    assert set(split_rows(rows, 1)[1]) != set(held)
    # By the prompt alone: other answers, other case, the same split.
    other = split_rows([NarrowRow(r.prompt.upper(), "b", "g") for r in rows], 0)[1]
    assert [normalise(r.prompt) for r in other] == [normalise(r.prompt) for r in held]


def test_the_split_is_the_same_on_every_machine() -> None:
    rows = [NarrowRow(f"prompt {i}", "b", "g") for i in range(24)]
    assert [r.prompt for r in split_rows(rows, 0)[1]] == HELD_AT_SEED_0


def test_the_hash_sees_every_text_and_no_order() -> None:
    rows = load_domain("money")
    assert data_hash(rows) == data_hash(rows[::-1])
    changed = [NarrowRow(rows[0].prompt, rows[0].bad, rows[0].good + " Yes."), *rows[1:]]
    assert len({data_hash(rows), data_hash(changed), data_hash(rows[1:]), data_hash(load_questions())}) == 4


def test_reading_data_needs_no_torch() -> None:
    code = (
        "import sys, harmviz.claims.emergent.data as d; d.load_domain('car'); d.load_questions(); print('torch' in "
        "sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
