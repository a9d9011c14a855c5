"""``mask … --compare-with``: what a mask shares with another one, or with those of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harmviz.claims.mapping.overlaying import Laid, lay_over
from harmviz.commands.output import number, print_table
from harmviz.masks.mask import PruneMask
from harmviz.models.weights import WeightTable
from harmviz.stats.chance import Chance


def compared(mask: PruneMask, which: str, table: WeightTable | None) -> list[Laid]:
    """What the mask shares with those of ``which``, a run or a mask file."""
    return lay_over(mask, which, table)


def as_json(laid: Sequence[Laid]) -> list[dict[str, Any]]:
    """One object a mask compared with; numbers that are not known are null."""
    return [
        {
            "with": item.name,
            "n_weights": item.shared.n_b,
            "intersection": item.shared.intersection,
            "jaccard": _known(item.shared.jaccard),
            "share_of_this": _known(item.shared.of_a),
            "share_of_that": _known(item.shared.of_b),
            "jaccard_at_most": _known(item.shared.most),
            "jaccard_ceiling": item.ceiling,
            "chance": _chance(item.shared.chance),
            "same_weights": item.same_weights,
        }
        for item in laid
    ]


def _chance(chance: Chance | None) -> dict[str, Any] | None:
    if chance is None:
        return None
    expected = chance.expected._asdict()
    return {
        "jaccard": _known(chance.expected.value),
        **{name: expected[name] for name in ("ci_low", "ci_high", "n")},
        "intersection": chance.expected_intersection,
        "times_chance": chance.times_chance,
        "p_value": _known(chance.p_value),
    }


def _known(value: float) -> float | None:
    return None if value != value else value


def print_compared(which: str, laid: Sequence[Laid]) -> None:
    """A table, and in words what its yardsticks are."""
    print(f"\nshared with {which}")
    print_table(
        ("mask", "weights", "in both", "Jaccard", "chance [95 % range]", "× chance", "ceiling", "at most"),
        [
            (
                item.name + ("" if item.same_weights else " *"),
                f"{item.shared.n_b:,}",
                f"{item.shared.intersection:,}",
                number(item.shared.jaccard, 4),
                _range(item.shared.chance),
                _times(item.shared.chance),
                number(item.ceiling, 4),
                number(item.shared.most, 4),
            )
            for item in laid
        ],
    )
    print("chance: both drawn anew within each matrix. ceiling: the masks of that run's two scoring halves, shared")
    print("at most: the smaller mask lying wholly in the larger one")
    if any(item.shared.chance is None for item in laid):
        print("chance is not known: no map run of this model is stored here, so that its matrices' sizes are not known")
    if not all(item.same_weights for item in laid):
        print("* of other weights in matrices of the same names and shapes")


def _range(chance: Chance | None) -> str:
    if chance is None:
        return "not known"
    low, high = chance.expected.ci_low, chance.expected.ci_high
    return f"{number(chance.expected.value, 5)} [{number(low, 5)}, {number(high, 5)}]"


def _times(chance: Chance | None) -> str:
    return "" if chance is None or chance.times_chance is None else f"{chance.times_chance:.1f}"
