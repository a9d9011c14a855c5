"""Rows about what a mask does, as a map run stores them."""

from __future__ import annotations

from typing import Any

from harmviz.runs import Row

#: The contrastive mask of these worlds.
POINT: dict[str, Any] = {"q": 5e-5, "p": 0.01, "n_weights": 5308}


def effect_row(metric: str, value: float | None, low: float | None, high: float | None, **changes: Any) -> Row:
    """A number of the contrastive mask's effect on harmful answers, unless ``changes`` say otherwise."""
    settings: dict[str, Any] = dict(
        experiment="effect",
        mask="mean(all)",
        category="harm",
        contrast="both",
        scope="global",
        skip_tokens=0,
        n=20,
        unit="nats/token",
        **POINT,
    )
    return Row(metric=metric, value=value, ci_low=low, ci_high=high, **(settings | changes))
