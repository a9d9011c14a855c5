"""The address book: two addresses of every weight, and what a flat index means in a stored matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.models.weights import WeightMatrix, WeightTable

#: 2 × 3 = 6, 1 × 4 = 4 and two expert slices of 3 × 2 = 6: offsets 0, 6, 10, 16, 22.
TABLE = WeightTable(
    [
        WeightMatrix("layers.0.q.weight", 0, "q", 2, 3),
        WeightMatrix("layers.0.c.weight", 0, "c", 1, 4, transposed=True),
        WeightMatrix("layers.1.experts.down[0]", 1, "down", 3, 2),
        WeightMatrix("layers.1.experts.down[11]", 1, "down", 3, 2),
    ]
)


def test_offsets_and_lookup_by_hand() -> None:
    assert TABLE.offsets.tolist() == [0, 6, 10, 16, 22]
    assert (len(TABLE), TABLE.n_weights) == (4, 22)
    assert TABLE.index_of["layers.1.experts.down[11]"] == 3
    assert TABLE.span(1) == slice(6, 10)
    matrix, flat = TABLE.locate(np.array([0, 5, 6, 9, 10, 21]))
    assert matrix.tolist() == [0, 0, 1, 1, 2, 3]
    assert flat.tolist() == [0, 5, 0, 3, 0, 5]


def test_expert_slices_name_their_parameter() -> None:
    assert [m.expert for m in TABLE] == [None, None, 0, 11]
    assert [m.param_name for m in TABLE] == [
        "layers.0.q.weight",
        "layers.0.c.weight",
        "layers.1.experts.down",
        "layers.1.experts.down",
    ]


def test_units_of_a_flat_index() -> None:
    # Stored 2 × 3: flat 4 is (row 1, col 1). d_out × d_in has its output in the row, the transposed one in the column.
    flat = np.array([0, 2, 4])
    out, inp = WeightMatrix("w", 0, "w", 2, 3).out_in(flat)
    assert (out.tolist(), inp.tolist()) == ([0, 0, 1], [0, 2, 1])
    out, inp = WeightMatrix("w", 0, "w", 2, 3, transposed=True).out_in(flat)
    assert (out.tolist(), inp.tolist()) == ([0, 2, 1], [0, 0, 1])
    out, inp = WeightMatrix("w", 0, "w", 70_000, 70_000).out_in(np.array([4_294_967_295], dtype=np.uint32))
    assert out[0] * 70_000 + inp[0] == 4_294_967_295


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8))
def test_the_two_addresses_agree(shapes: list[tuple[int, int]]) -> None:
    table = WeightTable(WeightMatrix(f"m{i}", i, "m", r, c) for i, (r, c) in enumerate(shapes))
    everything = np.arange(table.n_weights)
    matrix, flat = table.locate(everything)
    np.testing.assert_array_equal(table.offsets[matrix] + flat, everything)
    assert bool((flat >= 0).all())
    assert bool((flat < np.array([m.size for m in table])[matrix]).all())
    for i in range(len(table)):
        np.testing.assert_array_equal(np.flatnonzero(matrix == i), everything[table.span(i)])


def test_json_round_trip_and_equality() -> None:
    again = WeightTable.from_json(json.loads(json.dumps(TABLE.to_json())))
    assert again == TABLE
    assert hash(again) == hash(TABLE)
    assert again != WeightTable(list(TABLE)[:-1])
    assert TABLE != "table"
    other = [dict(row) for row in TABLE.to_json()]
    other[1]["transposed"] = False
    assert WeightTable.from_json(other) != TABLE


def test_more_weights_than_32_bits() -> None:
    table = WeightTable(WeightMatrix(f"m{i}", i, "m", 1 << 16, 1 << 15) for i in range(4))
    assert table.n_weights == 1 << 33
    matrix, flat = table.locate(np.array([(1 << 33) - 1]))
    assert (int(matrix[0]), int(flat[0])) == (3, (1 << 31) - 1)


def test_an_empty_table() -> None:
    table = WeightTable([])
    assert (len(table), table.n_weights, table.index_of) == (0, 0, {})


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        TABLE[0].rows = 5  # type: ignore[misc]
