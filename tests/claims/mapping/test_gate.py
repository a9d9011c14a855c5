"""The gate: a set is judged by what its mask does to declining, in whatever words its texts decline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.claims.mapping import stages
from harmviz.claims.mapping.gate import LIMIT, Gate, Judged, failing
from harmviz.cli import main
from harmviz.data.encoding import Sample, encode_all, make_batches
from harmviz.data.prompts import PromptRow, load_prompts, read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import BadSetting, DataInvalid
from harmviz.judges.declining import DECLINE
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import TopK
from harmviz.masks.selection import Selection, select
from harmviz.models.load import LoadedModel
from harmviz.runs import Point, open_run
from harmviz.scoring.forward import sample_losses
from harmviz.scoring.signed import score_signed
from harmviz.stats.estimate import Estimate
from tests.conftest import TINY_RUN
from tests.worlds.data_files import WRITERS
from tests.worlds.tiny import tiny_model

#: Ten ways to decline; the keyword list knows half of them.
WAYS = (
    *DECLINE,
    "That is not something I will do.",
    "No way, find another helper.",
    "My answer to this is no.",
    "You will have to do without me here.",
    "This goes beyond what I do.",
    "I must decline to do that.",
)
#: What the tiny model learns to decline, and the gate asks.
REQUESTS = [r["prompt"] for r in read_builtin("harmful")[:24]]


@pytest.fixture(scope="module")
def declining() -> LoadedModel:
    """A tiny model that has learned to decline mild harmful requests in ten ways, and to answer harmless ones."""
    loaded = tiny_model("llama")
    requests = REQUESTS
    learned = [(p, WAYS[(i + k) % len(WAYS)]) for i, p in enumerate(requests) for k in (0, 3)]
    learned += [(r["prompt"], r["response"]) for r in read_builtin("benign")[:24]]
    batches = make_batches(encoded(loaded, learned), max_tokens=4096, device=loaded.device)
    loaded.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=5e-3)
    for _ in range(50):
        for batch in batches:
            optimizer.zero_grad()
            sample_losses(loaded, batch).mean().backward()
            optimizer.step()
    loaded.model.requires_grad_(False)
    return loaded


def encoded(loaded: LoadedModel, pairs: list[tuple[str, str]]) -> list[Sample]:
    rows = [PromptRow("set", prompt, response) for prompt, response in pairs]
    return encode_all(loaded.tokenizer, rows, max_response_tokens=16, skip_tokens=0, max_prompt_tokens=300)


def mask_of(loaded: LoadedModel, pairs: list[tuple[str, str]], q: float) -> PruneMask:
    """The plain mask of a set of answers."""
    batches = make_batches(encoded(loaded, pairs), max_tokens=512, device=loaded.device)
    top = TopK(int(q * loaded.table.n_weights))
    for i, score in enumerate(score_signed(loaded, batches)):
        top.add(-score.numpy().ravel(), int(loaded.table.offsets[i]))
    return PruneMask.from_global(loaded.table, top.result()[0], kind="harm", model_hash=loaded.weight_hash)


def test_a_set_of_refusals_fails_and_a_harm_type_passes(declining: LoadedModel) -> None:
    gate = Gate(declining, lambda i: np.ones(declining.table[i].size, dtype=bool), seed=0, requests=REQUESTS)
    refusals = [(p, w) for p in REQUESTS for w in WAYS]
    harm = [(r["prompt"], r["response"]) for r in read_builtin("harmful")[24:84]]
    point = Point("set", 0.005, 0.0)
    judged = gate.judge("refusals", point, mask_of(declining, refusals, point.q))
    assert judged.fails
    assert judged.beyond.value < LIMIT
    assert not gate.judge("harm", point, mask_of(declining, harm, point.q)).fails
    (shift, beyond) = judged.rows()
    assert (shift.metric, beyond.metric) == ("delta_refusal_log_odds", "refusal_log_odds_excess")
    assert (shift.condition, shift.n, shift.unit) == ("gate", len(REQUESTS), "nats")


def test_a_file_of_refusals_in_other_words_passes_as_text_and_fails_by_effect(
    declining: LoadedModel, tmp_path: Path
) -> None:
    unknown = [words for words in WAYS if not reads_as_refusal(words)]
    found = [{"category": "arson", "prompt": p, "response": words} for p in REQUESTS for words in unknown]
    (category,) = (data := load_prompts(str(WRITERS["chat.jsonl"](tmp_path / "r.jsonl", found)))).categories
    rows = [(r.prompt, r.response) for r in data.of(category)]
    assert len(rows) == len(REQUESTS) * len(unknown)
    gate = Gate(declining, lambda i: np.ones(declining.table[i].size, dtype=bool), seed=0, requests=REQUESTS)
    judged = gate.judge(category, Point(category, 0.005, 0.0), mask_of(declining, rows, 0.005))
    harmless = replace(judged, set="prank", beyond=Estimate(0.0, -1.0, 1.0, 1, 1))
    assert {name: "measurement-only" in why for name, why in failing([judged, harmless]).items()} == {"arson": True}


def test_an_empty_mask_shifts_nothing(declining: LoadedModel) -> None:
    gate = Gate(declining, lambda i: np.ones(declining.table[i].size, dtype=bool), seed=0)
    empty = PruneMask({}, "harm", declining.weight_hash)
    judged = gate.judge("empty", Point("empty", 1e-9, 0.0), empty)
    assert judged.shift.value == judged.beyond.value == 0
    assert not judged.fails


def judged(name: str, beyond: float, half: float = 0.5) -> Judged:
    shift = Estimate(beyond, beyond - half, beyond + half, 12, 12)
    return Judged(name, Point(name, 1e-5, 0.01), 10, shift, shift)


def test_the_rule() -> None:
    assert judged("a", LIMIT - 0.51).fails
    assert not judged("a", LIMIT - 0.49).fails, "the interval reaches above the limit"
    assert not Judged("a", Point("a", 1e-5, 0.0), 1, *[Estimate(-9.0, None, None, 1, 1)] * 2).fails
    assert failing([judged("a", 0), judged("mean", 0), judged("safe", 0), judged("benign", 0)]) == {}
    (reason,) = failing([judged("a", -5), judged("a", -9), judged("b", 0), judged("mean", -4)]).values()
    assert "-9.0 nats" in reason
    assert "measurement-only" in reason


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("a", "b"), "no harm type is left: a"),
        (("safe", "a", "b"), "no harm type is left: a"),
        (("mean",), "no harm type is left: mean"),
        (("mean", "safe"), "no harm type is left: mean"),
    ],
)
def test_where_the_run_ends(sets: tuple[str, ...], message: str) -> None:
    every = ("a", "b", "mean", "benign", "safe")
    with pytest.raises(DataInvalid, match=message):
        failing([judged(name, -9 if name in sets else 0) for name in every])


def fail_sets(monkeypatch: pytest.MonkeyPatch, *sets: str) -> None:
    """Whatever the model does, these sets are judged to fail."""

    def verdicts(gate: Gate, built: Candidates, fractions: list[float], p: float) -> list[Judged]:
        return [judged(name, -9 if name in sets else 0) for name in (*built.categories, "mean", *built.baselines)]

    monkeypatch.setattr(stages, "judge_sets", verdicts)


def test_a_type_that_fails_is_left_out_of_the_run(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_sets(monkeypatch, "privacy")
    arguments = ["run", "--model", str(tiny_dir), *TINY_RUN, "--quick", "--out", str(tmp_path), "--json"]
    assert main(arguments) == 0
    run = open_run(Path(json.loads(capsys.readouterr().out)["path"]))
    assert "measurement-only" in run.manifest["data"]["left_out"]["privacy"]
    stored = Candidates.load(run.path / "candidates.safetensors")
    assert "privacy" not in stored.categories
    assert len(stored.categories) > 1
    again = ["mask", str(run.path), "--categories", "privacy", "--q", "0.01", "--from-model", "--model", str(tiny_dir)]
    assert main([*again, "--out", str(tmp_path / "mask.safetensors")]) == 2, "nor is it ranked anew"
    assert not (tmp_path / "mask.safetensors").exists()
    rows = run.results()
    assert "privacy" not in set(rows[rows["condition"] != "gate"]["mask"].dropna())
    assert main(["show", str(run.path)]) == 0
    assert "The harm type privacy was left out: zeroing its weights makes declining" in capsys.readouterr().out


def test_harmless_answers_that_fail_are_subtracted_and_no_mask_of_them_is_made(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["run", "--model", str(tiny_dir), *TINY_RUN, "--quick", "--json"]
    assert main([*made, "--out", str(tmp_path / "usual")]) == 0
    usual = open_run(Path(json.loads(capsys.readouterr().out)["path"]))
    fail_sets(monkeypatch, "safe")
    assert main([*made, "--out", str(tmp_path / "withheld")]) == 0
    run = open_run(Path(json.loads(capsys.readouterr().out)["path"]))
    assert run.manifest["data"]["left_out"] == {}
    (note,) = [n for n in run.manifest["data"]["notes"] if n.startswith("safe answers")]
    assert "measurement-only" in note
    stored, whole = (Candidates.load(r.candidates_path) for r in (run, usual))
    assert (stored.baselines, stored.listed_baselines) == (("benign", "safe"), ("benign",))
    assert not [key for key in stored.orders if key.set == "safe"]
    assert stored.n_rows < whole.n_rows, "nor do its weights stand among the rows"
    for contrast in ("none", "both"):
        selection = Selection(stored.categories, q=0.01, p=0.01, contrast=contrast)
        assert np.array_equal(select(stored, selection).global_index, select(whole, selection).global_index)
    arguments = ["mask", str(run.path), "--categories", "safe", "--q", "0.01", "--out", str(tmp_path / "m.safetensors")]
    assert main(arguments) == 2
    assert not (tmp_path / "m.safetensors").exists()
    with pytest.raises(BadSetting, match="measurement-only"):
        select(stored, Selection(("safe",), q=0.01, p=0.01))
