"""``mask --from-checkpoints BASE PRUNED``: the mask by which two checkpoints differ, and what else they differ in.

With ``--out`` BASE is then loaded and the mask judged by what it does to declining: a mask that makes declining clearly
less likely is for measurement only and is not written (``harmviz.claims.mapping.others``). Without, nothing but counts
leaves the process, and no model is loaded.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harmviz.claims.mapping.others import judged, mask_between
from harmviz.commands.output import number, say
from harmviz.files import printable
from harmviz.masks.mask import PruneMask
from harmviz.models.weights import WeightTable

if TYPE_CHECKING:
    from harmviz.models.differing import Change, Difference

#: Tensors named in a list before it is cut short; ``--json`` names all.
_SHOWN = 8


def read(arguments: argparse.Namespace) -> tuple[PruneMask, WeightTable, dict[str, Any], list[str]]:
    """(the mask, the matrices of its model, what JSON says of both checkpoints, what people are told)."""
    from harmviz.models.differing import difference
    from harmviz.models.streaming import opened

    base_name, pruned_name = arguments.from_checkpoints
    with opened(base_name, say) as base, opened(pruned_name, say) as pruned:
        found = difference(base, pruned, _progress())
    mask = mask_between(found)
    facts, lines = _as_json(found), list(_lines(found, mask))
    if not arguments.out:
        facts |= {"n_weights": mask.n_weights}
        lines.append("not written: give --out FILE, and the mask is judged by what it does to declining, then written")
        return mask, found.table, facts, lines
    from harmviz.models.load import load_model

    loaded = load_model(base_name, dtype=arguments.dtype, device=arguments.device, say=say)
    say("what it does to declining: twelve mild requests, beside random masks of its size")
    mask, verdict = judged(mask, loaded)
    beyond = verdict.beyond
    interval = f"[{number(beyond.ci_low, sign=True)}, {number(beyond.ci_high, sign=True)}]"
    lines.append(
        f"declining: {number(beyond.value, sign=True)} {interval} nats of log-odds beyond random masks, n={beyond.n}"
    )
    lines.append(f"digest {mask.digest}")
    facts |= {"path": "", "digest": mask.digest, "kind": mask.kind, "n_weights": mask.n_weights}
    return mask, found.table, facts | {"gate": mask.provenance["gate"]}, lines


def _progress() -> Any:
    """A listener that says every ten seconds how far the comparison is."""
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            say(f"compared {done} of {total} tensors")

    return show


def _as_json(found: Difference) -> dict[str, Any]:
    return {
        "base": found.base._asdict(),
        "pruned": found.pruned._asdict(),
        "n_scored_weights": found.table.n_weights,
        "changes": [asdict(change) for change in found.changes],
        "zero_in_both": found.n_zero_in_both,
        "too_small_to_tell": found.n_too_small,
        "only_in_base": list(found.only_base),
        "only_in_pruned": list(found.only_pruned),
        "reshaped": list(found.reshaped),
        "notes": list(found.notes),
    }


def _lines(found: Difference, mask: PruneMask) -> list[str]:
    """What people are told: the mask's size, then everything else that sets the checkpoints apart."""
    share = mask.n_weights / found.table.n_weights
    lines = [
        f"{mask.n_weights:,} weights ({share:.4%} of scored) are zero in {printable(found.pruned.name)} "
        f"({found.pruned.dtype}) and not in {printable(found.base.name)} ({found.base.dtype})"
    ]
    if found.n_zero_in_both:
        lines.append(f"{found.n_zero_in_both:,} scored weights are zero in both: not in the mask")
    if found.n_too_small:
        lines.append(
            f"{found.n_too_small:,} zeros are of weights too small for {found.pruned.dtype}: rounded or pruned, which "
            "cannot be told; not in the mask"
        )
    lines += _changes(found)
    named = {
        "only in BASE": found.only_base,
        "only in PRUNED": found.only_pruned,
        "of another shape": found.reshaped,
    }
    lines += [f"{what}: {_some(names)}" for what, names in named.items() if names]
    return [*lines, *found.notes]


def _changes(found: Difference) -> list[str]:
    if not found.changes:
        return ["nothing else differs"]
    scored = sum(change.scored for change in found.changes)
    heading = (
        f"beside that {found.n_changed:,} values differ, in {len(found.changes)} tensors ({scored} of them scored): "
        "zeroing the mask in BASE does not give PRUNED"
    )
    largest = sorted(found.changes, key=lambda c: -(c.n_changed + c.n_zeroed))
    lines = [heading, *(f"  {_change(change)}" for change in largest[:_SHOWN])]
    if len(largest) > _SHOWN:
        lines.append(f"  and {len(largest) - _SHOWN} more; --json names all")
    return lines


def _change(change: Change) -> str:
    parts = []
    if change.n_changed:
        by = "from 0" if change.largest is None else f"by up to {change.largest:.2g} of the value"
        parts.append(f"{change.n_changed:,} of {change.size:,} changed {by}")
    if change.n_zeroed:
        parts.append(f"{change.n_zeroed:,} zeroed, which no mask holds: it is not scored")
    return f"{change.name}: {'; '.join(parts)}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
