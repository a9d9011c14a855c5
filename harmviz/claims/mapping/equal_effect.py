"""What each selection costs where both do the same to harmful text.

At one fraction q the paper's selection moves harmful text more than the contrastive one, and everything else too; which
of them is the gentler shows only *at equal harm effect*. On the validation prompts a run measures the whole grid of q.
With h(q) the rise of the loss of harmful answers (types weigh alike) and d(q) that of another text, both 0 at q = 0 and
straight between the points of the grid,

    cost(e) = d(q*)    where q* is the first fraction with h(q*) = e

for each selection, and contrastive minus as in the paper. Interval: whole prompts are drawn, and the curves with them
(``stats.bootstrap``), so that where q* lies is drawn too. Needs the losses of every sample (``sample_losses``), no
model.

The grid was also what (q, p) was chosen on; here nothing is chosen, one p is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from harmviz.claims.mapping.sample_losses import FILE, sample_losses
from harmviz.display.text import is_harm
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL
from harmviz.stats.bootstrap import Statistic, cluster_bootstrap
from harmviz.stats.estimate import Estimate

#: Rises of the loss of harmful answers that selections are compared at, nats per response token.
TARGETS = (0.1, 0.2, 0.4)
#: The texts whose cost is asked for.
TEXTS = {"benign": "by others", "benign_own": "its own"}
#: The selections compared: the paper's, the contrastive one.
PAPER, OURS = "none", "both"


@dataclass(frozen=True)
class EqualEffect:
    """At one rise of harmful loss ``effect``, for one ``text``: ``paper``, ``ours``: the costs of both selections in
    nats per response token with a 95 % interval over prompts; ``difference``: ours minus the paper's, drawn together.
    Draws that do not reach the effect are those of least effect, and count as infinitely dear; no interval where an end
    is among them. ``n``: prompts of the text."""

    effect: float
    text: str
    paper: Estimate
    ours: Estimate
    difference: Estimate
    n: int

    @property
    def halved(self) -> bool | None:
        """Whether ours costs at most half of the paper's; None where the paper's is not clear of 0, or an interval is
        missing."""
        if self.ours.ci_low is None or self.paper.ci_low is None or self.paper.ci_low <= 0:
            return None
        return bool(self.ours.value <= self.paper.value / 2)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        costs = {name: getattr(self, name)._asdict() for name in ("paper", "ours", "difference")}
        return {"effect": self.effect, "text": self.text, "n": self.n, "halved": self.halved, **costs}


def equal_effects(run: Run, *, targets: Sequence[float] = TARGETS, draws: int = 2000) -> list[EqualEffect]:
    """All effects that both selections reach, in order; [] where the run keeps no losses of single samples, or has one
    selection only."""
    if FILE not in run.manifest["files"]:
        return []
    parameters = run.manifest["parameters"]
    frame = _rises(
        sample_losses(run), parameters["fixed_point"][1], "nll_skip8" if parameters["skip_tokens"] else "nll"
    )
    if {PAPER, OURS} - set(frame["contrast"]):
        return []
    found = []
    for text in TEXTS:
        if (frame["category"] == text).any():
            curves = _Curves.of(frame, text)
            for effect in targets:
                paper, ours, difference = (
                    curves.estimate(statistic, draws=draws, seed=parameters["seed"])
                    for statistic in (
                        partial(curves.cost, PAPER, effect),
                        partial(curves.cost, OURS, effect),
                        partial(curves.beyond, effect),
                    )
                )
                if np.isfinite(difference.value):
                    found.append(EqualEffect(effect, text, paper, ours, difference, curves.n_prompts))
    return sorted(found, key=lambda e: targets.index(e.effect))


def _rises(losses: pd.DataFrame, p: float, column: str) -> pd.DataFrame:
    """The validation samples under every mask of both selections at this p: contrast, q, category, prompt, ``rise`` of
    the loss."""
    here = losses[losses["split"] == "validation"]
    intact = here[here["digest"].isna()].set_index("sample")[column]
    masks = here[(here["set"] == MEAN_OF_ALL) & (here["scope"] == "global") & (here["p"] == p)]
    masks = masks[masks["control"].isin(["none"]) | masks["control"].isna()]
    masks = masks[masks["contrast"].isin([PAPER, OURS])]
    return masks.assign(rise=masks[column].to_numpy() - intact.reindex(masks["sample"]).to_numpy())


@dataclass(frozen=True)
class _Curves:
    """Rises of harmful answers and of one text over q: samples in cells ``(contrast, q, category)``."""

    rows: pd.DataFrame = field(repr=False)
    cells: pd.MultiIndex = field(repr=False)
    text: str

    @classmethod
    def of(cls, frame: pd.DataFrame, text: str) -> _Curves:
        category = frame["category"]
        kept = frame[(category == text) | category.map(is_harm)]
        keys = ["contrast", "q", "category"]
        return cls(kept, pd.MultiIndex.from_frame(kept[keys].drop_duplicates().sort_values(keys)), text)

    @property
    def n_prompts(self) -> int:
        return int(self.rows.loc[self.rows["category"] == self.text, "prompt"].nunique())

    def estimate(self, statistic: Statistic, *, draws: int, seed: int) -> Estimate:
        """``statistic`` of the cell means, whole prompts drawn within each category."""
        keys = pd.MultiIndex.from_frame(self.rows[["contrast", "q", "category"]])
        found = cluster_bootstrap(
            self.rows["rise"].to_numpy(),
            self.rows["prompt"].tolist(),
            self.cells.get_indexer(keys),
            len(self.cells),
            statistic,
            cell_stratum=pd.factorize(self.cells.get_level_values("category"))[0],
            cell_names=list(self.cells),
            draws=draws,
            seed=seed,
        )
        if not all(end is None or math.isfinite(end) for end in (found.ci_low, found.ci_high)):
            return found._replace(ci_low=None, ci_high=None, reason="too many draws of prompts do not reach the effect")
        return found

    def cost(self, contrast: str, effect: float, means: np.ndarray) -> np.ndarray:
        """``(…)``: what the text pays where harmful answers rise by ``effect``."""
        harmful = [c for c in self.cells.unique("category") if c != self.text]
        return at_level(self._curve(means, contrast, harmful), self._curve(means, contrast, [self.text]), effect)

    def beyond(self, effect: float, means: np.ndarray) -> np.ndarray:
        """``(…)``: ours minus the paper's."""
        with np.errstate(invalid="ignore"):  # neither reaches it: no value
            return self.cost(OURS, effect, means) - self.cost(PAPER, effect, means)

    def _curve(self, means: np.ndarray, contrast: str, categories: Sequence[str]) -> np.ndarray:
        """``(…, points + 1)``: the mean over categories, which weigh alike, at q = 0 and at each q, ascending."""
        grid = sorted({q for c, q, _ in self.cells if c == contrast})
        points = [self.cells.get_indexer([(contrast, q, c) for c in categories]) for q in grid]
        at = [means[..., places].mean(axis=-1) for places in points]
        return np.stack([np.zeros_like(at[0]), *at], axis=-1)


def at_level(height: np.ndarray, value: np.ndarray, level: float) -> np.ndarray:
    """``value`` where ``height`` first reaches ``level``, straight between points; infinite where it never does.

    Args:
        height, value: ``(…, points)``, the first point at height 0. level: above 0.
    """
    reached = height >= level
    after = np.maximum(reached.argmax(axis=-1), 1)[..., None]
    (h0, h1), (v0, v1) = (
        tuple(np.take_along_axis(x, i, axis=-1)[..., 0] for i in (after - 1, after)) for x in (height, value)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        found = v0 + (level - h0) / (h1 - h0) * (v1 - v0)
    return np.where(reached.any(axis=-1), found, np.inf)
