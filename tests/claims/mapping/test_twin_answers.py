"""Author-matched twins: equal lengths, paired differences by hand, and what a run makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.claims.mapping import stages, twin_answers
from harmviz.claims.mapping.sample_losses import sample_losses
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.twin_answers import (
    Answered,
    answered_by,
    held_out_pairs,
    opened_by,
    samples_of,
    twin_rows,
)
from harmviz.cli import main
from harmviz.data.encoding import encode_prompt
from harmviz.data.twins import Twin, twins
from harmviz.models.load import LoadedModel
from harmviz.runs import list_runs, open_run
from harmviz.runs.point import Point
from harmviz.runs.rows import Where
from tests.conftest import QUICK_RUN
from tests.worlds.tiny import tiny_model

PAIRS = [Twin(f"harmful request {i}", f"harmless request {i}") for i in range(6)]
WHERE = Where(experiment="effect", point=Point("mean(all)", 1e-5, 0.01, contrast="both"), n_weights=7, skip_tokens=0)


def test_both_halves_are_of_one_length_and_refusals_and_short_answers_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    author = tiny_model()
    wrote = ["a long answer of some words " * 3, "another answer " * 9, "I'm sorry, but I can't help with that. " * 2]
    tokens = [author.tokenizer.encode(text, add_special_tokens=False) for text in (*wrote, "x")]
    drawn = [tokens[0], tokens[1], tokens[2], tokens[0], tokens[0], tokens[3]]
    monkeypatch.setattr("harmviz.tuning.answers.sampled", lambda *_, **__: drawn)
    # The tiny model's tokenizer puts blanks between all letters.
    monkeypatch.setattr(twin_answers, "reads_as_refusal", lambda text: text.replace(" ", "").startswith("I'msorry"))
    (kept,) = answered_by(author, PAIRS[:3], seed=0, tick=lambda done, total: None)
    assert kept.twin == PAIRS[0]
    shorter = min(len(tokens[0]), len(tokens[1]))
    (harmful,), (harmless,) = samples_of(author, [kept])
    assert len(kept.harmful.split()) <= shorter
    assert harmful.n_loss == harmless.n_loss > shorter, "with the blanks"
    assert harmful.prompt_id == harmless.prompt_id == kept.id
    assert harmful.row_id != harmless.row_id


def test_answers_behind_an_opener_have_it_before_them_without_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    author = tiny_model()
    asked: list[list[int]] = []

    def decode(_: LoadedModel, prompts: list[list[int]], limit: int, **__: object) -> list[list[int]]:
        asked.extend(prompts)
        return [list(range(5, 5 + limit - i)) for i in range(len(prompts))]

    monkeypatch.setattr("harmviz.tuning.answers.generate_batch", decode)
    kept = opened_by(author, PAIRS[:2], "Sure, here is", tick=lambda done, total: None)
    begun = author.tokenizer.encode("Sure, here is", add_special_tokens=False)
    halves = [half for twin in PAIRS[:2] for half in twin]
    assert asked == [[*encode_prompt(author.tokenizer, half), *begun] for half in halves]
    harmful, harmless = samples_of(author, kept, "Sure, here is")
    for pair, samples in zip(PAIRS[:2], zip(harmful, harmless, strict=True), strict=True):
        for request, sample in zip(pair, samples, strict=True):
            start = [*encode_prompt(author.tokenizer, request), *begun]
            assert list(sample.ids[: sample.n_prompt]) == start
            assert sample.loss_from == len(start)
    assert [s.n_loss for s in harmful] == [s.n_loss for s in harmless]


def test_halves_are_cut_to_one_length_in_the_readers_own_tokens() -> None:
    loaded = tiny_model()
    pair = Answered(PAIRS[0], "one two three four five six", "one two")
    (harmful,), (harmless,) = samples_of(loaded, [pair])
    assert harmful.n_loss == harmless.n_loss == len(loaded.tokenizer.encode("one two", add_special_tokens=False))


def test_the_difference_is_paired() -> None:
    delta = np.array([1.0, 2, 3, 4, 0.5, 1.5, 2.5, 3.5])
    rows = {(r.metric, r.category): r for r in twin_rows("abcd", delta, WHERE, seed=0)}
    assert rows["twin_delta_nll", "harm"].value == 2.5
    assert rows["twin_delta_nll", "benign"].value == 2.0
    specific = rows["harm_specific_twin", "harm"]
    assert (specific.value, specific.ci_low, specific.ci_high, specific.n) == (0.5, 0.5, 0.5, 4)


def test_the_pairs_are_those_that_nothing_is_tuned_on() -> None:
    tuned, held = twins()
    assert held_out_pairs() == held
    assert not set(held) & set(tuned)


def test_the_setting_is_part_of_the_runs_identity_only_where_it_is_used() -> None:
    assert "twins" not in RunSpec().parameters()
    spec = RunSpec(twins=True)
    assert spec.parameters()["twins"] is True
    assert RunSpec.of_run(spec.parameters()) == spec
    assert RunSpec.of_run(RunSpec().parameters()) == RunSpec()


def test_a_run_measures_them_beside_its_controls(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    author: LoadedModel = tiny_model(seed=3)
    monkeypatch.setattr("harmviz.models.load.load_model", _author_once(author))
    monkeypatch.setattr(stages, "held_out_pairs", lambda: PAIRS)
    monkeypatch.setattr(twin_answers, "LEAST", 1)
    assert main(["run", "--model", str(tiny_dir), *QUICK_RUN, "--twins", "--out", str(tmp_path)]) == 0
    run = open_run(str(list_runs(tmp_path)[0].path))
    told = run.manifest["data"]["twins"]
    assert told["of"] == len(PAIRS)
    assert 2 <= told["pairs"] <= len(PAIRS)
    rows = run.results()
    shown = rows[(rows["metric"] == "harm_specific_twin") & (rows["mask"] == "mean(all)")]
    assert {"none", "random", "mirror_safe", "mirror_benign"} <= set(shown["control"])
    assert set(shown["contrast"]) == {"none", "both"}
    assert (shown["n"] == told["pairs"]).all()
    kept = sample_losses(run)
    here = kept[kept["split"] == "twins"]
    mask = run.manifest["method"]["headline"]["both"]
    digest = run.manifest["digests"][f"mask.{mask['mask']}"]
    pruned = here[here["digest"] == digest].set_index("sample")["nll"]
    intact = here[here["digest"].isna()].set_index("sample")["nll"]
    half = (pruned - intact).groupby(lambda sample: sample.rpartition(".")[2]).mean()
    own = shown[(shown["control"] == "none") & (shown["contrast"] == "both") & (shown["q"] == mask["q"])]
    assert own["value"].iloc[0] == pytest.approx(half["harmful"] - half["harmless"], abs=1e-9)
    text = json.dumps(dict(run.manifest))
    assert "harmful request" not in text


def test_a_model_is_no_twin_author_of_itself(tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "AUTHOR", str(tiny_dir))
    assert main(["run", "--model", str(tiny_dir), *QUICK_RUN, "--twins", "--out", str(tmp_path)]) == 0
    (run,) = list_runs(tmp_path)
    assert run.manifest["data"]["twins"]["pairs"] == 0
    assert not (run.results()["metric"] == "harm_specific_twin").any()


def _author_once(author: LoadedModel) -> Callable[..., LoadedModel]:
    """``load_model`` that gives ``author`` where the author is asked for."""
    from harmviz.models.load import load_model

    def load(name: str, **how: Any) -> LoadedModel:
        return author if name == stages.AUTHOR else load_model(name, **how)

    return load
