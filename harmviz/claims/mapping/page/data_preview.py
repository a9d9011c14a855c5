"""What was read of an uploaded file, before anything is computed: sets, what is left out and why. No text of it."""

from __future__ import annotations

from html import escape

from harmviz.data.prompts import PromptData

#: Sets and reasons shown one by one; the rest is counted.
_SHOWN = 12


def data_preview(data: PromptData) -> str:
    """The preview as HTML: a row a set, then what was decided while reading."""
    summary = data.summary()
    rows = "".join(
        f"<tr><td>{escape(s.name)}</td><td>{s.rows:,}</td><td>{s.prompts:,}</td><td>{escape(s.origin)}</td></tr>"
        for s in summary[:_SHOWN]
    )
    reasons = [f"category {category} is left out: {why}" for category, why in data.left_out.items()]
    lines = [*_more("sets", len(summary)), *reasons[:_SHOWN], *_more("categories left out", len(reasons)), *data.notes]
    head = "" if data.reading is None else f"{data.reading.format}, layout {data.reading.layout}"
    return (
        f'<div class="hv"><div class="quiet small">{escape(head)}</div><table class="small"><thead><tr><th>set</th>'
        f"<th>rows</th><th>prompts</th><th>from</th></tr></thead><tbody>{rows}</tbody></table>"
        f'<ul class="hv-list small">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul></div>'
    )


def _more(what: str, n: int) -> list[str]:
    return [f"and {n - _SHOWN:,} more {what}"] if n > _SHOWN else []
