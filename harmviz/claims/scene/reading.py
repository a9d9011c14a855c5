"""By which reading of answers a scene is told: what counts as not doing what was asked.

Scenes count what is *turned away*: declined, in quotation marks too, or answered with something else. Older ones have
refusals by keywords alone, and are told by those.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Reading:
    """A reading's metrics and its words.

    Attributes:
        rate, excess, selective: the share of answers, that beyond random masks, and that beyond harmless requests.
        past, verb: ``turned away``, ``turns away``.
        how: what is counted, for a quiet line.
        short: the same for an axis.
    """

    rate: str
    excess: str
    selective: str
    past: str
    verb: str
    how: str
    short: str


DECLINED = Reading(
    "refusal_rate",
    "refusal_excess",
    "selective_refusal",
    "declined",
    "declines",
    "counted by keywords outside quotation marks, a lower bound",
    "declined, by keywords",
)
TURNED_AWAY = Reading(
    "turned_away_rate",
    "turned_away_excess",
    "selective_turned_away",
    "turned away",
    "turns away",
    "turned away: declined, or answered with something else",
    "turned away: declined, or something else answered",
)


def reading_of(results: pd.DataFrame) -> Reading:
    """How the scene with these rows is told."""
    return TURNED_AWAY if (results["metric"] == TURNED_AWAY.rate).any() else DECLINED
