"""What each selection costs where both do the same to harmful text.

At one fraction q the paper's selection moves harmful text more than the contrastive one, and everything else too; which
of them is the gentler shows only *at equal harm effect*. On the validation prompts a run measures the whole grid of q.
With h(q) the rise of the loss of harmful answers (types weigh alike) and d(q) that of another text, both 0 at q = 0 and
straight between the points of the grid (``claims.curves``),

    cost(e) = d(q*)    where q* is the first fraction with h(q*) = e

for each selection, and contrastive minus as in the paper. Interval: whole prompts are drawn, and the curves with them
(``stats.bootstrap``), so that where q* lies is drawn too. Needs the losses of every sample (``sample_losses``), no
model.

The grid was also what (q, p) was chosen on; here nothing is chosen, one p is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from harmviz.claims.curves import Curves, at_level
from harmviz.claims.mapping.sample_losses import FILE, sample_losses
from harmviz.display.text import is_harm
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL
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
    if {PAPER, OURS} - set(frame["selection"]):
        return []
    found = []
    for text in TEXTS:
        if (frame["category"] == text).any():
            curves = Curves.of(frame[(frame["category"] == text) | frame["category"].map(is_harm)])
            for effect in targets:
                paper, ours, difference = (
                    curves.estimate(statistic, draws=draws, seed=parameters["seed"])
                    for statistic in (
                        partial(_cost, curves, text, PAPER, effect),
                        partial(_cost, curves, text, OURS, effect),
                        partial(_beyond, curves, text, effect),
                    )
                )
                if np.isfinite(difference.value):
                    found.append(EqualEffect(effect, text, paper, ours, difference, curves.n_prompts(text)))
    return sorted(found, key=lambda e: targets.index(e.effect))


def _rises(losses: pd.DataFrame, p: float, column: str) -> pd.DataFrame:
    """The validation samples under every mask of both selections at this p, as ``Curves`` takes them."""
    here = losses[losses["split"] == "validation"]
    intact = here[here["digest"].isna()].set_index("sample")[column]
    masks = here[(here["set"] == MEAN_OF_ALL) & (here["scope"] == "global") & (here["p"] == p)]
    masks = masks[masks["control"].isin(["none"]) | masks["control"].isna()]
    masks = masks[masks["contrast"].isin([PAPER, OURS])]
    rise = masks[column].to_numpy() - intact.reindex(masks["sample"]).to_numpy()
    return masks.assign(rise=rise, selection=masks["contrast"])


def _cost(curves: Curves, text: str, contrast: str, effect: float, means: np.ndarray) -> np.ndarray:
    """``(…)``: what the text pays where harmful answers rise by ``effect``."""
    harmful = [c for c in curves.cells.unique("category") if c != text]
    return at_level(curves.curve(means, contrast, harmful), curves.curve(means, contrast, [text]), effect)


def _beyond(curves: Curves, text: str, effect: float, means: np.ndarray) -> np.ndarray:
    """``(…)``: ours minus the paper's."""
    with np.errstate(invalid="ignore"):  # neither reaches it: no value
        return _cost(curves, text, OURS, effect, means) - _cost(curves, text, PAPER, effect, means)
