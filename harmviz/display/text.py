"""How numbers read on screen: fractions, losses, intervals, dates. Pure functions, no streamlit.

Fractions are in [0, 1] in code and percent on screen; a shift always carries its sign.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

NOT_MEASURED = "not measured"


def count(n: int) -> str:
    """``106,168,320``"""
    return f"{n:,}"


def percent(fraction: float) -> str:
    """``0.001 %``: two significant digits, never in scientific notation."""
    if fraction == 0:
        return "0 %"
    value = 100 * fraction
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def fraction_of(n_weights: int, n_scored: int) -> str:
    """``0.001 % · 1,061 weights``"""
    return (
        f"{percent(n_weights / n_scored)} · {count(n_weights)} weights" if n_scored else f"{count(n_weights)} weights"
    )


def signed(value: float | None, digits: int = 2) -> str:
    """``+0.30`` or ``−0.02``, with a true minus sign; "not measured" for None and NaN."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text.replace("-", "+")).replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """``+0.24 … +0.36``; "no interval" where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"{signed(low, digits)} … {signed(high, digits)}"


def size(n_bytes: int) -> str:
    """``540 MB`` or ``1.9 GB``, in powers of ten."""
    value, unit = (
        (n_bytes / 1e9, "GB") if n_bytes >= 1e9 else (n_bytes / 1e6, "MB") if n_bytes >= 1e6 else (n_bytes / 1e3, "kB")
    )
    return f"{value:.1f} {unit}" if value < 10 and unit == "GB" else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """``3 h 05 min``, ``4 min 30 s`` or ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def date(iso: str) -> str:
    """``2 January 2026, 03:04 UTC``; the text itself where it is no ISO date."""
    try:
        when = datetime.fromisoformat(iso).astimezone(UTC)
    except ValueError:
        return iso
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def set_name(category: str) -> str:
    """How a measured set reads: ``self_harm`` → self-harm, ``benign_own`` → benign, own answers."""
    known = {
        "benign": "benign, by others",
        "benign_own": "benign, own answers",
        "harm": "harm, mean of all types",
        "safe": "same topics, no harm",
    }
    if category in known:
        return known[category]
    if category.startswith("safe:"):
        return f"{set_name(category.removeprefix('safe:'))}, same topic, no harm"
    return category.replace("_", "-")


def label(name: str) -> str:
    """A name as the label of a widget that reads Markdown: every character stands for itself, none begins a link, an
    image (which the browser would fetch), a formula or emphasis."""
    return re.sub(r"([\\`*_\[\]<~$&])", r"\\\1", name)


def set_label(category: str) -> str:
    """``set_name`` for pills and buttons."""
    return label(set_name(category))


def is_harm(category: str) -> bool:
    """Whether this set holds harmful responses (every other set is benign or same-topic safe)."""
    return category not in {"benign", "benign_own", "safe"} and not category.startswith("safe:")


def harm_types(sets: Iterable[str]) -> list[str]:
    """Those of these sets that hold harmful responses, in alphabetical order."""
    return sorted(name for name in sets if is_harm(name))
