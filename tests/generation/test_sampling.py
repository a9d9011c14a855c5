"""One shared draw per step: where it lands, and that panes with equal distributions agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.generation import sampling
from harmviz.generation.sampling import draw_tokens, end_tokens
from tests.worlds.tiny import tiny_model


def by_hand(logits: np.ndarray, u: float, temperature: float, top_p: float) -> int:
    """The definition in float64: order, cut at top_p, renormalise, walk to u."""
    z = logits.astype(np.float64) / temperature
    p = np.exp(z - z.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    n_kept = int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1 if top_p < 1 else len(p)
    kept = p[order[:n_kept]] / p[order[:n_kept]].sum()
    return int(order[min(int(np.searchsorted(np.cumsum(kept), u, side="right")), len(kept) - 1)])


def test_golden() -> None:
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    # Ordered: token 1 (0.5), token 2 (0.3), token 0 (0.2).
    drawn = [int(draw_tokens(logits, u, temperature=1.0)[0]) for u in (0.0, 0.49, 0.51, 0.79, 0.81, 0.999)]
    assert drawn == [1, 1, 2, 2, 0, 0]
    # top_p 0.7 keeps tokens 1 and 2, renormalised to 0.625 and 0.375.
    drawn = [int(draw_tokens(logits, u, temperature=1.0, top_p=0.7)[0]) for u in (0.0, 0.62, 0.63, 0.999)]
    assert drawn == [1, 1, 2, 2]
    # Squared and renormalised: 25, 9 and 4 of 38.
    assert [int(draw_tokens(logits, u, temperature=0.5)[0]) for u in (0.65, 0.66, 0.89, 0.90)] == [1, 2, 2, 0]
    assert int(draw_tokens(logits, 0.999, temperature=0)[0]) == 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    u=st.floats(0, 1, exclude_max=True),
    temperature=st.floats(0.2, 3),
    top_p=st.one_of(st.just(1.0), st.floats(0.05, 0.99)),
    first=st.integers(1, 40),
)
def test_every_path_follows_the_definition(seed: int, u: float, temperature: float, top_p: float, first: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, 30)).astype(np.float32) * 3
    with pytest.MonkeyPatch.context() as m:
        m.setattr(sampling, "_FIRST", first)
        drawn = draw_tokens(torch.from_numpy(logits), u, temperature=temperature, top_p=top_p).tolist()
    for row, token in zip(logits, drawn, strict=True):
        # A boundary may fall within float32 rounding of u: then either neighbour is right.
        near = {by_hand(row, v, temperature, t) for v in _around(u) for t in _around(top_p)}
        assert token in near


def _around(x: float) -> tuple[float, ...]:
    return (max(0.0, x - 3e-6), x, min(x + 3e-6, 1.0))


def test_equal_rows_agree_and_frequencies_match() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0)).expand(4, -1)
    rng = np.random.default_rng(0)
    counts = np.zeros(50)
    for u in rng.random(4000):
        tokens = draw_tokens(logits, float(u), temperature=1.0).tolist()
        assert len(set(tokens)) == 1
        counts[tokens[0]] += 1
    assert np.abs(counts / 4000 - logits[0].softmax(-1).numpy()).max() < 0.02


def test_similar_rows_mostly_agree() -> None:
    """The point of a shared draw: far more agreement than two independent draws would give."""
    a = torch.randn(50, generator=torch.Generator().manual_seed(0))
    both = torch.stack([a, a + 0.05 * torch.randn(50, generator=torch.Generator().manual_seed(1))])
    draws = [draw_tokens(both, float(u), temperature=1.0) for u in np.random.default_rng(0).random(500)]
    shared = np.mean([int(d[0]) == int(d[1]) for d in draws])
    assert shared > 2 * float(both[0].softmax(-1).square().sum()) + 0.2


def test_end_tokens_from_every_place() -> None:
    loaded = tiny_model()
    assert end_tokens(loaded) == {2}
    loaded.model.generation_config.eos_token_id = [7, 9]
    assert end_tokens(loaded) == {2, 7, 9}
    loaded.model.generation_config.eos_token_id = None
    loaded.model.config.eos_token_id = 11
    assert end_tokens(loaded) == {2, 11}
