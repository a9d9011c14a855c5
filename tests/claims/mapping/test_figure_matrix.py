"""The picture of one matrix, from a 4 × 6 matrix made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from harmviz.claims.mapping.figures.matrix import VECTOR_POINTS, matrix_map
from harmviz.display.style import Theme

POINTS = pd.DataFrame({"output": [0, 3], "input": [5, 1], "utility_top": [0.25, 0.5], "hate": [1.5, -2.0]})


def side(*counts: int) -> pd.DataFrame:
    n = len(counts)
    total = max(1, sum(counts))
    return pd.DataFrame(
        {"start": range(n), "stop": range(n), "count": counts, "selected": [c / total for c in counts], "mass": 1 / n}
    )


def drawn(*, signed: bool = False, points: pd.DataFrame = POINTS, tiles: np.ndarray | None = None) -> go.Figure:
    shown = np.array([[1.0, 10.0], [100.0, 1000.0]]) if tiles is None else tiles
    return matrix_map(
        shown,
        np.array([0, 2, 4]),
        np.array([0, 3, 6]),
        points,
        side(1, 0, 0, 1),
        side(0, 1, 0, 0, 0, 1),
        Theme(),
        title="t",
        subtitle="s",
        signed=signed,
        sets=[("hate", "<b>hate</b>")],
    )


def test_blocks_are_coloured_by_powers_of_ten_and_lie_where_their_units_are() -> None:
    heat = drawn().data[0]
    assert np.allclose(heat.z, [[0, 1], [2, 3]])
    assert (heat.zmin, heat.zmax) == (0, 3)
    assert list(heat.x) == [0, 3, 6]
    assert list(heat.y) == [0, 2, 4]
    assert list(heat.colorbar.ticktext) == ["1", "10", "100", "1,000"]
    assert heat.customdata[1][1] == 1000


def test_signed_blocks_are_centred_at_zero() -> None:
    heat = drawn(signed=True, tiles=np.array([[1.0, -4.0], [0.0, 2.0]])).data[0]
    assert (heat.zmin, heat.zmax) == (-4, 4)
    assert heat.z[0][1] == -4


@pytest.mark.parametrize("value", [0.0, -1.0, 5.0])
def test_a_matrix_whose_blocks_are_all_alike_can_be_drawn(value: float) -> None:
    heat = drawn(tiles=np.full((2, 2), value)).data[0]
    assert heat.zmin < heat.zmax
    assert np.isfinite(heat.z).all()


def test_points_are_exact_and_tell_scores_and_utility() -> None:
    points = drawn().data[1]
    assert isinstance(points, go.Scatter)
    assert points.x.tolist() == [5, 1]
    assert points.y.tolist() == [0, 3]
    assert np.allclose(points.customdata, [[25, 1.5], [50, -2.0]])
    assert "&lt;b&gt;hate" in points.hovertemplate


def test_output_units_run_down_from_the_top() -> None:
    layout = drawn().layout
    assert tuple(layout.yaxis.range) == (3.5, -0.5)
    assert tuple(layout.xaxis.range) == (-0.5, 5.5)


def test_many_points_are_drawn_with_webgl() -> None:
    n = VECTOR_POINTS + 1
    many = pd.DataFrame({"output": np.arange(n), "input": np.arange(n), "utility_top": 0.5, "hate": 1.0})
    assert isinstance(drawn(points=many).data[1], go.Scattergl)


def test_sides_show_shares_of_the_selected_weights_beside_all_positive_score() -> None:
    _, _, in_bar, in_line, out_bar, out_line = drawn().data
    assert in_bar.y.tolist() == [0, 0.5, 0, 0, 0, 0.5]
    assert in_bar.x.tolist() == [0, 1, 2, 3, 4, 5]
    assert out_bar.x.tolist() == [0.5, 0, 0, 0.5]
    assert np.allclose(in_line.y, 1 / 6)
    assert (in_line.x[0], in_line.x[-1]) == (-0.5, 5.5)
    assert (out_line.y[0], out_line.y[-1]) == (-0.5, 3.5)


def test_an_empty_mask_can_be_drawn() -> None:
    figure = matrix_map(
        np.zeros((1, 1)),
        np.array([0, 4]),
        np.array([0, 6]),
        POINTS.iloc[:0],
        side(0, 0),
        side(0, 0, 0).assign(mass=0.0),
        Theme(),
        title="t",
        subtitle="s",
        signed=False,
        sets=[("hate", "hate")],
    )
    assert len(figure.data[1].x) == 0
    assert figure.layout.yaxis2.range[1] > 0
