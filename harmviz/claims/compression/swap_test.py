"""Do two checkpoints differ? A permutation test over prompts, corrected for how often it is asked.

Every prompt carries a pair: its ΔL under all masks of checkpoint A, and under all those of B. If pruning did the same
to both models, A and B could be exchanged prompt by prompt; so the pairs of a random half of the prompts are swapped
(in all scoring splits at once), **the whole statistic is computed again**, and

    p = share of swappings whose |difference| is at least the observed one        (two-sided).

The statistic is the harm-specific ΔL at one fixed point (``swap_p_at``), or the separability under a benign limit
(``swap_p_value``), whose choice of the grid point is then made again in every swapping.

With up to ``EXACT_PROMPTS`` prompts all swappings are gone through; beyond, ``DRAWS`` random ones, the observed one
counted among them. The test is exact for these checkpoints and masks: it generalises over prompts, not over tuning
seeds; the interval beside it does both. At a fixed point, a linear statistic, it is the sign-flipping of the paired
differences.

Source: Fisher 1935, §21; Phipson & Smyth 2010 (the +1); Holm 1979, Scand. J. Stat. 6:65.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harmviz.claims.compression.separability import Resampled, best_allowed

EXACT_PROMPTS = 12
DRAWS = 10_000
_BLOCK = 500


def swap_p_value(world: Resampled, contrast: str, a: int, b: int, *, seed: int = 0, draws: int = DRAWS) -> float:
    """Two-sided p of "checkpoints ``a`` and ``b`` are equally separable"; 1 where no prompt tells them apart."""
    places = world.places(contrast)

    def best(means: np.ndarray) -> np.ndarray:
        return best_allowed(means[..., 0], means[..., 1], world.limits[places])

    return _p_value(world, places, (a, b), best, seed, draws)


def swap_p_at(world: Resampled, point: int, a: int, b: int, *, seed: int = 0, draws: int = DRAWS) -> float:
    """Two-sided p of "the harm-specific ΔL of checkpoints ``a`` and ``b`` is equal at this point of the grid"."""
    return _p_value(world, np.array([point]), (a, b), lambda means: means[..., 0, 0], seed, draws)


def _p_value(
    world: Resampled,
    places: np.ndarray,
    pair: tuple[int, int],
    index: Callable[[np.ndarray], np.ndarray],
    seed: int,
    draws: int,
) -> float:
    """p of the difference of an ``index`` of the means [swapping, point, (specific, benign)]."""
    parts = [_contributions(world, split, pair, places) for split in range(len(world.measured))]
    moved = [part[:, 1] - part[:, 0] for part in parts]  # [prompt, point, (specific, benign)]
    differ = np.flatnonzero(np.any([np.abs(m).reshape(len(m), -1).sum(axis=1) > 0 for m in moved], axis=0))
    if not len(differ):
        return 1.0

    def statistic(swapped: np.ndarray) -> np.ndarray:
        total = np.zeros(len(swapped))
        for part, step in zip(parts, moved, strict=True):
            shift = np.tensordot(swapped, step[differ], axes=1)
            first, second = part[:, 0].sum(axis=0) + shift, part[:, 1].sum(axis=0) - shift
            total += index(first) - index(second)
        return total / len(parts)

    observed = abs(float(statistic(np.zeros((1, len(differ))))[0]))
    at_least = observed - 1e-12 * max(1.0, observed)
    if len(differ) <= EXACT_PROMPTS:
        every = (np.arange(1 << len(differ))[:, None] >> np.arange(len(differ))) & 1
        return float(np.mean(np.abs(statistic(every.astype(float))) >= at_least))
    rng, hits = np.random.default_rng(seed), 0
    for start in range(0, draws, _BLOCK):
        swapped = rng.integers(0, 2, size=(min(_BLOCK, draws - start), len(differ))).astype(float)
        hits += int(np.count_nonzero(np.abs(statistic(swapped)) >= at_least))
    return (1 + hits) / (1 + draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the order given.

    Compared with any level, they keep the family-wise error below it.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, place in enumerate(order.tolist()):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def _contributions(world: Resampled, split: int, pair: tuple[int, int], places: np.ndarray) -> np.ndarray:
    """[prompt, checkpoint of the pair, point, (specific, benign)]: what each prompt adds to the two means.

    Swapping changes no counts, so both means are sums over prompts.
    """
    m, c = world.measured[split], len(world.categories)
    delta = m.delta[list(pair)][:, places]
    size = {name: m.sets.count(name) for name in world.sets}
    place = {p: i for i, p in enumerate(world.prompts)}
    out = np.zeros((len(world.prompts), 2, len(places), 2))
    for i, (name, prompt) in enumerate(zip(m.sets, m.prompts, strict=True)):
        if name == "benign":
            out[place[prompt], :, :, 1] += delta[:, :, i] / size[name]
        else:
            sign = -1.0 if name.startswith("safe:") else 1.0
            out[place[prompt], :, :, 0] += sign * delta[:, :, i] / (size[name] * c)
    return out
