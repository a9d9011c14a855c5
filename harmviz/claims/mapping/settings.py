"""What a map run computes: every setting that determines its result, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import ROUND_FLOOR, Context
from typing import Any

from harmviz.claims.mapping.extent import FULL, PROMPT_TOKENS, QUICK, RESPONSE_TOKENS, SAMPLES, Extent
from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction
from harmviz.runs.point import Contrast

#: Raised whenever the same settings would give other numbers.
METHOD_VERSION = 2
CANDIDATE_P_GRID = (0.0, 0.01, 0.05)
#: The point printed beside the chosen one, which nobody chose.
FIXED_Q, FIXED_P = 1e-5, 0.01
DEFAULT_Q_MAX = 1e-4
#: Most candidate rows a run stores (some 50 bytes each).
MAX_ROWS = 5_000_000
#: Largest benign ΔL (nats/token) on the validation prompts that a chosen (q, p) may cost.
BENIGN_LIMIT = {"none": 0.05, "both": 0.1}
CONTRASTS: tuple[Contrast, ...] = ("none", "both")
SKIPS = (0, 8)


def n_lists(n_categories: int) -> int:
    """How many lists of ⌊q_max·N⌋ weights the stored candidates are made of; they overlap, so that rows are fewer."""
    return 2 * (n_categories + 1) * len(CANDIDATE_P_GRID) + 2 * (len(CANDIDATE_P_GRID) + 1) + 2


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
    ``max_prompt_tokens``: rows with a longer prompt are left out, and counted. ``quick``: a first look (``extent``).
    ``twins``: whether masks are also measured on author-matched twins (``twin_answers``).

    Raises:
        ValueError: a setting is out of range.
    """

    samples: int = SAMPLES[False]
    seed: int = 0
    q_max: float = DEFAULT_Q_MAX
    skip_tokens: int = 0
    max_response_tokens: int = RESPONSE_TOKENS[False]
    max_prompt_tokens: int = PROMPT_TOKENS
    quick: bool = False
    twins: bool = False

    def __post_init__(self) -> None:
        limits = {
            "samples": (4, 100_000),
            "seed": (0, 2**31 - 1),
            "max_response_tokens": (16, 4096),
            "max_prompt_tokens": (8, 1_000_000),
        }
        for name, (low, high) in limits.items():
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
        return tuple(self.q_max / d for d in self.extent.q_divisors)

    @property
    def extent(self) -> Extent:
        """How much is measured."""
        return QUICK if self.quick else FULL

    @property
    def fixed_point(self) -> tuple[float, float]:
        """(q, p) printed unchosen: q = 1e-5, or q_max where that is less, or a tenth of a q_max beyond 1e-4."""
        return min(FIXED_Q, self.q_max) if self.q_max <= DEFAULT_Q_MAX else self.q_max / 10, FIXED_P

    def parameters(self) -> dict[str, Any]:
        """Every setting, as the manifest says it. What came later is named where it is used only, so that runs without
        it keep their ids."""
        settings = asdict(self)
        if self.max_prompt_tokens == PROMPT_TOKENS:
            del settings["max_prompt_tokens"]
        for name in ("quick", "twins"):
            if not settings[name]:
                del settings[name]
        return {
            **settings,
            "q_grid": list(self.q_grid),
            "p_grid": list(self.extent.p_grid),
            "fixed_point": list(self.fixed_point),
            "benign_limit": dict(BENIGN_LIMIT),
            "control_draws": self.extent.control_draws,
            **({"extent": self.extent.as_dict()} if self.quick else {}),
        }

    @classmethod
    def of_run(cls, parameters: Mapping[str, Any]) -> RunSpec:
        """The settings that a stored run was made with, from its manifest's ``parameters``.

        Raises:
            KeyError: they do not say what every run says. BadSetting: a value is out of range.
        """
        needed = ("samples", "seed", "q_max", "skip_tokens", "max_response_tokens")
        later = {name: parameters[name] for name in ("max_prompt_tokens", "quick", "twins") if name in parameters}
        return cls(**{name: parameters[name] for name in needed}, **later)
