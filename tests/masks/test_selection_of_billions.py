"""Candidates of a model of seven billion scored weights, on two cores: time and memory, from scores made as they are
read. No model of that size is needed, and no file of scores is written."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

from harmviz.masks.candidates import build_candidates
from harmviz.masks.selection import Selection, select
from harmviz.models.weights import WeightMatrix, WeightTable

#: 32 layers of the shapes of Llama-3.1-8B: 6,979,321,856 weights.
SHAPES = {"q": (4096, 4096), "k": (1024, 4096), "v": (1024, 4096), "o": (4096, 4096)} | {
    name: (14336, 4096) if name != "down" else (4096, 14336) for name in ("gate", "up", "down")
}
LARGEST = max(rows * columns for rows, columns in SHAPES.values())


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.soak
def test_seven_billion_weights_in_five_minutes_and_little_memory() -> None:
    table = WeightTable(
        WeightMatrix(f"layers.{layer}.{name}.weight", layer, name, *shape)
        for layer in range(32)
        for name, shape in SHAPES.items()
    )
    assert table.n_weights == 6_979_321_856
    rng = np.random.default_rng(0)
    drawn = {name: rng.standard_normal(LARGEST + len(table), dtype=np.float32) ** 3 for name in ("hate", "utility")}
    np.abs(drawn["utility"], out=drawn["utility"])
    memory = {name: np.full(LARGEST, 1, dtype=np.float32) for name in drawn}  # touched before memory is measured

    def values(name: str, i: int) -> np.ndarray:
        """Heavy-tailed scores, another stretch and another scale in every matrix. Written over by the next call, so
        that making them costs little beside what is measured."""
        scale = np.float32(1.0 + ((i * 7919) % 97) / 97)
        return np.multiply(drawn[name][i : i + table[i].size], scale, out=memory[name][: table[i].size])

    before, began = peak_bytes(), time.monotonic()
    built = build_candidates(
        table,
        values,
        lambda i: values("utility", i),
        categories=("hate",),
        baselines=(),
        q_max=1e-5,
        p_grid=(0.01,),
        matrix_p=(),
    )
    took, grown = time.monotonic() - began, peak_bytes() - before
    print(f"{table.n_weights:,} weights: {took:.0f} s, {grown / 1e9:.2f} GB beside the scores' own matrices")
    chosen = select(built, Selection(("hate",), q=1e-5, p=0.01)).global_index
    assert len(chosen) == 69_793
    # By hand: what is chosen beats everything of a few whole matrices that may be chosen and was not.
    lowest = min(float(values("hate", int(m))[int(f)]) for m, f in zip(*table.locate(chosen[-200:]), strict=True))
    for i in (0, 100, 223):
        score, eligible = values("hate", i), built.eligible(i, 0.01)
        here = chosen[(chosen >= table.offsets[i]) & (chosen < table.offsets[i + 1])] - table.offsets[i]
        assert eligible[here].all()
        score[~eligible] = 0
        score[here] = 0
        assert score.max() <= lowest
    assert took < 300
    assert grown < 4 << 30
