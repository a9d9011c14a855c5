"""Numbers and words of the harm map and of one matrix, against cells and points counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harmviz.claims.mapping.maps import MARGINS, TILES, build_maps
from harmviz.claims.mapping.views import harm_map
from harmviz.claims.mapping.views import matrix as matrix_view
from harmviz.errors import RunIncompatible
from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.masks.selection import Selection, select
from harmviz.models.weights import WeightMatrix, WeightTable

#: Two layers; layer 1 has two experts of the same module; the last matrix is stored transposed.
TABLE = WeightTable(
    [
        WeightMatrix("l.0.q.weight", 0, "q", 4, 5),
        WeightMatrix("l.0.up.weight", 0, "up", 10, 3),
        WeightMatrix("l.1.q.weight", 1, "q", 4, 5),
        WeightMatrix("l.1.up[0]", 1, "up", 5, 3),
        WeightMatrix("l.1.up[1]", 1, "up", 3, 5, transposed=True),
    ]
)
SETS = ("hate", "privacy", "benign", "safe")
MANIFEST = {
    "model": {"n_scored_weights": 100, "n_parameters": 200},
    "data": {"counts": {"hate": {"scoring_a": 3, "scoring_b": 4, "report": 9}}},
}


@pytest.fixture(scope="module")
def scores() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=TABLE.n_weights).astype(np.float32) * 1e-5 for name in SETS}


@pytest.fixture(scope="module")
def candidates(scores: dict[str, np.ndarray]) -> Candidates:
    utility = np.random.default_rng(4).random(TABLE.n_weights).astype(np.float32)
    return build_candidates(
        TABLE,
        lambda name, i: scores[name][TABLE.span(i)],
        lambda i: utility[TABLE.span(i)],
        categories=("hate", "privacy"),
        q_max=0.2,
        p_grid=(0.0, 0.1),
        matrix_p=(0.1,),
    )


@pytest.fixture(scope="module")
def maps(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return build_maps(TABLE, SETS, lambda name, i: scores[name][TABLE.span(i)], {})


def test_cells_follow_the_blocks_order_and_experts_share_one() -> None:
    grid = harm_map.grid(TABLE)
    assert list(zip(grid.cells["layer"], grid.cells["module"], strict=True)) == [
        (0, "q"),
        (1, "q"),
        (0, "up"),
        (1, "up"),
    ]
    assert grid.cells["size"].tolist() == [20, 20, 30, 30]
    assert grid.of_matrix.tolist() == [0, 2, 1, 3, 3]
    assert grid.noun == "cells"
    assert harm_map.grid(WeightTable(TABLE.matrices[:3])).noun == "matrices"


def test_density_is_per_million_of_the_cell_and_uniform_is_one() -> None:
    cells = harm_map.mapped(harm_map.grid(TABLE), np.array([2, 3, 0, 1, 4]))
    assert cells["count"].tolist() == [2, 0, 3, 5]
    assert cells["density"].tolist() == pytest.approx([1e5, 0, 1e5, 5e6 / 30])
    assert cells["times_uniform"].tolist() == pytest.approx([1, 0, 1, 5 / 3])
    assert harm_map.where(harm_map.densest(cells)) == "layer 1 up"
    even = harm_map.mapped(harm_map.grid(TABLE), np.array([m.size for m in TABLE]))
    assert even["times_uniform"].tolist() == pytest.approx([1, 1, 1, 1])


def test_an_empty_mask_has_no_density_and_no_half() -> None:
    cells = harm_map.mapped(harm_map.grid(TABLE), np.zeros(5, dtype=np.int64))
    assert cells["density"].sum() == cells["times_uniform"].sum() == 0
    assert harm_map.cells_holding_half(cells["count"].to_numpy()) == 0
    words = harm_map.mask_words(cells, harm_map.grid(TABLE), Selection(("hate",)), ("hate",), MANIFEST, 1.0)
    assert words.title == "This mask is empty"


@pytest.mark.parametrize(("counts", "half"), [([5, 5, 5, 5], 2), ([10, 5, 5], 1), ([1, 1, 1], 2), ([0, 7, 0], 1)])
def test_cells_holding_half(counts: list[int], half: int) -> None:
    assert harm_map.cells_holding_half(np.array(counts)) == half


def test_same_place_is_one_for_alike_and_zero_for_apart() -> None:
    a, b, c = (pd.DataFrame({"count": x}) for x in ([1, 3, 0], [2, 6, 0], [0, 0, 9]))
    assert harm_map.same_place(a, b) == pytest.approx(1)
    assert harm_map.same_place(a, c) == 0


def test_the_random_reference_approaches_uniform_as_weights_grow() -> None:
    few, many = (
        harm_map.reference((100, 100, 300, 500), 20, 20),
        harm_map.reference((100, 100, 300, 500), 200_000, 200_000),
    )
    assert few.peak >= 1.5
    assert few.peak_high >= few.peak
    assert many.peak == pytest.approx(1, abs=0.03)
    assert many.half == 1
    assert many.same_place == pytest.approx(1, abs=0.01)
    assert few.same_place < 0.95
    assert np.isnan(harm_map.reference((5, 5), 3).same_place)


def test_counts_per_matrix_are_those_of_the_selection(candidates: Candidates) -> None:
    s = Selection(("hate",), q=0.1, p=0.1)
    counts = harm_map.matrix_counts(candidates, s)
    chosen = select(candidates, s).global_index
    assert counts.tolist() == [
        int(((chosen >= a) & (chosen < b)).sum()) for a, b in zip(TABLE.offsets[:-1], TABLE.offsets[1:], strict=True)
    ]
    assert counts.sum() == 10


def test_words_state_size_prompts_concentration_and_the_random_control() -> None:
    grid = harm_map.grid(TABLE)
    words = harm_map.mask_words(
        harm_map.mapped(grid, np.array([0, 3, 0, 0, 5])),
        grid,
        Selection(("hate",), p=0.1),
        ("hate", "privacy"),
        MANIFEST,
        1.0,
    )
    flat = words.subtitle.replace("\u00a0", " ").replace("<br>", " ")
    assert words.title == "Half of them lie in 1 of 4 cells, 100 % in up"
    for part in (
        "8 % · 8 weights (4 % of all parameters)",
        "hate, as in the paper",
        "p 10 %",
        "n = 7 prompts",
        "densest: layer 1 up, 166667 per million, 2.1 × uniform",
        "control at random",
    ):
        assert part in flat, part


def test_words_of_several_maps_state_prompts_sizes_and_the_random_control() -> None:
    grid = harm_map.grid(TABLE)
    a, b = (harm_map.mapped(grid, np.array(c)) for c in ([0, 3, 0, 0, 5], [8, 0, 0, 0, 0]))
    manifest = {**MANIFEST, "data": {"counts": {"hate": {"scoring_a": 3}, "benign": {"scoring_a": 5}}}}
    s = Selection(("hate",), contrast="both")
    pair = harm_map.pair_words((s, harm_map.own_mask(s, "benign")), (a, b), grid, ("hate",), manifest, 1.0)
    flat = pair.subtitle.replace("\u00a0", " ").replace("<br>", " ")
    assert pair.title == "0 % of the two masks lie in the same cells"
    for part in ("8 and 8 weights", "n = 3 and 5 prompts", "control, two random masks of these sizes:"):
        assert part in flat, part
    types = harm_map.type_words({"hate": a, "benign": b}, grid, s, manifest, 1.0)
    assert types.title == "The 2 types are densest in 2 different cells"
    assert "n = 3 to 5 prompts a type" in types.subtitle.replace("\u00a0", " ").replace("<br>", " ")


def test_names_from_files_are_escaped_in_titles() -> None:
    table = WeightTable([WeightMatrix("a", 0, "<b>x</b>", 10, 10)])
    grid = harm_map.grid(table)
    words = harm_map.mask_words(
        harm_map.mapped(grid, np.array([3])), grid, Selection(("hate",)), ("hate",), MANIFEST, 1.0
    )
    assert "<b>" not in words.title + words.subtitle.replace("<br>", "")


def test_subtitles_break_between_words_but_never_inside_a_number() -> None:
    broken = harm_map.lines(["a 0.005 % · n = 154 prompts " * 6], 1.0, width=40)
    assert all(len(line) <= 40 for line in broken.split("<br>"))
    assert "n\u00a0=\u00a0154" in broken
    assert "0.005\u00a0%" in broken


def test_baselines_are_never_contrasted() -> None:
    s = Selection(("hate", "privacy"), contrast="both", q=0.01)
    assert harm_map.own_mask(s, "privacy").contrast == "both"
    assert harm_map.own_mask(s, "benign").contrast == "none"


def test_points_lie_where_the_weights_are_in_either_storage_order(
    candidates: Candidates, scores: dict[str, np.ndarray]
) -> None:
    s = Selection(("hate",), q=0.2, p=0.0)
    chosen = select(candidates, s).global_index
    for i, matrix in enumerate(TABLE):
        points = matrix_view.points(candidates, s, i, chosen)
        grid = scores["hate"][TABLE.span(i)].reshape(matrix.rows, matrix.cols)
        grid = grid.T if matrix.transposed else grid
        assert points["hate"].to_numpy() == pytest.approx(grid[points["output"], points["input"]] * 1e6)
        assert points["rank_score"].to_numpy() == pytest.approx(points["hate"].to_numpy())
        assert points["utility_top"].between(0, 1).all()


@pytest.mark.parametrize("pooling", ["peak", "mean"])
def test_blocks_are_the_maps_of_the_chosen_sets(
    candidates: Candidates, maps: dict[str, np.ndarray], scores: dict[str, np.ndarray], pooling: matrix_view.Pooling
) -> None:
    s = Selection(("hate", "privacy"), q=0.1, p=0.0)
    chosen = select(candidates, s).global_index
    for index in (0, 4):
        shown = matrix_view.view(candidates, maps, s, index, chosen, pooling)
        full = [scores[c][TABLE.span(index)].reshape(TABLE[index].rows, TABLE[index].cols) for c in s.categories]
        full = [f.T if TABLE[index].transposed else f for f in full]
        # Every side is shorter than the pooling, so that each weight is a block of its own.
        expected = np.maximum(*full) if pooling == "peak" else np.mean(full, axis=0)
        assert shown.tiles == pytest.approx(expected * 1e6, rel=1e-5)
        assert (len(shown.out_edges) - 1, len(shown.in_edges) - 1) == shown.tiles.shape
        assert shown.out_side["count"].sum() == shown.in_side["count"].sum() == len(shown.points)
        assert shown.out_side["mass"].sum() == pytest.approx(1)


def test_side_bins_are_the_stored_ones() -> None:
    assert matrix_view.edges(130, MARGINS)[:4].tolist() == [0, 2, 4, 6]
    assert len(matrix_view.edges(130, MARGINS)) == MARGINS + 1
    assert matrix_view.edges(5, TILES).tolist() == [0, 1, 2, 3, 4, 5]


def test_top_units_are_ordered_by_count_then_score() -> None:
    points = pd.DataFrame(
        {"output": [7, 7, 2, 2, 5], "input": [0, 1, 2, 3, 4], "rank_score": [1.0, 1.0, 4.0, 4.0, 100.0]}
    )
    top = matrix_view.top_units(points, "output")
    assert top["unit"].tolist() == [2, 7, 5]
    assert top["count"].tolist() == [2, 2, 1]
    assert top["score"].tolist() == [8.0, 2.0, 100.0]
    assert top["share"].sum() == pytest.approx(1)


def test_the_fullest_unit_by_chance() -> None:
    assert matrix_view.fullest_by_chance(0, 10) == 0
    assert matrix_view.fullest_by_chance(9, 1) == 9
    assert 1 <= matrix_view.fullest_by_chance(20, 100_000) <= 2


def test_only_the_highest_points_are_drawn_and_the_words_say_so(
    candidates: Candidates, maps: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Selection(("hate",), q=0.2, p=0.0)
    shown = matrix_view.view(candidates, maps, s, 1, select(candidates, s).global_index, "peak")
    monkeypatch.setattr(matrix_view, "DRAWN", 2)
    assert sorted(shown.drawn["rank_score"]) == sorted(shown.points["rank_score"])[-2:]
    words = matrix_view.matrix_words(shown, s, candidates.categories, MANIFEST["data"]["counts"], 1.0)
    assert "the 2 points of highest score are drawn" in words.subtitle.replace("<br>", " ")


def test_maps_without_a_chosen_set_are_one_clear_error(candidates: Candidates, maps: dict[str, np.ndarray]) -> None:
    s = Selection(("hate",), q=0.1)
    without = {k: v for k, v in maps.items() if not k.startswith("hate/")}
    with pytest.raises(RunIncompatible, match="hate/tile_max"):
        matrix_view.view(candidates, without, s, 0, np.array([], dtype=np.int64), "peak")


def test_unit_tables_state_the_random_control(candidates: Candidates, maps: dict[str, np.ndarray]) -> None:
    s = Selection(("hate",), q=0.2, p=0.0)
    shown = matrix_view.view(candidates, maps, s, 1, select(candidates, s).global_index, "peak")
    page = matrix_view.units_table(shown, "output")
    assert "random placements" in page
    assert page.count("<tr>") == 1 + min(5, shown.points["output"].nunique())
