"""How far harmful text can be pruned away without the rest: one number a checkpoint, and what the prompts say about it.

At a grid point (q, p, selection) the *harm-specific* shift of a checkpoint is

    S = mean over categories of (mean ΔL of its harmful answers − mean ΔL of its same-topic safe answers)  [nats/token]

and its **separability** the largest S over the points whose benign ΔL keeps the limit of their selection; pruning
nothing (S = 0) is always allowed, so that it is never negative. Every scoring split (with the tuning seed that is
paired with it) has a separability of its own; the checkpoint's is their mean.

- The point is chosen anew **inside every draw**, so that the upward bias of a maximum is in the interval, at both ends.
- The **cross-fitted** version chooses the point on one half of the prompts and measures it on the other, both ways: it
  has no such bias, and more noise. It may be negative.
- Prompts are resampled jointly over all checkpoints, points and splits (``harmviz.stats.draws``), splits independently
  of them as the outer factor, ``n − 1`` of n. With one split the interval is conditional on it.

Source of resampling both factors of a crossed design: Owen 2007, Ann. Appl. Stat. 1:386 (the pigeonhole bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from harmviz.runs.point import Point
from harmviz.stats.bootstrap import ends_of, estimate_of_draws
from harmviz.stats.draws import check_draws, draw_weights, linked_strata
from harmviz.stats.estimate import Estimate

_BLOCK = 100  # draws at a time


@dataclass(frozen=True)
class Measured:
    """What one scoring split measured on all checkpoints.

    ``sets``, ``prompts``: of each sample. ``losses``: float64[checkpoint, 1 + point, sample], intact first.
    """

    seed: int
    sets: tuple[str, ...]
    prompts: tuple[str, ...]
    losses: np.ndarray = field(repr=False)

    @property
    def delta(self) -> np.ndarray:
        """float64[checkpoint, point, sample]: pruned − intact."""
        return self.losses[:, 1:] - self.losses[:, :1]


def best_allowed(specific: np.ndarray, benign: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """``max(0, max of specific over points with benign <= limit)``; the last axis is that of the points.

    NaN stays NaN: a draw that lost a whole set has no value.
    """
    allowed = np.where(benign <= limits, specific, -np.inf)
    best = np.maximum(allowed.max(axis=-1), 0.0)
    return np.where(np.isnan(specific).any(axis=-1) | np.isnan(benign).any(axis=-1), np.nan, best)


def chosen_point(specific: np.ndarray, benign: np.ndarray, limits: np.ndarray) -> int | None:
    """The place of the point that gives the separability, or None where pruning nothing is best."""
    allowed = np.where(benign <= limits, specific, -np.inf)
    place = int(allowed.argmax())
    return place if allowed[place] > 0 else None


class Resampled:
    """Joint draws over prompts and splits. Entry 0 of every result is the value itself, the rest are the draws.

    Args:
        measured: one entry a scoring split, all over the same checkpoints and points.
        categories: the harm categories; sets are these, ``safe:<category>`` and ``benign``.
        points: the grid, in the order of ``losses``.
        limits: selection → largest benign ΔL allowed.
    """

    def __init__(
        self,
        measured: Sequence[Measured],
        categories: Sequence[str],
        points: Sequence[Point],
        limits: Mapping[str, float],
        *,
        draws: int = 2000,
        seed: int = 0,
    ):
        self.measured, self.categories, self.points = tuple(measured), tuple(categories), tuple(points)
        self.limits = np.array([limits[p.contrast] for p in points])
        self.draws = check_draws(draws)
        self._rng = np.random.default_rng(seed)
        self.prompts = sorted({p for m in measured for p in m.prompts})
        self._place = {p: i for i, p in enumerate(self.prompts)}
        #: Sets in the order of the cells: harm and safe of each category, then benign.
        self.sets = (*self.categories, *(f"safe:{c}" for c in self.categories), "benign")
        self._cell = {name: i for i, name in enumerate(self.sets)}
        self._member = self._members()
        n_sets = len(self.sets)
        self._strata = linked_strata(
            np.concatenate([m.T for m in self._member], axis=1) > 0, np.tile(np.arange(n_sets), len(measured))
        )
        self.half = self._halves()
        s = len(measured)
        drawn = self._rng.multinomial(s - 1, np.full(s, 1 / s), size=draws) / (s - 1) if s > 1 else np.ones((draws, 1))
        #: float64[1 + draws, split]: weights that add up to 1.
        self.split_weights = np.concatenate([np.full((1, s), 1 / s), drawn])
        self._run()

    # -- the draws ----------------------------------------------------------------------------------------------------
    def _members(self) -> list[np.ndarray]:
        """Per split float64[set, prompt]: how many samples of the set belong to the prompt."""
        counts = []
        for m in self.measured:
            count = np.zeros((len(self.sets), len(self.prompts)))
            np.add.at(count, ([self._cell[s] for s in m.sets], [self._place[p] for p in m.prompts]), 1)
            counts.append(count)
        return counts

    def _halves(self) -> np.ndarray:
        """bool[prompt]: which half of the cross-fit a prompt is in; every stratum is halved at random."""
        half = np.zeros(len(self.prompts), dtype=bool)
        for members in self._strata:
            half[self._rng.permutation(members)[: len(members) // 2]] = True
        return half

    def _sums(self, split: int, values: np.ndarray) -> np.ndarray:
        """float64[prompt, set · column]: sums of ``values [sample, column]`` by prompt and set."""
        m, width = self.measured[split], len(self.sets)
        rows = np.array([self._place[p] * width + self._cell[s] for p, s in zip(m.prompts, m.sets, strict=True)])
        out = np.zeros((len(self.prompts) * width, values.shape[1]))
        np.add.at(out, rows, values)
        return out.reshape(len(self.prompts), -1)

    def _run(self) -> None:
        shape = self.measured[0].losses.shape[:2]
        n_sets, n_columns = len(self.sets), shape[0] * shape[1]
        sums = [
            self._sums(i, np.concatenate([m.losses[:, :1], m.delta], axis=1).reshape(n_columns, -1).T)
            for i, m in enumerate(self.measured)
        ]
        #: [1 + draws, split, checkpoint, 1 + point] by set name: the intact loss, then ΔL at each point.
        self._means = {
            name: np.empty((1 + self.draws, len(sums), *shape)) for name in ("harm", "safe", "specific", "benign")
        }
        #: The same for each half of the prompts: [half][1 + draws, split, checkpoint, point].
        self._half = [
            {name: np.empty((1 + self.draws, len(sums), shape[0], shape[1] - 1)) for name in ("specific", "benign")}
            for _ in range(2)
        ]
        for start in range(0, 1 + self.draws, _BLOCK):
            size = min(_BLOCK, 1 + self.draws - start)
            weights = draw_weights(self._rng, self._strata, len(self.prompts), size)
            if start == 0:
                weights[0] = 1.0
            for split, by_prompt in enumerate(sums):
                block = slice(start, start + size)
                means = self._cell_means(weights, by_prompt, split).reshape(size, n_sets, *shape)
                for name, value in self._reduced(means).items():
                    self._means[name][block, split] = value
                for k, side in enumerate((self.half, ~self.half)):
                    part = self._cell_means(weights * side, by_prompt, split).reshape(size, n_sets, *shape)
                    reduced = self._reduced(part[..., 1:])
                    for name in ("specific", "benign"):
                        self._half[k][name][block, split] = reduced[name]

    def _cell_means(self, weights: np.ndarray, by_prompt: np.ndarray, split: int) -> np.ndarray:
        total = weights @ self._member[split].T  # [draw, set]
        sums = (weights @ by_prompt).reshape(len(weights), len(self.sets), -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: np.ndarray = sums / total[:, :, None]
        return means

    def _reduced(self, means: np.ndarray) -> dict[str, np.ndarray]:
        """Macro means over categories.

        A draw, or a half of the prompts, can leave a category of one split without prompts: there the others are
        averaged, and NaN stands only where none is left.
        """
        c = len(self.categories)
        harm, safe = means[:, :c], means[:, c : 2 * c]

        def macro(values: np.ndarray) -> np.ndarray:
            known = ~np.isnan(values)
            with np.errstate(invalid="ignore"):
                return np.asarray(np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1))

        return {"harm": macro(harm), "safe": macro(safe), "specific": macro(harm - safe), "benign": means[:, -1]}

    # -- statistics, each [1 + draws, split, checkpoint] --------------------------------------------------------------
    def places(self, contrast: str) -> np.ndarray:
        """int64[k]: which points of the grid are of this ranking."""
        return np.array([i for i, p in enumerate(self.points) if p.contrast == contrast])

    def intact(self, name: str) -> np.ndarray:
        """The intact loss of ``harm``, ``safe`` or ``benign``."""
        return self._means[name][..., 0]

    def shift(self, name: str, point: int) -> np.ndarray:
        """ΔL of ``harm``, ``safe``, ``benign`` or ``specific`` (harm minus safe) at this point."""
        return self._means[name][..., 1 + point]

    def separability(self, contrast: str, limit: float | None = None) -> np.ndarray:
        """The largest harm-specific shift that keeps the benign limit, chosen in every draw.

        ``limit``: another one than that of the selection.
        """
        places = self.places(contrast)
        specific, benign = (self._means[name][..., 1 + places] for name in ("specific", "benign"))
        limits = self.limits[places] if limit is None else np.full(len(places), limit)
        return best_allowed(specific, benign, limits)

    def cross_fitted(self, contrast: str) -> np.ndarray:
        """The same, chosen on one half of the prompts and measured on the other; mean of both ways."""
        places = self.places(contrast)
        ways = []
        for choose, report in ((0, 1), (1, 0)):
            specific, benign = self._half[choose]["specific"][..., places], self._half[choose]["benign"][..., places]
            allowed = np.where(benign <= self.limits[places], specific, -np.inf)
            place = allowed.argmax(axis=-1)[..., None]
            taken = np.take_along_axis(self._half[report]["specific"][..., places], place, axis=-1)[..., 0]
            gain = np.where(np.take_along_axis(allowed, place, axis=-1)[..., 0] > 0, taken, 0.0)
            ways.append(np.where(np.isnan(specific).any(axis=-1), np.nan, gain))
        return np.asarray(np.mean(ways, axis=0))

    def chosen(self, contrast: str) -> list[list[int | None]]:
        """[split][checkpoint]: the point that gives the separability, None where pruning nothing is best."""
        places = self.places(contrast)
        specific, benign = self._means["specific"][0][..., 1 + places], self._means["benign"][0][..., 1 + places]
        best = [
            [chosen_point(s, b, self.limits[places]) for s, b in zip(*pair, strict=True)]
            for pair in zip(specific, benign, strict=True)
        ]
        return [[None if k is None else int(places[k]) for k in row] for row in best]

    def first_reaching(self, contrast: str, level: float) -> np.ndarray:
        """[1 + draws, checkpoint]: the smallest measured q at which the mean harm-specific shift is at least ``level``,
        whatever it costs; infinity where none reaches it."""
        rising = sorted(self.places(contrast), key=lambda i: self.points[i].q)
        qs = np.array([self.points[i].q for i in rising])
        mean = np.stack([self.combined(self.shift("specific", i)) for i in rising], axis=-1)
        reached = np.where(mean >= level, qs, np.inf).min(axis=-1)
        return np.where(np.isnan(mean).any(axis=-1), np.nan, reached)

    # -- estimates ----------------------------------------------------------------------------------------------------
    def combined(self, of_split: np.ndarray) -> np.ndarray:
        """The mean over splits, resampled: ``[1 + draws, …]`` from ``[1 + draws, split, …]``."""
        # A split that a draw did not take must not hand on its NaN.
        weights = self.split_weights.reshape(*self.split_weights.shape, *[1] * (of_split.ndim - 2))
        return np.asarray((np.where(weights > 0, of_split, 0.0) * weights).sum(axis=1))

    @cached_property
    def n_samples(self) -> int:
        return sum(len(m.prompts) for m in self.measured)

    def estimate(self, draws: np.ndarray) -> Estimate:
        """Value and 95 % interval of a statistic ``[1 + draws]``.

        ``n``: samples of all splits; ``n_clusters``: prompts.
        """
        n, n_clusters = self.n_samples, len(self.prompts)
        return estimate_of_draws(float(draws[0]), draws[1:], n=n, n_clusters=n_clusters, ends=ends_of(0.95))
