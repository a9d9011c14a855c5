"""The claims, each a package with a face (``claims.claim``), found by looking. A new folder is a new claim."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from harmviz.claims.claim import Claim

if TYPE_CHECKING:
    from harmviz.runs import Run

__all__ = ["CLAIMS", "EXPERIMENTS", "MAPPING", "claim_of", "experiments"]

#: The map run, which every other claim works with: ``python -m harmviz run``.
MAPPING = "mapping"


def _discover() -> dict[str, Claim]:
    claims = (import_module(f"{__name__}.{m.name}.claim").CLAIM for m in iter_modules(__path__) if m.ispkg)
    return {claim.name: claim for claim in sorted(claims, key=lambda c: (c.order, c.name))}


#: Name → claim, in the order of menus.
CLAIMS: dict[str, Claim] = _discover()
#: Everything that the column ``experiment`` of a row may say.
EXPERIMENTS: tuple[str, ...] = tuple(name for claim in CLAIMS.values() for name in claim.experiments)


def experiments() -> dict[str, Claim]:
    """The claims that are computed by ``python -m harmviz experiment NAME``: all but the map run."""
    return {name: claim for name, claim in CLAIMS.items() if name != MAPPING}


def claim_of(run: Run) -> Claim | None:
    """The claim that a stored run is about; None where it is of no claim here (a ladder, or of a later version)."""
    return CLAIMS.get(MAPPING if run.kind == "map" else str(run.manifest["method"].get("experiment")))
