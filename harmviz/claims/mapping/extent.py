"""How much a map run measures: the whole of it, or a first look at a model.

Measuring under masks takes nine tenths of a run, and what it costs is passes × samples: every mask is a pass over
held-out prompts. A quick run makes the same passes for the same claims, with controls and intervals, over fewer prompts
(five report prompts a harm type, where the full run has all there are), fewer grid points and fewer draws. Other scores
(absolute SNIP, Wanda, magnitude), which are no controls, are left out. Its intervals are wide: it shows that a model
works here and what to expect, and settles little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: What ``run`` uses where nothing is said: (full, quick).
SAMPLES, RESPONSE_TOKENS = (24, 8), (96, 32)
#: Longest prompt used, in tokens.
PROMPT_TOKENS = 512


@dataclass(frozen=True)
class Prompts:
    """Most prompts of one split: of a harm type, of its safe twin, of others' harmless answers, of the model's own.

    None: all there are.
    """

    harm: int | None
    safe: int | None
    benign: int | None
    own: int | None

    def most(self, set_name: str) -> int | None:
        """The limit for a set: a harm category, ``safe:<category>``, ``benign`` or ``benign_own``."""
        if set_name.startswith("safe:"):
            return self.safe
        return {"benign": self.benign, "benign_own": self.own}.get(set_name, self.harm)


@dataclass(frozen=True)
class Extent:
    """How many of everything.

    Attributes:
        q_divisors: the q grid is q_max divided by these.
        p_grid: protection levels of the grid.
        control_draws: draws of each control that is drawn at random; two or more, so that their spread is known.
        safe_scored, benign_scored: most responses scored in each half, per safe set and of benign; None: as many as of
            a harm type, and all.
        preserved, own_preserved: most benign rows, and own answers, of the preservation set.
        validation, report: held-out prompts that choose (q, p), and that report.
        transfer: held-out split on which each type's own mask is measured.
        behaviour: prompts answered freely under a mask, of each harm type and of benign.
        answer_tokens: where free answers are cut.
        other_scores: whether masks of other scores are compared.
        shams: whether sham types are scored, the null of overlap and core.
        gate: the gate judges every set at q_max divided by each of these. gate_draws: of its random masks.
    """

    q_divisors: tuple[int, ...]
    p_grid: tuple[float, ...]
    control_draws: int
    safe_scored: int | None
    benign_scored: int | None
    preserved: int | None
    own_preserved: int
    validation: Prompts
    report: Prompts
    transfer: Literal["report", "controls"]
    behaviour: tuple[int, int]
    answer_tokens: int
    other_scores: bool
    shams: bool
    gate: tuple[int, ...]
    gate_draws: int

    def as_dict(self) -> Mapping[str, Any]:
        """As the manifest of a quick run says it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


FULL = Extent(
    q_divisors=(100, 20, 10, 5, 2, 1),
    p_grid=(0.01, 0.05),
    control_draws=5,
    safe_scored=None,
    benign_scored=None,
    preserved=None,
    own_preserved=32,
    validation=Prompts(None, 8, None, None),
    report=Prompts(None, 8, None, None),
    transfer="report",
    behaviour=(8, 24),
    answer_tokens=48,
    other_scores=True,
    shams=True,
    gate=(10, 2),
    gate_draws=2,
)
#: Five and four report prompts: with fewer, resampling leaves a type empty too often for harm minus safe to have an
#: interval (``stats.bootstrap.MAX_DROPPED``).
QUICK = Extent(
    q_divisors=(10, 2, 1),
    p_grid=(0.01,),
    control_draws=2,
    safe_scored=2,
    benign_scored=8,
    preserved=24,
    own_preserved=12,
    validation=Prompts(3, 2, 6, 6),
    report=Prompts(5, 4, 8, 6),
    transfer="controls",
    behaviour=(2, 6),
    answer_tokens=24,
    other_scores=False,
    shams=False,
    gate=(2,),
    gate_draws=1,
)
