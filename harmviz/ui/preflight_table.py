"""The pre-flight as HTML: each resource with what is needed, what is free, and a verdict. Pure functions."""

from __future__ import annotations

from html import escape

from harmviz.display import text
from harmviz.preflight import DataPlan, ModelEstimate, RunEstimate

_MARK = {"fits": "✓ fits", "tight": "! tight", "too much": "✕ too much", "unknown": "? not known"}


def _size(n_bytes: int | None) -> str:
    return "not known" if n_bytes is None else text.size(n_bytes)


def _row(what: str, needed: str, available: str, verdict: str, note: str = "") -> str:
    below = f'<div class="quiet small">{escape(note)}</div>' if note else ""
    weight = ' class="bad"' if verdict in ("too much", "tight") else ""
    return (
        f"<tr><td>{escape(what)}{below}</td><td>{escape(needed)}</td><td>{escape(available)}</td>"
        f"<td{weight}>{_MARK.get(verdict, '')}</td></tr>"
    )


def preflight_table(model: ModelEstimate, data: DataPlan, estimate: RunEstimate) -> str:
    """Model and samples in a line; memory, disk and time as a table; warnings below."""
    n = data.samples
    size = "size not known" if model.n_scored is None else f"{text.count(model.n_scored)} weights to score"
    device = "GPU" if estimate.device == "cuda" else "CPU"
    facts = (
        f"{size} · {n.categories} harm types · {text.count(n.scoring)} scored and {text.count(n.report)} report "
        f"samples · {estimate.dtype} on the {device}"
    )
    rows = [
        _row(
            need.what.capitalize() if need.what.islower() else need.what,
            _size(need.needed),
            _size(need.available),
            need.verdict,
            need.note,
        )
        for need in estimate.needs
    ]
    took = "not known" if estimate.seconds is None else _rough(estimate.seconds)
    rows.append(_row("Time", took, "", "", estimate.basis))
    notes = "".join(f'<div class="quiet small">{escape(w)}</div>' for w in estimate.warnings)
    return (
        f'<div class="hv"><div class="quiet small">{escape(facts)}</div><table '
        'class="hv-preflight"><thead><tr><th></th><th>needs</th>'
        f"<th>free here</th><th></th></tr></thead><tbody>{''.join(rows)}</tbody></table>{notes}</div>"
    )


def _rough(seconds: float) -> str:
    """``about 46 min``, beyond two hours in steps of ten minutes: an estimate this rough has no seconds."""
    if seconds < 60:
        return "under a minute"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min"
    step = 600 if seconds >= 7200 else 60
    return f"about {text.duration(round(seconds / step) * step)}"
