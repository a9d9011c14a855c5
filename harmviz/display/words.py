"""The words that stand around a chart, alike on every page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Title and subtitle are escaped where they hold text of a file, since plotly reads some tags; the rest is plain.

    ``reading``: how to read the picture. ``alt``: what it shows, for readers who cannot see it.
    """

    title: str
    subtitle: str
    reading: str
    alt: str
