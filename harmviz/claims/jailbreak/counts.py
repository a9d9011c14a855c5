"""How often a mask did what is seen of it, as far as the Playground can repeat it (``harmviz.claims.counted``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harmviz.claims.counted import Counts, Kind, begun, counts_in
from harmviz.runs import Run


def counts(run: Run, kind: Kind) -> Counts | None:
    """What this grid counted of this kind, or None."""
    arm = next((a for a in run.manifest["method"]["arms"] if a.get("digest") == kind.mask_digest), None)
    attacks = run.manifest["method"]["attacks"]
    asked = next((str(a["id"]) for a in attacks if _puts_only(a, kind.opening)), None)
    if arm is None or asked is None or kind.strength != 1 or arm.get("control") != "none":
        return None
    if list(run.manifest["parameters"]["requests"]) != ["builtin"]:
        return None
    category, words = ("harm", "mild, built in") if kind.harmful else ("benign", "harmless, built in")
    return counts_in(run.results(), category, (asked, asked), str(arm["contrast"]), f"{words}{begun(kind.opening)}")


def _puts_only(attack: Mapping[str, Any], opening: str) -> bool:
    """Whether the attack is the bare request with just these words in the answer's mouth."""
    bare = str(attack.get("template", "")).strip() == "{request}" and not attack.get("system")
    return bare and attack.get("transform", "none") == "none" and str(attack.get("opening") or "") == opening
