"""What a result is said to have found: the rule at fixed fractions, its sentences, and that no selection is hidden."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harmviz.claims.compression.finding import finding, sentence, verdict
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.series import Checkpoint
from harmviz.claims.compression.stored import read_result
from harmviz.claims.compression.verdicts import called
from harmviz.claims.compression.views.tables import fixed_table
from harmviz.runs import Run
from tests.worlds.compression import aligned_effects, ladder, made_before, results, store
from tests.worlds.fabricated import make_run

CHECKPOINTS = ladder(stages=(("dpo", 40),))
AGAINST_START = "safety-dpo-40 minus start"


def planted_run(root: Path, effects: dict[str, float] | None = None, **world: Any) -> Run:
    effects = effects or aligned_effects(CHECKPOINTS, safety=0.5, other=0.1)
    return store(root, results(effects, CHECKPOINTS, **{"noise": 0.03, "benign": 0.08, **world}))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted_run(tmp_path_factory.mktemp("planted") / "runs")


def contrastive(run: Run, rows: pd.DataFrame | None = None) -> FixedResult:
    return FixedResult(read_result(run, run.results() if rows is None else rows, "both"))


def edited(run: Run, metric: str, value: float, *, condition: str = AGAINST_START, q: float = 2e-5) -> pd.DataFrame:
    """The run's rows with one number at a fixed fraction changed, its interval narrow around it."""
    rows = run.results()
    here = (
        (rows["metric"] == metric) & (rows["condition"] == condition) & (rows["q"] == q) & (rows["contrast"] == "both")
    )
    assert here.sum() == 1
    rows.loc[here, ["value", "ci_low", "ci_high"]] = value, value - 0.01, value + 0.01
    return rows


def test_a_planted_difference_is_the_finding(planted: Run) -> None:
    fixed = contrastive(planted)
    assert verdict(fixed) == "more separable"
    title = sentence(fixed)
    assert title.startswith("Safety tuning makes harm more separable: harm − safe +0.")
    assert " at 0.002 % and 0.005 %, benign " in title
    assert title.endswith("beyond every control tuning; the ratio to benign rises")
    # 0.4 · 0.7 more of the harm-specific shift at the largest fraction, two thirds of it at the one before
    assert [d.specific.value for d in fixed.against_start()] == pytest.approx([0.28 * 2 / 3, 0.28], abs=0.06)


def test_no_difference_is_said_where_there_is_none(tmp_path: Path) -> None:
    flat = planted_run(tmp_path, {c.name: 0.2 for c in CHECKPOINTS}, noise=0.2)
    assert sentence(contrastive(flat)).startswith("No difference found between safety tuning and the start: ")
    assert finding(flat).verdict == "no difference found"
    table = fixed_table(contrastive(flat))
    assert "larger" not in table
    assert "no difference found" in table


@pytest.mark.parametrize(
    ("ends", "p_holm", "word"),
    [
        ((0.01, 0.09), 0.01, "more separable"),
        ((-0.09, -0.01), 0.01, "less separable"),
        ((-0.01, 0.09), 0.01, "undecided"),
        ((0.01, 0.09), 0.2, "no difference found"),
        ((-0.01, 0.09), 0.2, "no difference found"),
        ((0.01, 0.09), math.nan, "no difference found"),
    ],
)
def test_a_verdict_needs_interval_and_p_value(ends: tuple[float, float], p_holm: float, word: str) -> None:
    assert called(sum(ends) / 2, *ends, p_holm) == word


def test_a_gain_that_controls_share_is_not_called_alignment(tmp_path: Path) -> None:
    run = planted_run(tmp_path, {c.name: 0.1 if c.arm is None else 0.5 for c in CHECKPOINTS})
    assert {d.judged for d in contrastive(run).against_start()} == {"larger"}
    assert "but not beyond every control tuning" in sentence(contrastive(run))
    assert finding(run).verdict == "not beyond controls"


def test_a_gain_that_benign_text_shares_is_called_more_sensitive(tmp_path: Path) -> None:
    """Safety tuning makes everything five times as large: harm, safe and benign alike."""
    run = planted_run(tmp_path, shared=0.3)
    fixed = contrastive(run)
    assert all(d.specific.low > 0 and d.benign.rises and not d.ratio.rises for d in fixed.against_start())
    assert finding(run).verdict == "more sensitive to everything"
    assert sentence(fixed).startswith(
        "Safety tuning makes the model more sensitive to everything, not harm more separable"
    )


def test_a_gain_whose_ratio_cannot_be_told_is_undecided(planted: Run) -> None:
    rows = edited(planted, "ratio_to_benign_difference", 0.0)
    assert not any(d.benign.rises for d in contrastive(planted, rows).against_start())
    assert verdict(contrastive(planted, rows)) == "undecided"
    assert sentence(contrastive(planted, rows)).endswith("whether harm grew more than benign ΔL cannot be told")
    here = (rows["metric"] == "ratio_to_benign_difference") & (rows["q"] == 2e-5)
    rows.loc[here, ["value", "ci_low", "ci_high"]] = None  # a ratio that is not defined
    assert verdict(contrastive(planted, rows)) == "undecided"


