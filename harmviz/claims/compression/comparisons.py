"""Which checkpoints are compared, fixed before anything is measured, and what rows call them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from harmviz.claims.compression.series import Checkpoint

#: The arm whose claim is tested; all others are controls.
ALIGNED_ARM = "safety"


def difference_name(a: str, b: str) -> str:
    """The condition of "a minus b"."""
    return f"{a} minus {b}"


def seed_name(checkpoint: str, seed: int) -> str:
    """The condition of a checkpoint in the split of one seed."""
    return f"{checkpoint}#{seed}"


def planned_tests(checkpoints: Sequence[Checkpoint]) -> list[dict[str, str]]:
    """The differences that are tested: ``a``, ``b``, ``kind``.

    ``start``: each checkpoint minus the first. ``control``: the safety arm minus each other arm after equal steps.
    ``previous``: each checkpoint minus the one before it, in a series without arms.
    """
    first, rest = checkpoints[0], checkpoints[1:]
    tests = [{"a": c.name, "b": first.name, "kind": "start"} for c in rest]
    for c in rest:
        if c.arm == ALIGNED_ARM:
            others = [o for o in rest if o.arm not in (ALIGNED_ARM, None) and (o.stage, o.step) == (c.stage, c.step)]
            tests += [{"a": c.name, "b": o.name, "kind": "control"} for o in others]
    if all(c.arm is None for c in checkpoints):
        tests += [{"a": b.name, "b": a.name, "kind": "previous"} for a, b in pairwise(rest)]
    return tests
