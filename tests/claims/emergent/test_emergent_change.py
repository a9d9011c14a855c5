"""Shares of the weight change against chance, on small matrices worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harmviz.claims.emergent.change import change_shares, regrown_share
from harmviz.masks.mask import PruneMask
from harmviz.models.weights import WeightMatrix, WeightTable

TABLE = WeightTable([WeightMatrix("a.weight", 0, "a", 4, 50), WeightMatrix("b.weight", 0, "b", 10, 80)])


def mask(a: list[int], b: list[int] = []) -> PruneMask:  # noqa: B006 (never changed)
    return PruneMask({"a.weight": np.array(a, dtype=np.int64), "b.weight": np.array(b, dtype=np.int64)}, "harm", "m")


def everything(i: int) -> np.ndarray:
    return np.ones(TABLE[i].size, dtype=bool)


def change(i: int) -> np.ndarray:
    """1 everywhere; −3 at the first ten weights of the first matrix."""
    flat = np.ones(TABLE[i].size, dtype=np.float32)
    if i == 0:
        flat[:10] = -3.0
    return flat


def test_shares_and_their_chance_by_hand() -> None:
    found = change_shares(TABLE, change, {"hit": mask([0, 1]), "miss": mask([20, 21], [5])}, everything, seed=0)
    total = 10 * 9 + 190 + 800
    assert found["hit"]["n_weights"] == 2
    assert found["hit"]["change"]["value"] == pytest.approx(18 / total)
    assert found["hit"]["change"]["chance"] == pytest.approx(2 * (90 + 190) / 200 / total)  # two of the first matrix
    assert found["hit"]["change"]["times_chance"] == pytest.approx(18 / 2.8)
    assert found["hit"]["change"]["p_value"] < 0.1 < found["miss"]["change"]["p_value"]
    assert found["miss"]["change"]["value"] == pytest.approx(3 / total)
    assert found["miss"]["change"]["low"] <= found["miss"]["change"]["chance"] <= found["miss"]["change"]["high"]
    # the ten weights of size 3 are the largest 1 % of 1000
    assert found["hit"]["top 0.01"]["value"] == 1.0
    assert found["miss"]["top 0.01"]["value"] == 0.0
    assert found["hit"]["top 0.01"]["chance"] == pytest.approx(10 / 200)


def test_chance_draws_only_what_a_mask_may_hold() -> None:
    def protected(i: int) -> np.ndarray:
        allowed = everything(i)
        allowed[:10] = i != 0
        return allowed

    found = change_shares(TABLE, change, {"hit": mask([20])}, protected, seed=0)
    chance = found["hit"]["change"]
    assert chance["chance"] == pytest.approx(chance["value"])
    assert chance["low"] == pytest.approx(chance["high"]) == pytest.approx(chance["value"])


def test_no_change_and_no_mask_give_nothing() -> None:
    assert (
        change_shares(TABLE, lambda i: np.zeros(TABLE[i].size, np.float32), {"hit": mask([0])}, everything, seed=0)
        == {}
    )
    assert change_shares(TABLE, change, {"none": mask([])}, everything, seed=0) == {}


def test_the_regrown_share_is_of_squares() -> None:
    before, after = {"a.weight": np.array([3.0, 4.0, 9.0])}, {"a.weight": np.array([0.0, 2.5, 9.0])}
    found = regrown_share(PruneMask({"a.weight": np.array([0, 1])}, "harm", "m"), before.__getitem__, after.__getitem__)
    assert found == pytest.approx(6.25 / 25)
    assert regrown_share(mask([]), before.__getitem__, after.__getitem__) is None
