"""Which runs may be compared and what is said of them: reasons, curves, chosen points, overlap beside chance, facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.claims.mapping.views import compare, compare_words
from harmviz.errors import SelectionInexact
from harmviz.masks.selection import select
from harmviz.models.weights import WeightMatrix, WeightTable
from harmviz.runs import Row, Run
from tests.worlds.fabricated import TABLE, make_run, manifest
from tests.worlds.masks import golden

METHOD: dict[str, Any] = {"headline": {"none": {"q": 1e-5, "p": 0.01, "n_weights": 1061}}}


def row(value: float | None = 0.1, **changes: Any) -> Row:
    base: dict[str, Any] = dict(
        experiment="effect",
        metric="delta_nll",
        mask="mean(all)",
        category="harm",
        q=1e-5,
        p=0.01,
        scope="global",
        contrast="none",
        skip_tokens=0,
        n=20,
        n_weights=1061,
        unit="nats/token",
        value=value,
    )
    if value is not None:
        base |= {"ci_low": value - 0.02, "ci_high": value + 0.03}
    return Row(**(base | changes))


def measured(scale: float = 1.0, levels: tuple[float, ...] = (0.01, 0.05)) -> list[Row]:
    """A validation grid, the report numbers at the chosen point with their random control, and what must be ignored."""
    grid = [
        row(scale * q * 1e4 * (1.0 if c == "harm" else 0.5), condition="validation", category=c, q=q, p=p)
        for p in levels
        for q in (1e-5, 1e-6)
        for c in ("safe", "harm", "benign")
    ]
    report = [row(0.3 * scale), row(0.1 * scale, category="safe"), row(0.2 * scale, metric="harm_specific")]
    noise = [
        row(9.0, skip_tokens=8),
        row(9.0, q=5e-5),
        row(9.0, condition="scoring_a"),
        row(9.0, condition="validation", skip_tokens=8),
        row(9.0, condition="validation", category="hate"),
        row(9.0, contrast="both"),
        row(0.004, control="random"),
        row(0.006, control="random"),
        row(9.0, control="random", q=5e-5),
    ]
    return grid + report + noise


def made(root: Path, name: str, *, rows: list[Row] | None = None, **changes: Any) -> Run:
    base = {"method": METHOD, "parameters": {"skip_tokens": 0, "max_response_tokens": 96}}
    return make_run(root, f"{name}-0123456789", rows=measured() if rows is None else rows, **(base | changes))


def test_runs_are_comparable_on_equal_data_and_equal_weights_only(tmp_path: Path) -> None:
    base, data, model = made(tmp_path, "base"), manifest()["data"], manifest()["model"]
    half = WeightTable([WeightMatrix("model.layers.0.w.weight", 0, "w", 4, 4)])
    other_data = made(tmp_path, "elsewhere", data=data | {"id": "builtin", "hash": "ee" * 32})
    other_shape = made(tmp_path, "small", model=model | {"n_scored_weights": 16}, weights=half.to_json())
    neither = made(
        tmp_path, "odd", data=data | {"hash": "ee" * 32}, model=model | {"n_scored_weights": 16}, weights=half.to_json()
    )
    twin = made(tmp_path, "twin", model=model | {"name": "another"})
    assert compare.why_not(base, twin) is None
    assert compare.why_not(base, other_data) == "measured on other data (builtin)"
    assert compare.why_not(base, other_shape) == "its weights have other names or shapes (16 scored weights)"
    assert "other data" in str(compare.why_not(base, neither))
    assert "shapes" in str(compare.why_not(base, neither))
    assert compare.default_choice(base, [other_data, twin, base, other_shape]) == [base.id, twin.id]
    html = compare_words.left_out_markup({"<b>": "other data", "x": "other data", "y": "shapes"})
    assert "<code>&lt;b&gt;</code>, <code>x</code>: other data" in html
    assert compare_words.left_out_markup({}) == ""


def test_labels_name_the_model_and_the_run_where_models_read_alike(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a"), made(tmp_path, "b", model=manifest()["model"] | {"name": "aligned"})
    assert compare.labels([a, b]) == ["smollm2-135m-instruct", "aligned"]
    assert compare.labels([a, a]) == ["smollm2-135m-instruct · 456789"] * 2


def test_curves_hold_the_validation_grid_of_each_run_and_nothing_else(tmp_path: Path) -> None:
    runs = [
        made(tmp_path, "a"),
        made(tmp_path, "b", rows=measured(2.0, levels=(0.05,)), model=manifest()["model"] | {"name": "aligned"}),
    ]
    results = [r.results() for r in runs]
    assert compare.measured_p(runs, results, "none") == [0.05]
    assert compare.measured_p(runs[:1], results[:1], "none") == [0.01, 0.05]
    assert compare.measured_p(runs, results, "both") == []
    table = compare.curve_table(runs, results, "none", 0.05)
    assert list(dict.fromkeys(table["set"])) == ["harm", "safe", "benign"]
    assert list(dict.fromkeys(table["run"])) == ["smollm2-135m-instruct", "aligned"]
    harm = table[table["set"] == "harm"]
    assert harm["q"].tolist() == [1e-6, 1e-5] * 2
    assert harm["value"].tolist() == pytest.approx([0.01, 0.1, 0.02, 0.2])
    assert harm["ci_low"].tolist() == pytest.approx([-0.01, 0.08, 0.0, 0.18])
    words = compare_words.curve_words(table, "none", 0.05)
    assert "n: harm 20, safe 20, benign 20" in words.subtitle
    assert "validation prompts" in words.subtitle


def test_chosen_numbers_come_from_each_runs_own_point_with_its_control(tmp_path: Path) -> None:
    far = {"headline": {"none": {"q": 5e-5, "p": 0.01, "n_weights": 5308}}}
    runs = [made(tmp_path, "a"), made(tmp_path, "b", method=far), made(tmp_path, "c", method={})]
    table = compare.chosen_table(runs, [r.results() for r in runs], "none")
    assert table[["label", "value", "control"]].round(4).values.tolist()[:2] == [
        ["harm, mean of all types", 0.3, 0.005],
        ["harm, mean of all types", 9.0, 9.0],
    ]
    assert table["metric"].tolist() == ["delta_nll", "delta_nll", "harm_specific", "delta_nll"]
    assert table["run_id"].nunique() == 2, "a run that chose no point has no mark"
    assert compare.chosen_table(runs, [r.results() for r in runs], "both").empty
    said = compare.chosen_points(runs, "none").split("\n")
    assert said[0].endswith("456789: 0.001 % · 1,061 weights, 1 % protected")
    assert said[2].endswith("none chosen")
    assert "n = 20 to 20" in compare_words.chosen_words(runs, table, "none").subtitle


def test_the_difference_is_said_to_have_no_interval() -> None:
    assert "no interval" in compare_words.difference_note(2)
    assert "any two runs" in compare_words.difference_note(3)


def test_overlap_of_two_runs_beside_its_expectation() -> None:
    # Matrix of 10: 4 and 5 weights, eligible 8 and 10, 8 in both: 4 · 5 · 8 / (8 · 10) = 2. Matrix of 4: only one mask.
    offsets = np.array([0, 10, 14])
    pair = compare.shared(
        ("a", "b"),
        (np.array([0, 1, 2, 3]), np.array([2, 3, 4, 5, 6, 12])),
        offsets,
        np.array([[8, 4], [10, 4], [8, 4]]),
    )
    assert (pair.common, pair.n_first, pair.n_second) == (2, 4, 6)
    assert pair.expected_common == pytest.approx(2.0)
    assert pair.jaccard == pytest.approx(2 / 8)
    assert pair.expected_jaccard == pytest.approx(2 / 8)
    html = compare_words.shared_markup([pair])
    assert "<td>2.0</td><td class='value'>0.25</td>" in html
    assert "a and b" in html


def test_eligible_weights_are_counted_in_each_run_and_in_both() -> None:
    world = golden()
    candidates = world.build()
    counts = compare.eligible_counts(candidates, candidates, 0.1)
    assert (counts[0] == counts[2]).all()
    assert counts[0].sum() == len(world.eligible(0.1))


def test_one_q_for_all_runs_stops_where_the_first_of_them_is_unsettled() -> None:
    wide, narrow = golden().build(q_max=0.3), golden().build(q_max=0.2)
    both = [wide, narrow]
    assert compare.types_of(both) == ["exploits", "hate", "privacy"]
    assert compare.candidate_p(both, "none") == [0.0, 0.1, 0.3]
    chosen = compare.selections(both, compare.ALL_TYPES, 0.3, 0.1, "none")
    limit, why = compare.exact_limit(both, chosen, ["wide", "narrow"])
    assert limit == 0.2
    assert why.startswith("narrow: ")
    assert [s.categories for s in compare.selections(both, "hate", 0.1, 0.1, "none")] == [("hate",)] * 2
    with pytest.raises(SelectionInexact, match=r"p=0\.05"):
        compare.exact_limit(
            [golden().build(p_grid=(0.1, 0.3))], compare.selections([wide], "hate", 0.1, 0.05, "none"), ["a"]
        )


def test_maps_hold_each_run_and_the_second_minus_the_first() -> None:
    candidates = golden().build()
    chosen = [
        select(candidates, s).global_index
        for s in compare.selections([candidates, candidates], "hate", 0.2, 0.1, "none")
    ]
    panels = compare.map_panels(candidates.table, {"a": chosen[0], "b": chosen[1][:1]})
    assert [(p.name, p.signed) for p in panels] == [("a", False), ("b", False), ("b minus a", True)]
    assert panels[0].cells["count"].sum() == len(chosen[0])
    change = panels[1].cells["density"] - panels[0].cells["density"]
    assert panels[2].cells["density"].tolist() == pytest.approx(change.tolist())
    assert set(compare.panel_table(panels)["map"]) == {"a", "b", "b minus a"}
    words = compare_words.map_words(panels, compare.selections([candidates], "hate", 0.2, 0.1, "none")[0], "hate")
    assert "hate, as in the paper" in words.subtitle
    assert "control, two random masks" in words.subtitle


def test_facts_stand_side_by_side_and_differences_are_set_in_bold(tmp_path: Path) -> None:
    evil = "<img src=x>"
    rows = [*measured(), row(3.1, metric="nll", mask=None, q=None, p=None, scope=None, contrast=None)]
    a, b = made(tmp_path, "a", rows=rows), made(tmp_path, "b", model=manifest()["model"] | {"name": evil})
    facts = {f.name: f for f in compare_words.facts([a, b], [a.results(), b.results()])}
    assert facts["Model"].differs
    assert not facts["Scored weights"].differs
    assert facts["Scored weights"].values == (f"{TABLE.n_weights:,}",) * 2
    assert facts["Intact loss: harm, mean of all types"].values[0].startswith("3.10")
    assert facts["Intact loss: harm, mean of all types"].values[1] == "not measured"
    html = compare_words.facts_markup([a, b], list(facts.values()))
    assert "<img" not in html
    assert "<td class='value'>&lt;img src=x&gt;</td>" in html
