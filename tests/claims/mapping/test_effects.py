"""What the rows of an effect say: means by set, what is resampled with what, the spread of drawn controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harmviz.claims.mapping.authorship import balance_rows, matched_rows, pairs_of, source_rows
from harmviz.claims.mapping.effects import control_rows, effect_rows
from harmviz.claims.mapping.samples import MeasuredSet
from harmviz.data.encoding import Sample
from harmviz.runs import Row
from harmviz.runs.point import Point
from harmviz.runs.rows import Where
from harmviz.stats import bootstrap
from harmviz.stats.bootstrap import cluster_bootstrap
from harmviz.stats.draws import linked_strata
from harmviz.stats.matching import Matched

CATEGORIES = ("hate", "privacy")
WHERE = Where(experiment="effect", point=Point("mean(all)", 1e-5, 0.01, contrast="both"), n_weights=7, skip_tokens=0)


def measured(**sizes: int) -> MeasuredSet:
    """Sets of so many samples, each with a prompt of its own; ``safe_hate`` is ``safe:hate``."""
    sets = [name.replace("safe_", "safe:") for name, n in sizes.items() for _ in range(n)]
    samples = tuple(Sample(f"row{i}", f"prompt{i}", (1, 2), 1, 1) for i in range(len(sets)))
    return MeasuredSet(samples, tuple(sets))


def one(rows: list[Row], metric: str, category: str) -> Row:
    (row,) = [r for r in rows if (r.metric, r.category) == (metric, category)]
    return row


def test_rows_by_hand_carry_their_address() -> None:
    held_out = measured(hate=2, privacy=2, safe_hate=2, safe_privacy=2, benign=2)
    delta = np.array([1.0, 3.0, 5.0, 7.0, 0.5, 0.5, 1.5, 1.5, 0.1, 0.3])
    rows = list(effect_rows(held_out, delta, CATEGORIES, WHERE, seed=0))
    assert [(r.metric, r.category) for r in rows] == [
        ("delta_nll", "hate"),
        ("delta_nll", "privacy"),
        ("delta_nll", "safe:hate"),
        ("delta_nll", "safe:privacy"),
        ("delta_nll", "benign"),
        ("delta_nll", "harm"),
        ("delta_nll", "safe"),
        ("harm_specific", "harm"),
        ("harm_minus_benign", "harm"),
    ]
    values = [2.0, 6.0, 0.5, 1.5, 0.2, 4.0, 1.0, 3.0, 3.8]
    assert [r.value for r in rows] == pytest.approx(values)
    for row in rows:
        assert (row.mask, row.q, row.p, row.scope, row.contrast) == ("mean(all)", 1e-5, 0.01, "global", "both")
        assert (row.control, row.n_weights, row.skip_tokens, row.unit) == ("none", 7, 0, "nats/token")
    intact = list(effect_rows(held_out, delta, CATEGORIES, Where(experiment="effect"), seed=0, metric="nll"))
    assert {r.metric for r in intact} == {"nll"}
    assert intact[0].q is None


def test_what_is_resampled_with_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """Harm minus safe within categories; harm minus benign in one: benign prompts stand against every category."""
    strata: list[list[int]] = []

    def seen(member: np.ndarray, cell_stratum: np.ndarray | None) -> list[np.ndarray]:
        groups = linked_strata(member, cell_stratum)
        strata.append([len(g) for g in groups])
        return groups

    monkeypatch.setattr(bootstrap, "linked_strata", seen)
    held_out = measured(hate=5, privacy=4, safe_hate=3, safe_privacy=2, benign=6)
    list(effect_rows(held_out, np.linspace(0, 1, 20), CATEGORIES, WHERE, seed=0))
    *sets, harm, safe, specific, against_benign = strata
    assert sets == [[5], [4], [3], [2], [6]]
    assert harm == [5, 4]
    assert safe == [3, 2]
    assert specific == [8, 6]
    assert against_benign == [15]


def width(low: float | None, high: float | None) -> float:
    assert low is not None
    assert high is not None
    return high - low


def test_one_stratum_gives_harm_minus_benign_the_width_it_has_within_categories() -> None:
    n, ratios = 8, []
    held_out = measured(hate=n, privacy=n, benign=3 * n)
    cell = np.repeat([0, 1, 2], [n, n, 3 * n])
    for seed in range(12):
        delta = np.random.default_rng(seed).normal(size=5 * n)
        row = one(list(effect_rows(held_out, delta, CATEGORIES, WHERE, seed=0)), "harm_minus_benign", "harm")
        within = cluster_bootstrap(
            delta, range(5 * n), cell, 3, lambda m: (m[..., 0] + m[..., 1]) / 2 - m[..., 2], cell_stratum=np.arange(3)
        )
        assert row.value == pytest.approx(within.value)
        assert row.n == within.n_clusters == 5 * n, "a benign prompt counts once, whatever it stands against"
        ratios.append(width(row.ci_low, row.ci_high) / width(within.ci_low, within.ci_high))
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)


def test_the_spread_of_draws_pools_the_samples_of_all_categories() -> None:
    held_out = measured(hate=3, privacy=1, benign=2)
    of_draws = [
        np.array([1.0, 1.0, 1.0, 5.0, 0.0, 0.0]),
        np.array([2.0, 2.0, 2.0, 2.0, 0.2, 0.4]),
        np.array([3.0, 3.0, 3.0, 7.0, 0.6, 0.6]),
    ]
    rows = list(control_rows(held_out, of_draws[0], of_draws, CATEGORIES, replace(WHERE, control="random"), seed=0))
    spread = one(rows, "draw_sd", "harm")
    # pooled means 2, 2, 4: sd of 2/√3; the macro means 3, 2, 5 would have another
    assert spread.value == pytest.approx(2 / np.sqrt(3))
    assert (spread.n, spread.control, spread.ci_low) == (3, "random", None)
    assert one(rows, "draw_sd", "benign").value == pytest.approx(0.3)
    assert one(rows, "excess_over_control", "hate").value == pytest.approx(-1.0)
    alone = control_rows(held_out, of_draws[0], of_draws[:1], CATEGORIES, WHERE, seed=0)
    assert "draw_sd" not in {r.metric for r in alone}


# -- authorship -------------------------------------------------------------------------------------------------------
def sourced(*samples: tuple[str, str, str, int]) -> MeasuredSet:
    """(set, source, prompt, response tokens) of each sample."""
    made = tuple(Sample(f"row{i}", prompt, (1,) * (n + 1), 1, 1) for i, (_, _, prompt, n) in enumerate(samples))
    return MeasuredSet(made, tuple(s[0] for s in samples), tuple(s[1] for s in samples))


def test_harm_minus_safe_by_source_averages_the_types_that_a_source_has_both_of() -> None:
    held_out = sourced(
        *[("hate", "people", f"a{i}", 9) for i in range(3)],
        *[("privacy", "people", f"b{i}", 9) for i in range(3)],
        *[("safe:hate", "people", f"c{i}", 9) for i in range(3)],
        *[("safe:privacy", "written", f"d{i}", 9) for i in range(3)],
        ("benign", "written", "e", 9),
    )
    values = np.array([1.0, 2, 3, 10, 10, 10, 0.5, 0.5, 0.5, 7, 7, 7, 0])
    (row,) = source_rows(held_out, values, CATEGORIES, WHERE, seed=0)
    assert (row.metric, row.category, row.value, row.n) == ("harm_specific_source", "people", 1.5, 6)
    assert row.ci_low is not None
    assert row.ci_low < 1.5 < row.ci_high


def test_pairs_are_of_one_source_and_type_and_alike_in_length_and_loss() -> None:
    held_out = sourced(
        ("hate", "people", "a", 10),
        ("hate", "people", "b", 40),
        ("hate", "models", "c", 10),
        ("privacy", "people", "d", 10),
        ("safe:hate", "people", "e", 41),
        ("safe:hate", "people", "f", 10),
        ("safe:hate", "models", "g", 500),
        ("safe:privacy", "people", "h", 10),
        ("safe:privacy", "people", "i", 10),
        ("benign", "people", "j", 10),
    )
    intact = np.array([3.0, 2.0, 3.0, 3.0, 2.1, 3.1, 3.0, 9.0, 3.2, 3.0])
    pairs = pairs_of(held_out, intact, CATEGORIES)
    # "c" has only an answer fifty times as long, and stays alone; "d" takes the answer that is as likely as itself.
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {(0, 5), (1, 4), (3, 8)}
    values = np.array([1.0, 2.0, 99, 3.0, 1.0, 0.5, 99, 99, 1.5, 99])
    (row,) = matched_rows(held_out, pairs, values, WHERE, seed=0)
    assert (row.metric, row.value, row.n) == ("harm_specific_matched", pytest.approx((0.5 + 1.0 + 1.5) / 3), 3)
    gaps = {r.category: r for r in balance_rows(pairs, WHERE)}
    assert set(gaps) == {"length", "loss"}
    assert abs(gaps["loss"].value or 0) < 0.1
    assert gaps["loss"].n == 3


def test_pairs_that_share_a_prompt_are_one_cluster() -> None:
    held_out = sourced(
        *[("hate", "people", p, 10) for p in "abc"],
        *[("safe:hate", "people", p, 10) for p in "bxc"],
    )
    values = np.array([1.0, 2, 3, 0, 0, 0])
    pairs = Matched(np.array([0, 1, 2]), np.array([3, 4, 5]), np.zeros(2))
    (row,) = matched_rows(held_out, pairs, values, WHERE, seed=0)
    assert row.n == 2, "a–b and b–x hang together, c–c stands alone"
    assert not list(matched_rows(held_out, Matched(np.array([]), np.array([]), np.zeros(2)), values, WHERE, seed=0))
