"""How often the scene's mask did what is seen of it (``harmviz.claims.counted``)."""

from __future__ import annotations

from harmviz.claims.counted import Counts, Kind, begun, counts_in
from harmviz.claims.scene.reading import DECLINED, reading_of
from harmviz.claims.scene.record import MASK
from harmviz.masks.mask import PruneMask
from harmviz.runs import Run


def counts(run: Run, kind: Kind) -> Counts | None:
    """What this scene counted of this kind, or None."""
    opener = str(run.manifest["parameters"]["opener"])
    if MASK not in run.masks() or kind.opening not in ("", opener):
        return None
    if PruneMask.load(run.masks()[MASK]).digest != kind.mask_digest:
        return None
    asked = "opener" if kind.opening else "direct"
    at = asked if kind.strength == 1 else f"{asked}@{kind.strength:g}"
    category, words = ("mild", "mild, built in") if kind.harmful else ("benign", "harmless, built in")
    results = run.results()
    reading = reading_of(results)
    told = {} if reading is DECLINED else {"does": reading.verb, "how": ""}
    what = f"{words}{begun(kind.opening)}"
    return counts_in(results, category, (asked, at), None, what, metric=reading.rate, **told)
