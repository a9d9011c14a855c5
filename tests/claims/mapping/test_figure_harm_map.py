"""The layer × module maps, from cells made by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harmviz.claims.mapping.figures.harm_map import Panel, layer_maps
from harmviz.display.style import Theme

LIGHT = Theme()
CELLS = pd.DataFrame(
    {
        "layer": [0, 1, 0, 1],
        "module": ["q_proj", "q_proj", "attn.c_proj", "attn.c_proj"],
        "size": 1000,
        "matrices": 1,
        "count": [3, 0, 1, 4],
        "density": [3000.0, 0.0, 1000.0, 4000.0],
        "times_uniform": [1.5, 0.0, 0.5, 2.0],
    }
)


def drawn(*panels: Panel, **options: Any) -> dict[str, Any]:
    return layer_maps(panels, LIGHT, title="t", subtitle="s", **options).to_plotly_json()


def test_one_map_has_a_row_a_module_and_a_colour_from_zero() -> None:
    figure = drawn(Panel("mask", CELLS))
    heat, markers = figure["data"]
    assert heat["z"] == [[3000.0, 0.0], [1000.0, 4000.0]]
    assert list(heat["x"]) == [0, 1]
    assert list(figure["layout"]["yaxis"]["ticktext"]) == ["q_proj", "attn.c_proj"]
    assert figure["layout"]["coloraxis"]["cmin"] == 0
    assert figure["layout"]["coloraxis"]["cmax"] == 4000.0
    assert list(figure["layout"]["yaxis"]["range"]) == [1.5, -0.5]
    assert markers["marker"]["opacity"] == 0
    assert [list(c[:3]) for c in markers["customdata"]] == [
        [0, "q_proj", 3],
        [1, "q_proj", 0],
        [0, "attn.c_proj", 1],
        [1, "attn.c_proj", 4],
    ]


def test_every_cell_can_be_clicked_and_zooming_cannot_move_it_away() -> None:
    figure = drawn(Panel("mask", CELLS))
    markers = figure["data"][1]
    assert list(zip(markers["x"], markers["y"], strict=True)) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert figure["layout"]["xaxis"]["fixedrange"] is True
    assert figure["layout"]["yaxis"]["fixedrange"] is True
    assert figure["layout"]["clickmode"] == "event+select"


def test_several_maps_share_one_scale_and_a_difference_has_its_own_centred_at_zero() -> None:
    twice = CELLS.assign(density=CELLS["density"] * 2)
    difference = CELLS.assign(density=CELLS["density"] - twice["density"]).drop(columns=["count", "times_uniform"])
    figure = drawn(Panel("a", CELLS), Panel("b", twice), Panel("a - b", difference, signed=True))
    heats = figure["data"][::2]
    assert [h["coloraxis"] for h in heats] == ["coloraxis", "coloraxis", "coloraxis2"]
    assert figure["layout"]["coloraxis"]["cmax"] == 8000.0
    assert (figure["layout"]["coloraxis2"]["cmin"], figure["layout"]["coloraxis2"]["cmax"]) == (-4000.0, 4000.0)
    assert heats[2]["z"] == [[-3000.0, 0.0], [-1000.0, -4000.0]]
    assert figure["data"][5]["customdata"][0][2] is None
    domains = [figure["layout"][f"yaxis{i}"]["domain"] for i in ("", "2", "3")]
    assert domains[0][0] > domains[1][1] > domains[1][0] > domains[2][1] >= domains[2][0] >= 0


def test_the_opened_cell_is_outlined_in_every_map() -> None:
    shapes = drawn(Panel("a", CELLS), Panel("b", CELLS), columns=2, opened=(1, "attn.c_proj"))["layout"]["shapes"]
    assert [(s["x0"], s["x1"], s["y0"], s["y1"], s["xref"]) for s in shapes] == [
        (0.5, 1.5, 0.5, 1.5, "x"),
        (0.5, 1.5, 0.5, 1.5, "x2"),
    ]


def test_a_module_that_a_layer_lacks_leaves_a_hole() -> None:
    heat = drawn(Panel("mask", CELLS.iloc[:3]))["data"][0]
    assert heat["z"] == [[3000.0, 0.0], [1000.0, None]]


def test_an_empty_mask_still_has_a_scale() -> None:
    figure = drawn(Panel("mask", CELLS.assign(count=0, density=0.0, times_uniform=0.0)))
    assert figure["layout"]["coloraxis"]["cmax"] == 1


def test_names_from_files_are_never_tags() -> None:
    evil = CELLS.assign(module=["<b>q</b>", "<b>q</b>", "c", "c"])
    figure = drawn(Panel("<i>mask</i>", evil), Panel("b", evil))
    assert "&lt;b&gt;" in figure["layout"]["yaxis"]["ticktext"][0]
    assert "<b>" not in str(figure["data"][1]["customdata"])
    assert figure["layout"]["annotations"][0]["text"] == "&lt;i&gt;mask&lt;/i&gt;"


def test_eighty_layers_stay_a_light_figure() -> None:
    cells = pd.DataFrame(
        [(layer, m, 10, 1, 1, 1.0, 1.0) for m in "abcdefg" for layer in range(80)], columns=list(CELLS)
    )
    assert len(layer_maps([Panel("m", cells)], LIGHT, title="", subtitle="").to_json()) < 100_000