@pytest.mark.parametrize("q", [2e-5, 5e-5])
def test_every_fixed_fraction_must_say_so(planted: Run, q: float) -> None:
    rows = edited(planted, "stable_p_holm", 0.3, q=q)
    assert verdict(contrastive(planted, rows)) == "undecided"
    assert sentence(contrastive(planted, rows)).endswith("not clear of 0 at every fraction")
    rows = edited(planted, "stable_p_holm", 0.3, condition="safety-dpo-40 minus helpful-only-dpo-40", q=q)
    assert verdict(contrastive(planted, rows)) == "not beyond controls"
    assert verdict(contrastive(planted, planted.results().query("q != @q"))) == "not measured"


def test_a_loss_of_separability_is_said(tmp_path: Path) -> None:
    run = planted_run(tmp_path, {c.name: 0.1 if c.arm == "safety" else 0.5 for c in CHECKPOINTS})
    assert sentence(contrastive(run)).startswith("Safety tuning makes harm less separable: harm − safe −")
    assert finding(run).verdict == "less separable"


def test_a_series_without_arms_speaks_of_its_last_checkpoint(tmp_path: Path) -> None:
    plain = [Checkpoint("base", "base"), Checkpoint("SFT", "SFT"), Checkpoint("DPO", "DPO")]
    run = store(tmp_path, results({"base": 0.1, "SFT": 0.2, "DPO": 0.5}, plain, noise=0.03, benign=0.08))
    assert sentence(contrastive(run)).startswith("Training up to DPO makes harm more separable")
    assert "control" not in sentence(contrastive(run))
    assert finding(run).verdict == "more separable", "a series without controls has none to exceed"


def test_the_finding_speaks_of_every_selection_and_is_json(planted: Run) -> None:
    whole = finding(planted)
    assert whole.verdict == "more separable"
    assert whole.sentence.startswith("Selected contrastive, safety tuning makes harm more separable: harm − safe +0.")
    assert "Selected as in the paper, safety tuning makes harm more separable: harm − safe +0." in whole.sentence
    assert json.loads(json.dumps(whole.as_dict(), allow_nan=False)) == whole.as_dict()
    numbers = whole.numbers["both"]
    rows = planted.results()
    rows = rows[(rows["metric"] == "stable_difference") & (rows["contrast"] == "both")]
    rows = rows[rows["condition"] == AGAINST_START].sort_values("q")
    assert [line["specific"]["value"] for line in numbers["against_start"]] == rows["value"].tolist()
    assert [line["q"] for line in numbers["against_start"]] == [2e-5, 5e-5]
    assert {line["against"] for line in numbers["against_controls"]} == {"helpful-only-dpo-40", "refusal-style-dpo-40"}
    assert len(numbers["against_controls"]) == 4


def test_the_verdict_is_the_contrastive_one_and_the_plain_one_stands_beside_it(planted: Run) -> None:
    rows = planted.results()
    rows.loc[(rows["metric"] == "stable_p_holm") & (rows["contrast"] == "none"), "value"] = 0.5
    whole = finding(planted, rows)
    assert {contrast: of["verdict"] for contrast, of in whole.numbers.items()} == {
        "none": "no difference found",
        "both": "more separable",
    }
    assert whole.verdict == "more separable"
    assert "Selected as in the paper, no difference found between safety tuning and the start" in whole.sentence
    only = finding(planted, rows[rows["contrast"] == "none"])
    assert (only.verdict, only.sentence.count("Selected")) == ("no difference found", 1)


def test_a_result_made_before_the_stable_index_shows_its_values_and_says_what_is_missing(planted: Run) -> None:
    rows = made_before(planted.results())
    before, now = contrastive(planted, rows), contrastive(planted)
    assert not before.tested
    assert verdict(before) == "made before the stable index"
    for old, new in zip(before.differences, now.differences, strict=True):
        assert (old.a, old.b, old.q) == (new.a, new.b, new.q)
        assert old.specific.value == pytest.approx(new.specific.value)
        assert old.specific.by_seed == pytest.approx(new.specific.by_seed)
        assert old.benign.value == pytest.approx(new.benign.value)
        if not math.isnan(old.ratio.value):
            assert old.ratio.value == pytest.approx(new.ratio.value)
        assert all(math.isnan(number) for number in (old.specific.low, old.ratio.high, old.p_holm))
        assert old.judged == "not tested"
    whole = finding(planted, rows)
    assert whole.sentence.startswith(
        "Made before the stable index, without intervals at fixed fractions: contrastive, "
    )
    assert whole.sentence.count("Made before") == 1
    assert json.loads(json.dumps(whole.as_dict(), allow_nan=False)) == whole.as_dict()


def test_a_result_without_separabilities_was_not_measured(planted: Run, tmp_path: Path) -> None:
    manifest = planted.manifest
    empty = make_run(
        tmp_path, rows=[], kind="experiment", weights=[], method=manifest["method"], parameters=manifest["parameters"]
    )
    assert finding(empty).verdict == "not measured"
