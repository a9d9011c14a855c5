"""The tables of the documentation that the stored comparison makes."""

from __future__ import annotations

from harmviz.claims.markdown import table
from harmviz.claims.rankings import lines
from harmviz.runs import Run


def gains(run: Run) -> str:
    """What each ranking buys at each limit, with its verdict."""
    return table(lines.GAINS, lines.gains(run, run.results()))


def differences(run: Run) -> str:
    """Each ranking minus the paper's."""
    return table(lines.DIFFERENCES, lines.differences(run, run.results()))


def along(run: Run) -> str:
    """What each text pays at every fraction that was measured."""
    return table(lines.ALONG, lines.along(run, run.results()))


PARTS = {"gains": gains, "differences": differences, "along": along}
