"""What two masks share, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harmviz.errors import MaskInvalid
from harmviz.masks.mask import PruneMask
from harmviz.masks.sharing import shared
from tests.worlds.masks import table_of

TABLE = table_of((2, 5), (1, 10))


def mask_of(*indices: int) -> PruneMask:
    return PruneMask.from_global(TABLE, np.array(indices, np.int64), kind="harm", model_hash="m")


def test_worked_by_hand() -> None:
    # A: 4 weights, two of each matrix. B: 2 weights of the first; 1 is in both.
    found = shared(mask_of(0, 1, 10, 11), mask_of(1, 9), TABLE)
    assert (found.n_a, found.n_b, found.intersection) == (4, 2, 1)
    assert (found.jaccard, found.of_a, found.of_b, found.most) == (1 / 5, 1 / 4, 1 / 2, 1 / 2)
    assert found.chance is not None
    assert found.chance.expected_intersection == pytest.approx(2 * 2 / 10)  # only the first matrix holds both
    assert found.chance.expected.value == pytest.approx(0.4 / (6 - 0.4))


def test_without_a_table_chance_is_not_known_and_the_rest_is() -> None:
    found = shared(mask_of(0, 1, 10, 11), mask_of(1, 9), None)
    assert found.chance is None
    assert (found.intersection, found.jaccard) == (1, 1 / 5)


def test_empty_masks_share_nothing_that_could_be_told() -> None:
    found = shared(mask_of(), mask_of(), TABLE)
    assert math.isnan(found.jaccard)
    assert math.isnan(found.most)


def test_a_mask_of_another_model_does_not_fit() -> None:
    other = PruneMask({"elsewhere.weight": np.array([0], np.uint32)}, "harm", "m")
    with pytest.raises(MaskInvalid, match=r"elsewhere\.weight"):
        shared(mask_of(0), other, TABLE)
