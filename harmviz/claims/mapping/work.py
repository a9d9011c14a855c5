"""How much work a run is, in forward passes of one sample, and the disk it needs meanwhile. No torch: pages ask before
a run is started, the run itself asks for its progress.
"""

from __future__ import annotations

from dataclasses import dataclass

from harmviz.claims.mapping.settings import CONTRASTS, CONTROL_DRAWS, P_GRID, Q_DIVISORS

#: Cost of one scored sample in forward passes of one sample.
SCORE_UNITS, ABSOLUTE_UNITS = 3.0, 3.5
#: Cost of all own answers together: a few batches of as many steps as an answer has tokens.
ANSWER_UNITS = 500.0
#: Candidates, maps, halves, structure.
SELECT_UNITS = 200.0
#: Free answers of one variant.
BEHAVIOUR_UNITS = 250.0
#: Controls that are drawn at random, several times each.
DRAWN = ("random", "magnitude", "utility")


@dataclass(frozen=True)
class Samples:
    """How many samples have which role in a run.

    ``harm_scoring``: those of ``scoring`` that belong to harm categories.
    """

    categories: int
    scoring: int
    harm_scoring: int
    preserve: int
    validation: int
    report: int
    controls: int


def measure_units(n: Samples) -> float:
    """Forward passes of one sample that measuring costs."""
    grid = len(CONTRASTS) * len(Q_DIVISORS) * len(P_GRID)
    whole = len(CONTRASTS) * (2 + 3 + n.categories + 2) + 1
    return (
        n.validation * (grid + 1)
        + n.report * whole
        + n.controls * (len(CONTRASTS) * CONTROL_DRAWS * (len(DRAWN) + 1) + 3)
        + BEHAVIOUR_UNITS * (2 + len(CONTRASTS))
        + n.harm_scoring * (5 + SCORE_UNITS + 1)
    )


def run_units(n: Samples) -> float:
    """Forward passes of one sample that a whole run costs."""
    return ANSWER_UNITS + SCORE_UNITS * n.scoring + ABSOLUTE_UNITS * n.preserve + SELECT_UNITS + measure_units(n)


def scratch_bytes(n_weights: int, n_sets: int) -> int:
    """Disk that the score files of a run need while it is made: a float32 per weight, set and half, and the utility."""
    return 4 * n_weights * (2 * n_sets + 1)
