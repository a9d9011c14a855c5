"""The numbers and words of the overlap page, from hand-made rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harmviz.claims.mapping.views import concentration, intersections, overlap, overlap_words, transfer
from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.runs import Row, rows_to_frame
from tests.worlds.overlap import concentration_rows, overlap_rows, transfer_rows

HALF = {
    ("hate", "privacy"): 0.01,
    ("hate", "benign"): 0.006,
    ("hate", "safe"): 0.02,
    ("privacy", "benign"): 0.003,
    ("privacy", "safe"): 0.03,
}


def overlap_of(half: dict[tuple[str, str], float] = HALF, contrast: str = "none", **options: Any) -> overlap.Overlap:
    return overlap.overlap_at(rows_to_frame(overlap_rows(half, contrast=contrast, **options)), contrast, 1e-4)


# -- overlap --------------------------------------------------------------------------------------------------------
def test_only_points_with_overlap_are_offered() -> None:
    rows = [*overlap_rows(HALF), *overlap_rows(HALF, q=1e-5), *overlap_rows(HALF, contrast="both")]
    rows.append(
        Row(
            experiment="overlap",
            metric="jaccard_ceiling",
            mask="mean(all)",
            category="mean(all)",
            contrast="none",
            q=5e-6,
            value=0.1,
        )
    )
    assert overlap.points(rows_to_frame(rows)) == {"none": [1e-5, 1e-4], "both": [1e-4]}
    assert overlap.points(rows_to_frame([])) == {}


def test_pairs_stand_beside_their_ceilings_and_the_headline_masks_ceiling_is_not_a_type() -> None:
    rows = overlap_rows(HALF)
    rows.append(
        Row(
            experiment="overlap",
            metric="jaccard_ceiling",
            mask="mean(all)",
            category="mean(all)",
            contrast="none",
            q=1e-4,
            value=0.9,
            n=9,
        )
    )
    shared = overlap.overlap_at(rows_to_frame(rows), "none", 1e-4)
    assert (shared.categories, shared.baselines) == (("hate", "privacy"), ("safe", "benign"))
    assert shared.mean_ceiling == pytest.approx((0.04 + 0.01) / 2)
    pair = shared.between("harm").iloc[0]
    assert (pair["jaccard"], pair["intersection"], pair["n_a"], pair["n_b"]) == (pytest.approx(0.02), 420, 24, 17)
    assert pair["relative"] == pytest.approx(0.01 / math.sqrt(0.04 * 0.01))
    assert shared.relative_mean("safe") == pytest.approx(
        (0.02 / math.sqrt(0.04 * 0.16) + 0.03 / math.sqrt(0.01 * 0.16)) / 2
    )


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (0.01, "fewer weights with each other than"),
        (0.024, "about as many weights with each other as"),
        (0.04, "more weights with each other than"),
    ],
)
def test_selected_as_in_the_paper_the_finding_measures_harm_against_other_text(harm: float, words: str) -> None:
    # The mean overlap with safe answers is (0.02 + 0.03) / 2 = 0.025.
    assert (
        overlap_words.sentence(overlap_of(HALF | {("hate", "privacy"): harm}))
        == f"Harm types share {words} with same-topic safe answers"
    )


def test_the_contrastive_finding_measures_against_chance_and_ceiling_and_says_what_is_built_in() -> None:
    shared = overlap_of(contrast="both")
    assert overlap_words.sentence(shared) == "Harm types overlap at 50 × chance: 50 % of what a type shares with itself"
    assert any("built in and is no finding" in line for line in overlap_words.notes(shared))
    assert not any("built in" in line for line in overlap_words.notes(overlap_of()))


def test_notes_carry_the_means_the_types_that_lead_and_the_ceiling() -> None:
    lines = overlap_words.notes(overlap_of())
    assert lines[0] == (
        "Mean Jaccard of half-sample masks, harm types with: each other 1.0 %; same-topic safe answers 2.5 %; "
        "benign answers 0.45 %; a type with itself (the ceiling) 2.5 %."
    )
    assert lines[1] == "0 of 2 types share more with the other harm types than with same-topic safe answers."
    assert "n = 64–155 harmless answers against 17–24 a harm type" in lines[2]
    assert "each other 50 %; same-topic safe answers 50 %" in lines[2]
    assert "agree on only 2.5 % of their weights" in lines[3]
    assert overlap_words.notes(overlap_of(HALF | {("hate", "privacy"): 0.025}))[1].startswith("1 of 2 types")


def test_the_grid_is_symmetric_and_its_diagonal_is_the_ceiling() -> None:
    cells = overlap.grid_cells(overlap_of()).set_index(["row", "column"])
    assert len(cells) == 2 * 4
    assert cells.loc[("hate", "privacy"), "text"] == cells.loc[("privacy", "hate"), "text"] == "2.0 %\n50 ×"
    assert cells.loc[("hate", "hate"), "text"] == "halves\n4.0 %"
    assert cells["ceiling"].sum() == 2
    assert math.isnan(cells.loc[("hate", "hate"), "value"])
    note = cells.loc[("hate", "same topic, no harm"), "note"]
    for part in ("420 weights in both", "50 × chance", "pairings 1.0 % … 4.0 %", "n = 24 and 155 scoring answers"):
        assert part in note


def test_like_is_compared_with_like() -> None:
    table = overlap.comparison(overlap_of())
    assert table.groupby("group", sort=False)["value"].mean().round(5).to_dict() == {
        "harm type with harm type": 0.01,
        "harm type with same-topic safe answers": 0.025,
        "harm type with benign answers": 0.0045,
        "ceiling: a type with itself": 0.025,
        "chance: harm types shuffled": 0.0004,
    }
    assert table["mean_text"].iloc[0] == "mean 1.0 % · 1 pair"
    assert (
        overlap_words.comparison_words(overlap_of()).title
        == "Two harm types share 50 % of what each shares with itself"
    )


def test_one_type_no_chance_and_no_baselines() -> None:
    alone = overlap_of({("hate", "safe"): 0.02, ("hate", "benign"): 0.01})
    assert overlap_words.sentence(alone).startswith("Only one harm type")
    assert overlap.grid_cells(alone)["column"].tolist() == ["hate", "same topic, no harm", "benign, by others"]
    assert not overlap.comparison(alone).empty
    assert overlap.times(None) == "–"
    bare = overlap_of({("hate", "privacy"): 0.01})
    assert overlap_words.sentence(bare) == "Harm types overlap at 50 × chance: 50 % of what a type shares with itself"
    assert not any("safe" in line for line in overlap_words.notes(bare))


# -- exact intersections and the core -------------------------------------------------------------------------------
def small_candidates() -> Candidates:
    """One matrix of ten weights. Top three: hate 0 1 2, privacy 2 3 4, safe 2 (the others are not positive)."""
    scores = {
        "hate": [9, 8, 7, 6, 0, 0, 0, 0, 0, 0],
        "privacy": [0, 0, 9, 8, 7, 6, 0, 0, 0, 0],
        "benign": [-1] * 10,
        "safe": [-1, -1, 5, -1, -1, -1, -1, -1, -1, -1],
    }
    return build_candidates(
        WeightTable([WeightMatrix("layers.0.w.weight", 0, "w", 1, 10)]),
        lambda name, i: np.array(scores[name], dtype=np.float32),
        lambda i: np.ones(10, dtype=np.float32),
        categories=("hate", "privacy"),
        q_max=0.4,
        p_grid=(0.0,),
        matrix_p=(0.0,),
    )


def test_exact_intersections_of_hand_made_masks() -> None:
    shared = intersections.intersections(small_candidates(), "none", 0.3, 0.0)
    assert {frozenset(m): s for m, s in zip(shared.groups["members"], shared.groups["size"], strict=True)} == {
        frozenset({"hate"}): 2,
        frozenset({"privacy"}): 2,
        frozenset({"hate", "privacy"}): 1,
    }
    assert (shared.by_degree, shared.at_least(1), shared.sizes, shared.in_text) == (
        {1: 4, 2: 1},
        5,
        {"hate": 3, "privacy": 3},
        1,
    )
    assert intersections.upset_words(shared, True).title == "4 of 5 weights belong to one harm type alone (80 %)"
    assert intersections.shared_line(shared) == (
        "1 weight is in two types or more, 0 in three or more. Of those in two or more, 1 (100 %) are also in the "
        "mask of benign or of same-topic safe answers."
    )
    smaller = intersections.intersections(small_candidates(), "none", 0.2, 0.0)
    assert smaller.by_degree == {1: 4}


@pytest.mark.parametrize(
    ("core", "title"),
    [
        (((100, 100), (40, 2), (7, 0.03)), "7 weights are shared by three types or more; in shuffles 0.03"),
        (((100, 100), (40, 2), (0, 0)), "40 weights are shared by 2 types or more; in shuffles 2"),
        (((100, 100), (3, 2), (0, 0)), "No core: types share no more weights than their shuffles do"),
    ],
)
def test_the_core_is_named_only_where_it_exceeds_its_shuffles(
    core: tuple[tuple[float, float], ...], title: str
) -> None:
    shared = overlap_of(core=core)
    assert shared.core["observed"].tolist() == [o for o, _ in core]
    assert intersections.core_words(shared, "0.01 %").title == title


# -- transfer -------------------------------------------------------------------------------------------------------
GRID = {
    "hate": {
        "hate": 0.4,
        "privacy": 0.1,
        "safe": 0.05,
        "benign": 0.0,
        "benign_own": 0.03,
        "safe:hate": 0.2,
        "harm": 0.3,
    },
    "privacy": {
        "hate": 0.06,
        "privacy": 0.2,
        "safe": 0.03,
        "benign": 0.06,
        "benign_own": 0.01,
        "safe:privacy": 0.1,
        "harm": 0.1,
    },
}


def shifts(values: dict[str, dict[str, float]] = GRID, **options: Any) -> Any:
    return transfer.shifts(rows_to_frame(transfer_rows(values, **options)), "none")


def test_the_means_of_the_grid() -> None:
    shared = transfer.summary(shifts())
    assert (shared.own, shared.others, shared.safe, shared.safe_own) == (
        pytest.approx(0.3),
        pytest.approx(0.08),
        pytest.approx(0.04),
        pytest.approx(0.15),
    )
    assert (shared.benign, shared.benign_own, shared.clear, shared.n_others, shared.n_types, shared.n) == (
        pytest.approx(0.03),
        pytest.approx(0.02),
        2,
        2,
        2,
        "10",
    )
    # 0.08 / 0.3 = 27 %, 0.04 / 0.3 = 13 %, 0.03 / 0.3 = 10 %
    assert (
        transfer.sentence(shared)
        == "Of a mask's effect on its own type, 27 % reaches other types, 13 % safe text, 10 % benign text"
    )
    assert "2 of 2 cells have" in transfer.tiles(shared)


def test_cells_absolute_and_relative() -> None:
    rows = shifts()
    absolute = transfer.cells(rows, relative=False).set_index(["row", "column"])
    assert absolute.index.get_level_values("column").unique().tolist() == [
        "hate",
        "privacy",
        "same topic, no harm",
        "benign, by others",
        "benign, own answers",
    ]
    assert absolute.loc[("hate", "privacy"), "text"] == "+0.10"
    assert absolute.loc[("hate", "benign, by others"), "text"] == "(+0.00)"  # its interval, −0.01 … +0.01, includes 0
    assert absolute["own"].sum() == 2
    relative = transfer.cells(rows, relative=True).set_index(["row", "column"])
    assert relative.loc[("hate", "privacy"), ["value", "text"]].tolist() == [pytest.approx(0.25), "+25 %"]
    assert relative.loc[("privacy", "hate"), "value"] == pytest.approx(0.3)
    assert "n = 10 prompts" in absolute.loc[("hate", "hate"), "note"]


def test_a_row_without_an_effect_of_its_own_has_no_shares() -> None:
    rows = shifts({"hate": {"hate": 0.005, "privacy": 0.1}, "privacy": {"hate": 0.06, "privacy": 0.2}})
    cells = transfer.cells(rows, relative=True).set_index(["row", "column"])
    assert cells.loc["hate", "value"].isna().all()
    assert set(cells.loc["hate", "text"]) == {"–"}
    assert cells.loc[("privacy", "privacy"), "value"] == 1


def test_one_colour_scale_for_both_selections_without_the_columns_not_shown() -> None:
    big = shifts({"hate": {"hate": -0.7, "safe:hate": 9.0}})
    assert transfer.colour_limit([shifts(), big]) == pytest.approx(0.7)
    assert transfer.colour_limit([]) == 1


def test_no_effect_and_one_type_are_said() -> None:
    assert "no effect that could transfer" in transfer.sentence(
        transfer.summary(shifts({"hate": {"hate": -0.1, "safe": 0.0}}))
    )
    assert "Only one harm type" in transfer.sentence(transfer.summary(shifts({"hate": {"hate": 0.1, "safe": 0.0}})))


def test_masks_whose_harm_specific_interval_lies_above_zero_are_counted() -> None:
    table = transfer.specific(rows_to_frame(transfer_rows(GRID)), "none")  # lower ends: 0.02, −0.01
    assert table["mask"].tolist() == ["hate", "privacy"]
    assert transfer.specific_words(table).title == "1 of 2 masks move harmful answers more than safe ones"


# -- concentration --------------------------------------------------------------------------------------------------
def test_only_sets_with_the_commonest_n_are_comparable() -> None:
    points = concentration.concentration(
        rows_to_frame(concentration_rows({"hate": 24, "privacy": 17, "violence": 24, "safe": 155}))
    )
    assert points.drop_duplicates("category").set_index("category")["comparable"].to_dict() == {
        "hate": True,
        "privacy": False,
        "violence": True,
        "safe": False,
    }
    words = concentration.concentration_words(points)
    assert words.title == "The top 1 % of weights hold 20–22 % of a type's harm score"
    assert "Solid: 2 sets with n = 24 scoring answers each. Dotted: 2 sets with another n." in words.subtitle
    page = concentration.concentration_table(points)
    assert page.count("<tr") == 1 + 4
    assert page.count("no, other n") == 2


def test_names_from_files_are_escaped() -> None:
    evil = "<img src=x>"
    points = concentration.concentration(rows_to_frame(concentration_rows({evil: 24})))
    assert "<img" not in concentration.concentration_table(points)
