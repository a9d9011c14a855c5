"""Which rankings are compared, at which sizes and costs. All of it is in the run's id. No torch.

With H the harm score (mean over types), H_safe and H_benign those of safe and benign answers, U the utility score, all
in nats (``docs/method.md``), and r(set) the root mean square of a weight's input over the answers of a set:

| ranking | weights in order of | never pruned |
|---|---|---|
| ``none``, as in the paper | H | the fraction p of highest U |
| ``both``, contrastive | H − max(0, H_safe, H_benign) | the same |
| ``graded-λ`` | max(0, H) − λ·U | nothing: U counts against a weight by degrees |
| ``gradient-free`` | abs(W)·(r(harm) − max(r(safe), r(benign))) | the fraction p of highest abs(W)·r(preserve) |

Sources: set difference, Wei et al. 2024 (arXiv:2402.05162); abs(W)·r, Sun et al. 2024 (arXiv:2306.11695). The
gradient-free ranking is their score made contrastive, as a score that needs forward passes alone; it is not the one of
Si et al. 2026 (arXiv:2604.15780), who prune without gradients too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harmviz.claims.compression.sizes import Sizes
from harmviz.errors import BadSetting
from harmviz.runs.point import SELECTOR_WORDS

PAPER, CONTRASTIVE, GRADED, GRADIENT_FREE = "none", "both", "graded", "gradient-free"
#: Rises of the loss of benign answers that rankings are compared at, nats per response token.
LIMITS = (0.02, 0.05, 0.1)
#: Each ranking is pruned to these fractions in turn until benign answers pay the largest limit, and to one more.
FRACTIONS = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4)


@dataclass(frozen=True)
class RankingsSpec(Sizes):
    """Settings of ``python -m harmviz experiment rankings``.

    Attributes:
        penalties: λ of the graded rankings.
        fractions: of all scored weights, ascending.

    Raises:
        BadSetting: a setting is out of range.
    """

    samples: int = 16
    safe: int = 8
    benign: int = 32
    preserve: int = 32
    held_out: int = 8
    penalties: tuple[float, ...] = (1.0, 2.0, 4.0)
    fractions: tuple[float, ...] = FRACTIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({f"{penalty:g}" for penalty in self.penalties}) != len(self.penalties) or not all(
            0 < p <= 1000 for p in self.penalties
        ):
            raise BadSetting(f"penalties must be different numbers above 0, at most 1000, got {self.penalties!r}")
        names = {f"{q:g}" for q in self.fractions}  # as stages and rows are told apart
        if (
            len(names) != len(self.fractions)
            or list(self.fractions) != sorted(self.fractions)
            or not names
            or not all(0 < q <= 0.1 for q in self.fractions)
        ):
            raise BadSetting(f"fractions must ascend in (0, 0.1], got {self.fractions!r}")

    @property
    def rankings(self) -> tuple[str, ...]:
        """Their names, as rows carry them in the column ``contrast``."""
        return (PAPER, CONTRASTIVE, *(f"{GRADED}-{penalty:g}" for penalty in self.penalties), GRADIENT_FREE)

    def parameters(self) -> dict[str, Any]:
        """Every setting, as JSON."""
        return {**asdict(self), "limits": list(LIMITS)}


def words(ranking: str) -> str:
    """What a ranking is called beside a number: ``as in the paper``, ``graded, λ = 2``."""
    if ranking in SELECTOR_WORDS:
        return SELECTOR_WORDS[ranking].short
    kind, _, penalty = ranking.partition("-")
    return f"graded, λ = {penalty}" if kind == GRADED else "gradient-free"
