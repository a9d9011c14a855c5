"""How much work a run is, in forward passes of one sample, and the disk it needs meanwhile. No torch: pages ask before
a run is started, the run itself asks for its progress.
"""

from __future__ import annotations

from dataclasses import dataclass

from harmviz.claims.mapping.extent import FULL, RESPONSE_TOKENS, Extent
from harmviz.claims.mapping.settings import CONTRASTS, RunSpec
from harmviz.masks.controls import DRAWN

#: Cost of one scored sample in forward passes of one sample.
SCORE_UNITS, ABSOLUTE_UNITS = 3.0, 3.5
#: Candidates, maps, halves, structure.
SELECT_UNITS = 200.0
#: Forward passes of one sample that judging one mask at the gate costs: short requests with eight openings each.
GATE_UNITS = 40.0
#: The author's answers to all held-out twins; both halves of a pair under each mask that is measured on them.
TWIN_ANSWER_UNITS, TWIN_UNITS = 800.0, 0.6


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
    twins: int = 0


def answer_units(spec: RunSpec) -> float:
    """Cost of all own answers together: a few batches of as many steps as an answer has tokens (measured: 500 where
    they have 96), and of those a quick run has a third."""
    return 500.0 * spec.max_response_tokens / RESPONSE_TOKENS[False] / (3 if spec.quick else 1)


def behaviour_units(extent: Extent) -> float:
    """Cost of the free answers of one variant (measured: 250 in a full run): steps, and prompts where they are many."""
    steps, prompts = extent.answer_tokens / FULL.answer_tokens, sum(extent.behaviour) / sum(FULL.behaviour)
    return 250.0 * steps * max(0.5, prompts)


def gate_units(n: Samples, extent: Extent) -> float:
    """Forward passes of one sample that the gate costs."""
    return GATE_UNITS * (1 + len(extent.gate) * (n.categories + 3 + extent.gate_draws))


def measure_units(n: Samples, extent: Extent) -> float:
    """Forward passes of one sample that measuring costs."""
    grid = len(CONTRASTS) * len(extent.q_divisors) * len(extent.p_grid)
    transfer = len(CONTRASTS) * n.categories * (n.report if extent.transfer == "report" else n.controls)
    others = extent.other_scores
    return (
        n.validation * (grid + 1)
        + n.report * (len(CONTRASTS) * (2 + 3 + 2) + 1 + 2)
        + transfer
        + n.controls * (len(CONTRASTS) * extent.control_draws * (len(DRAWN) + 1) + 3 * others)
        + n.twins * TWIN_UNITS * (len(CONTRASTS) * (2 + 1) + 2 + 1)
        + behaviour_units(extent) * (2 + len(CONTRASTS))
        + n.harm_scoring * (5 + ABSOLUTE_UNITS * others)
    )


def run_units(n: Samples, spec: RunSpec) -> float:
    """Forward passes of one sample that a whole run costs."""
    scored = SCORE_UNITS * n.scoring + ABSOLUTE_UNITS * n.preserve
    shams = SCORE_UNITS * n.scoring if spec.extent.shams else 0.0
    select = SELECT_UNITS + gate_units(n, spec.extent) + shams
    answers = answer_units(spec) + (TWIN_ANSWER_UNITS if spec.twins else 0.0)
    return answers + scored + select + measure_units(n, spec.extent)


def scratch_bytes(n_weights: int, n_sets: int) -> int:
    """Disk that the score files of a run need while it is made: a float32 per weight, set and half, and the utility."""
    return 4 * n_weights * (2 * n_sets + 1)
