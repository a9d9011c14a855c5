"""What a result is said to have found: the rule, its sentence, and that no selection hides another."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harmviz.claims.compression.finding import finding, judged, sentence
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.stored import Difference, read_result
from harmviz.claims.compression.views.tables import differences_table
from harmviz.runs import Run
from tests.worlds.compression import aligned_effects, ladder, results, store
from tests.worlds.fabricated import make_run

CHECKPOINTS = ladder(stages=(("sft", 60), ("dpo", 40)))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("planted") / "runs"
    return store(root, results(aligned_effects(CHECKPOINTS, safety=0.5, other=0.1), CHECKPOINTS, noise=0.08))


def contrastive(run: Run) -> str:
    """The sentence about the contrastive selection."""
    return sentence(read_result(run, run.results(), "both"))


def test_a_planted_difference_is_the_finding(planted: Run) -> None:
    title = contrastive(planted)
    assert title.startswith("Safety tuning makes harm more separable: +0.")
    assert title.endswith("and more than every control tuning")


def test_no_difference_is_said_where_there_is_none(tmp_path: Path) -> None:
    flat = store(tmp_path, results({c.name: 0.2 for c in CHECKPOINTS}, CHECKPOINTS, noise=0.2))
    assert contrastive(flat).startswith("No difference found")
    table = differences_table(read_result(flat, flat.results(), "both"), "separability")
    assert "more separable" not in table
    assert "no difference found" in table


@pytest.mark.parametrize(
    ("ends", "p_holm", "called"),
    [
        ((0.01, 0.09), 0.01, "more separable"),
        ((-0.09, -0.01), 0.01, "less separable"),
        ((-0.01, 0.09), 0.01, "undecided"),
        ((0.01, 0.09), 0.2, "no difference found"),
        ((-0.01, 0.09), 0.2, "no difference found"),
        ((0.01, 0.09), math.nan, "no difference found"),
    ],
)
def test_a_verdict_needs_interval_and_p_value(ends: tuple[float, float], p_holm: float, called: str) -> None:
    row = pd.Series({"value": sum(ends) / 2, "ci_low": ends[0], "ci_high": ends[1]})
    assert judged(Difference("a", "b", "start", row, None, p_holm, p_holm, 3, 3)) == called


def test_a_gain_that_controls_share_is_not_called_alignment(tmp_path: Path) -> None:
    all_gain = {c.name: 0.1 if c.arm is None else 0.5 for c in CHECKPOINTS}
    run = store(tmp_path, results(all_gain, CHECKPOINTS, noise=0.08))
    assert "more separable" in contrastive(run)
    assert contrastive(run).endswith("no difference to the control tunings was found")
    assert finding(run).verdict == "not beyond controls"


def test_a_loss_of_separability_is_said(tmp_path: Path) -> None:
    effects = {c.name: 0.1 if c.arm == "safety" else 0.5 for c in CHECKPOINTS}
    assert "makes harm less separable: −" in contrastive(store(tmp_path, results(effects, CHECKPOINTS, noise=0.08)))


def test_a_series_without_arms_speaks_of_its_last_checkpoint(tmp_path: Path) -> None:
    plain = [Checkpoint("base", "base"), Checkpoint("SFT", "SFT"), Checkpoint("DPO", "DPO")]
    run = store(tmp_path, results({"base": 0.1, "SFT": 0.2, "DPO": 0.5}, plain, noise=0.08))
    assert contrastive(run).startswith("Training up to DPO makes harm more separable")
    assert finding(run).verdict == "more separable", "a series without controls has none to exceed"


def test_the_finding_speaks_of_every_selection_and_is_json(planted: Run) -> None:
    whole = finding(planted)
    assert whole.verdict == "more separable"
    assert whole.sentence.startswith("Selected as in the paper, safety tuning makes harm more separable: +0.")
    assert "Selected contrastive, safety tuning makes harm more separable: +0." in whole.sentence
    assert json.loads(json.dumps(whole.as_dict(), allow_nan=False)) == whole.as_dict()
    numbers = whole.numbers["both"]
    rows = planted.results()
    rows = rows[(rows["metric"] == "separability_difference") & (rows["contrast"] == "both")].set_index("condition")
    assert numbers["against_start"]["value"] == rows["value"]["safety-dpo-40 minus start"]
    assert set(numbers["against_controls"]) == {"helpful-only-dpo-40", "refusal-style-dpo-40"}
    assert {control["verdict"] for control in numbers["against_controls"].values()} == {"more separable"}


def test_selections_that_disagree_are_undecided(planted: Run) -> None:
    rows = planted.results()
    rows.loc[(rows["metric"] == "p_holm") & (rows["contrast"] == "none"), "value"] = 0.5
    whole = finding(planted, rows)
    assert {contrast: of["verdict"] for contrast, of in whole.numbers.items()} == {
        "none": "no difference found",
        "both": "more separable",
    }
    assert whole.verdict == "undecided"
    assert "no difference found between safety tuning and the start" in whole.sentence
    only = finding(planted, rows[rows["contrast"] == "both"])
    assert (only.verdict, only.sentence.count("Selected")) == ("more separable", 1)


def test_a_result_without_separabilities_was_not_measured(planted: Run, tmp_path: Path) -> None:
    manifest = planted.manifest
    empty = make_run(
        tmp_path, rows=[], kind="experiment", weights=[], method=manifest["method"], parameters=manifest["parameters"]
    )
    assert finding(empty).verdict == "not measured"
