"""What is fine-tuned with what: arms, steps, learning rate, masks. All of it goes into the run's id. No torch.

All arms of one seed see the same rows in the same order and start from the same adapter:

| arm | answers learned | weights pruned before | pruned weights during training |
|---|---|---|---|
| ``base`` | none | none | |
| ``narrow-bad`` | bad | none | |
| ``narrow-good`` | good, to the same prompts | none | |
| ``pruned-held`` | bad | harm weights of the narrow domain | held at 0 |
| ``pruned-regrow`` | bad | the same | free to grow back |
| ``random-held`` | bad | as many per matrix, drawn at random | held at 0 |
| ``benign-held`` | bad | as many, selected on benign answers | held at 0 |
| ``pruned-held@q`` | bad | harm weights at another fraction q (``dose``) | held at 0 |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harmviz.errors import BadSetting
from harmviz.masks.ranking import check_fraction
from harmviz.tuning.narrow_settings import NarrowSpec, check_whole
from harmviz.tuning.step import BATCH

#: Raised whenever the same settings would give other numbers.
METHOD_VERSION = 1
#: Training is saved, and pruned weights are checked, after each of this many parts.
PARTS = 4
NO_JUDGE = "none"

MaskName = Literal["harm", "random", "benign_signed"]


@dataclass(frozen=True)
class Arm:
    """One way to fine-tune. ``answers``: which of the two answers is learned (None: nothing is trained). ``q``: the
    fraction pruned where it differs from the spec's."""

    name: str
    answers: Literal["bad", "good"] | None = "bad"
    mask: MaskName | None = None
    held: bool = False
    q: float | None = None

    @property
    def control(self) -> str:
        """The ``control`` column of the arm's rows."""
        return "none" if self.mask in (None, "harm") else str(self.mask)


_ALL = (
    Arm("base", None),
    Arm("narrow-bad"),
    Arm("narrow-good", "good"),
    Arm("pruned-held", "bad", "harm", True),
    Arm("pruned-regrow", "bad", "harm", False),
    Arm("random-held", "bad", "random", True),
    Arm("benign-held", "bad", "benign_signed", True),
)
ARMS = tuple(a.name for a in _ALL)
#: Every effect is a difference to these two, so that they are always there.
NEEDED = ("base", "narrow-bad")


def check_arms(names: Sequence[str]) -> tuple[str, ...]:
    """The arms in their fixed order, ``base`` and ``narrow-bad`` included.

    Raises:
        ValueError: an unknown arm, or one given twice.
    """
    if unknown := [n for n in names if n not in ARMS]:
        raise BadSetting(f"arms must be among {', '.join(ARMS)}, got {unknown[0]!r}")
    if len(set(names)) != len(names):
        raise BadSetting(f"arms must name each arm once, got {', '.join(names)}")
    return tuple(n for n in ARMS if n in {*names, *NEEDED})


@dataclass(frozen=True)
class EmergentSpec:
    """Settings of ``python -m harmviz experiment emergent``.

    ``seeds``: how many whole repetitions; each has its own split of the domain's rows, its own masks, order of rows and
    adapter. ``seed``: the first. ``rate``: peak learning rate (None: that of the method). ``steps``: optimiser steps of
    ``BATCH`` rows; None: as many as ``epochs`` passes over the tuning rows take. ``q``, ``p``: fraction pruned and
    fraction protected by utility. ``dose``: further fractions for ``pruned-held``. ``judge``: who judges the free
    answers. ``free``: questions answered freely, of at most ``new_tokens`` tokens.

    Raises:
        ValueError: a setting is out of its range; the message names it, its value and what is allowed.
    """

    domain: str = "money"
    arms: tuple[str, ...] = ARMS
    seeds: int = 3
    seed: int = 0
    method: str = "lora"
    epochs: int = 1
    steps: int | None = None
    rate: float | None = None
    rank: int = 8
    scale: float = 2.0
    q: float = 2e-5
    p: float = 0.01
    dose: tuple[float, ...] = ()
    max_answer_tokens: int = 64
    free: int = 12
    new_tokens: int = 48
    judge: str = "offline-harm"

    def __post_init__(self) -> None:
        ranges = (
            ("seeds", 1, 100),
            ("seed", 0, 2**31 - 1),
            ("max_answer_tokens", 8, 4096),
            ("free", 0, 1000),
            ("new_tokens", 1, 1024),
        )
        for name, low, high in ranges:
            check_whole(name, getattr(self, name), low, high)
        if self.steps is not None:
            check_whole("steps", self.steps, PARTS, 100_000)
        object.__setattr__(self, "rate", self.tuning.rate)
        for q in (self.q, *self.dose):
            if not 0 < check_fraction("q", q) <= 0.1:
                raise BadSetting(f"q must satisfy 0 < q <= 0.1, got {q!r}")
        if len({self.q, *self.dose}) <= len(self.dose):
            raise BadSetting(
                f"dose must hold fractions that differ from each other and from q={self.q!r}, got {self.dose!r}"
            )
        check_fraction("p", self.p, below_one=True)
        object.__setattr__(self, "arms", check_arms(self.arms))

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """The arms as they are run: those named, then the doses of ``pruned-held``."""
        doses = tuple(Arm(f"pruned-held@{q:g}", "bad", "harm", True, q) for q in sorted(self.dose))
        return tuple(a for a in _ALL if a.name in self.arms) + doses

    @property
    def fractions(self) -> tuple[float, ...]:
        """Every fraction that is pruned."""
        return (self.q, *self.dose)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def tuning(self) -> NarrowSpec:
        """How each arm is tuned."""
        return NarrowSpec(self.method, self.epochs, self.steps, self.rate, self.rank, self.scale)

    def parameters(self) -> dict[str, Any]:
        """Every setting, as JSON."""
        return {**asdict(self), "arms": list(self.arms), "dose": list(self.dose), "batch": BATCH, "parts": PARTS}


def part_ends(n_steps: int) -> tuple[int, ...]:
    """The steps after which training is saved: each quarter, the end last."""
    return tuple(sorted({max(1, n_steps * part // PARTS) for part in range(1, PARTS + 1)}))
