"""Both selections at equal harm effect: by hand on made-up curves, and on a run of a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.curves import at_level
from harmviz.claims.mapping import equal_effect
from harmviz.claims.mapping.equal_effect import OURS, PAPER, EqualEffect, equal_effects
from harmviz.claims.mapping.sample_losses import sample_losses
from harmviz.claims.mapping.views import equal_effect as view
from harmviz.runs import Run, open_run
from harmviz.stats.estimate import Estimate

GRID = (1e-5, 2e-5, 4e-5)


def losses(slope: dict[tuple[str, str], float], *, prompts: int = 12, bend: float = 0.0) -> pd.DataFrame:
    """Losses of made-up samples: under the mask of (selection, q) a text's loss rises by ``slope · q``, every prompt a
    little otherwise; ``bend``: more than that beyond the second point."""
    rng = np.random.default_rng(0)
    rows = []
    for category in ("hate", "violence", "safe:hate", "benign", "benign_own"):
        for i in range(prompts):
            own = 1 + 0.2 * rng.standard_normal()
            intact = 2 + rng.random()
            base = {"split": "validation", "sample": f"{category}{i}", "prompt": f"{category}{i}", "category": category}
            rows.append({**base, "nll": intact})
            for contrast in (PAPER, OURS):
                for q in GRID:
                    rise = slope.get((contrast, category), 0.0) * (q + bend * max(0.0, q - GRID[1])) * own
                    rows.append(
                        {
                            **base,
                            "digest": f"{contrast}{q}",
                            "set": "mean(all)",
                            "scope": "global",
                            "q": q,
                            "p": 0.01,
                            "contrast": contrast,
                            "nll": intact + rise,
                        }
                    )
    frame = pd.DataFrame(rows)
    return frame.assign(control=None, nll_skip8=frame["nll"])


@pytest.fixture
def made_up(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[pd.DataFrame], Run]:
    run = open_run(tiny_run)

    def put(frame: pd.DataFrame) -> Run:
        monkeypatch.setattr(equal_effect, "sample_losses", lambda _: frame)
        return replace(
            run, manifest={**run.manifest, "parameters": {**run.manifest["parameters"], "fixed_point": [1e-5, 0.01]}}
        )

    return put


def test_a_value_is_read_where_the_level_is_first_reached() -> None:
    height = np.array([[0, 1, 3], [0, 3, 1], [0, 1, 1.5], [0, -1, 2]], dtype=float)
    value = np.array([[0, 10, 30], [0, 30, 90], [0, 1, 2], [0, 4, 8]], dtype=float)
    np.testing.assert_allclose(at_level(height, value, 2.0), [20, 20, np.inf, 8])
    np.testing.assert_allclose(at_level(height, value, 1.0), [10, 10, 1, 4 + 4 * 2 / 3])


def test_costs_are_those_of_the_curves(made_up: Callable[[pd.DataFrame], Run]) -> None:
    slopes = {(PAPER, "hate"): 2e4, (PAPER, "violence"): 2e4, (PAPER, "benign"): 1e4, (PAPER, "benign_own"): 4e3}
    slopes |= {(OURS, "hate"): 1e4, (OURS, "violence"): 1e4, (OURS, "benign"): 1e3, (OURS, "benign_own"): 4e3}
    found = {(e.effect, e.text): e for e in equal_effects(made_up(losses(slopes)), targets=(0.1, 0.2, 0.6), draws=200)}
    assert {effect for effect, _ in found} == {0.1, 0.2}, "0.6 is beyond what the contrastive curve reaches"
    own = 1 + 0.05  # the mean over a dozen prompts is not quite 1
    for effect in (0.1, 0.2):
        benign, mine = found[effect, "benign"], found[effect, "benign_own"]
        assert benign.paper.value == pytest.approx(effect / 2, rel=own - 1 + 0.1)
        assert benign.ours.value == pytest.approx(effect / 10, rel=own - 1 + 0.1)
        assert benign.difference.value == pytest.approx(benign.ours.value - benign.paper.value)
        low, high = benign.difference.ci_low, benign.difference.ci_high
        assert low is not None
        assert high is not None
        assert low < benign.difference.value < high < 0
        assert (benign.n, benign.halved) == (12, True)
        assert mine.ours.value == pytest.approx(2 * mine.paper.value), "twice as many weights, each as dear"
        assert mine.halved is False


def test_types_weigh_alike_and_curves_may_bend(made_up: Callable[[pd.DataFrame], Run]) -> None:
    slopes = {(PAPER, "hate"): 3e4, (PAPER, "violence"): 1e4, (OURS, "hate"): 3e4, (OURS, "violence"): 1e4}
    slopes |= {(PAPER, "benign"): 1e4, (OURS, "benign"): 1e4}
    (e, *_) = equal_effects(made_up(losses(slopes, bend=4.0)), targets=(0.8,), draws=50)
    # 2e4 (q + 4 (q − 2e-5)) = 0.8 between 2e-5 and 4e-5: all curves bend alike, so the cost is half of the effect.
    assert e.paper.value == pytest.approx(0.4, rel=0.15)
    assert e.difference.value == 0


def test_a_type_may_be_called_safe_something(made_up: Callable[[pd.DataFrame], Run]) -> None:
    slopes = {(PAPER, "hate"): 2e4, (PAPER, "benign"): 1e4, (OURS, "hate"): 2e4, (OURS, "benign"): 1e4}
    named = losses(slopes)
    named["category"] = named["category"].replace("violence", "safecracking")
    (one, *_), (other, *_) = (equal_effects(made_up(f), targets=(0.1,), draws=20) for f in (losses(slopes), named))
    assert one.paper.value == other.paper.value


def test_what_is_not_there_is_not_told(made_up: Callable[[pd.DataFrame], Run], tiny_run: Path) -> None:
    only = losses({(PAPER, "hate"): 1e5, (PAPER, "violence"): 1e5})
    assert equal_effects(made_up(only[(only["contrast"] != OURS)])) == []
    assert equal_effects(made_up(only)) == [], "the contrastive curve is flat"
    run = open_run(tiny_run)
    without = {name: fact for name, fact in run.manifest["files"].items() if name != "losses.parquet"}
    assert equal_effects(replace(run, manifest={**run.manifest, "files": without})) == []
    assert view.NONE in view.markup([])


def test_a_tiny_runs_own_curves(tiny_run: Path) -> None:
    """Against the stored losses, read anew."""
    run = open_run(tiny_run)
    p = run.manifest["parameters"]["fixed_point"][1]
    kept = sample_losses(run)
    kept = kept[kept["split"] == "validation"]
    intact = kept[kept["digest"].isna()].set_index("sample")["nll"]
    masks = kept[(kept["set"] == "mean(all)") & (kept["p"] == p) & (kept["contrast"] == PAPER)]
    masks = masks[masks["control"].isna() | (masks["control"] == "none")]
    rise = masks.assign(rise=masks["nll"].to_numpy() - intact[masks["sample"]].to_numpy())
    means = rise.groupby(["category", "q"])["rise"].mean().unstack("q")
    harmful = means[[not (c.startswith("safe") or c.startswith("benign")) for c in means.index]].mean()
    level = float(harmful.iloc[-1]) / 2
    assert level > 0
    found = [e for e in equal_effects(run, targets=(level,), draws=20) if e.text == "benign"]
    assert found
    for e in found:
        expected = at_level(np.array([0, *harmful]), np.array([0, *means.loc["benign"]]), level)
        assert e.paper.value == pytest.approx(float(expected))


def test_a_table_says_what_was_found() -> None:
    def estimate(value: float, half: float = 0.01) -> Estimate:
        return Estimate(value, value - half, value + half, 9, 9)

    halved = EqualEffect(0.2, "benign", estimate(0.1), estimate(0.04), estimate(-0.06), 21)
    unclear = EqualEffect(0.2, "benign_own", estimate(0.005), estimate(0.02), estimate(0.015), 21)
    assert view.lines([halved, unclear]) == [
        [
            "+0.2",
            "by others, n = 21",
            "+0.100 [+0.090, +0.110]",
            "+0.040 [+0.030, +0.050]",
            "−0.060 [−0.070, −0.050]",
            "yes",
        ],
        [
            "+0.2",
            "its own, n = 21",
            "+0.005 [−0.005, +0.015]",
            "+0.020 [+0.010, +0.030]",
            "+0.015 [+0.005, +0.025]",
            "paper includes 0",
        ],
    ]
    assert halved.as_dict()["paper"]["value"] == 0.1
    assert "at most half" in view.markup([halved])
