"""What a map run computes: every setting that determines its result, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import ROUND_FLOOR, Context
from typing import Any

from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction
from harmviz.runs.point import Contrast

#: Raised whenever the same settings would give other numbers.
METHOD_VERSION = 1
#: The q grid is q_max divided by these: 1e-6 … 1e-4 by default.
Q_DIVISORS = (100, 20, 10, 5, 2, 1)
P_GRID = (0.01, 0.05)
CANDIDATE_P_GRID = (0.0, 0.01, 0.05)
#: The point printed beside the chosen one, which nobody chose.
FIXED_Q, FIXED_P = 1e-5, 0.01
DEFAULT_Q_MAX = 1e-4
MAX_PROMPT_TOKENS = 512
#: Whole-number setting, its least and its largest value.
_WHOLE = (
    ("samples", 4, 100_000),
    ("seed", 0, 2**31 - 1),
    ("max_response_tokens", 16, 4096),
    ("max_prompt_tokens", 16, 1 << 20),
)
#: Most candidate rows a run stores (some 50 bytes each).
MAX_ROWS = 5_000_000
#: Largest benign ΔL (nats/token) on the validation prompts that a chosen (q, p) may cost.
BENIGN_LIMIT = {"none": 0.05, "both": 0.1}
CONTRASTS: tuple[Contrast, ...] = ("none", "both")
SKIPS = (0, 8)
CONTROL_DRAWS = 5
OWN_ANSWERS_PRESERVED = 32
REPORT_SAFE_PER_CATEGORY = 8


def n_lists(n_categories: int) -> int:
    """How many lists of ⌊q_max·N⌋ weights the stored candidates are made of; they overlap, so that rows are fewer."""
    return 2 * (n_categories + 1) * (len(P_GRID) + 1) + 2 * (len(CANDIDATE_P_GRID) + 1) + 2


def default_q_max(n_weights: int, n_categories: int) -> float:
    """The largest fraction to store for a model of this size: 1e-4, or as much as fits ``MAX_ROWS`` whatever the
    overlap of the lists, rounded down to one digit (1e-5 for an 8B model with seven categories)."""
    fits = MAX_ROWS / (n_lists(n_categories) * n_weights)
    return (
        DEFAULT_Q_MAX
        if fits >= DEFAULT_Q_MAX
        else float(f"{Context(prec=1, rounding=ROUND_FLOOR).create_decimal(fits):.0e}")
    )


@dataclass(frozen=True)
class RunSpec:
    """Settings of ``python -m harmviz run``.

    ``samples``: most responses scored per category (half of them in each scoring half). ``seed``: of splits, sample
    choice, control draws and intervals. ``skip_tokens``: response openers left out of the scoring loss.
    ``max_response_tokens``: where responses are cut. ``q_max``: largest fraction that can be selected later.
    ``max_prompt_tokens``: longer prompts are left out, and counted.

    Raises:
        ValueError: a setting is out of range.
    """

    samples: int = 24
    seed: int = 0
    q_max: float = DEFAULT_Q_MAX
    skip_tokens: int = 0
    max_response_tokens: int = 96
    max_prompt_tokens: int = MAX_PROMPT_TOKENS

    def __post_init__(self) -> None:
        for name, low, high in _WHOLE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise BadSetting(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        if self.skip_tokens not in SKIPS:
            raise BadSetting(f"skip_tokens must be one of {', '.join(map(str, SKIPS))}, got {self.skip_tokens!r}")
        object.__setattr__(self, "q_max", check_fraction("q_max", self.q_max))
        if not 1e-6 <= self.q_max <= 0.1:
            raise BadSetting(f"q_max must lie in [1e-6, 0.1], got {self.q_max!r}")

    @property
    def q_grid(self) -> tuple[float, ...]:
        """Fractions tried on the validation prompts: those the stored candidates can answer."""
        return tuple(self.q_max / d for d in Q_DIVISORS)

    @property
    def fixed_point(self) -> tuple[float, float]:
        """(q, p) printed unchosen: q = 1e-5, or q_max where that is less, or a tenth of a q_max beyond 1e-4."""
        return min(FIXED_Q, self.q_max) if self.q_max <= DEFAULT_Q_MAX else self.q_max / 10, FIXED_P

    @classmethod
    def of_parameters(cls, parameters: Mapping[str, Any]) -> RunSpec:
        """The settings that a manifest's ``parameters`` say; those it does not name were the default.

        Raises:
            KeyError: it is not that of a map run. ValueError, TypeError: a setting is not what it may be.
        """
        needed = {name: parameters[name] for name in ("samples", "seed", "q_max", "max_response_tokens")}
        return cls(**needed, **{n: parameters[n] for n in ("skip_tokens", "max_prompt_tokens") if n in parameters})

    def parameters(self) -> dict[str, Any]:
        """Every setting, and what follows from them, as a manifest says it."""
        settings = asdict(self)
        if self.max_prompt_tokens == MAX_PROMPT_TOKENS:
            del settings["max_prompt_tokens"]  # runs from before it could be set keep their ids
        return {
            **settings,
            "q_grid": list(self.q_grid),
            "p_grid": list(P_GRID),
            "fixed_point": list(self.fixed_point),
            "benign_limit": dict(BENIGN_LIMIT),
            "control_draws": CONTROL_DRAWS,
        }
