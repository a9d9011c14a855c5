"""A run as HTML: what it is, on what, and the loss shifts it found, each with interval, n and control. Pure functions.

Every text that comes from a file is escaped: manifests may have been imported from elsewhere.
"""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from harmviz.claims.mapping.headline import Headline, chosen_headline, headline
from harmviz.display import text
from harmviz.runs import PartialInfo, Run

_KIND = {"map": "harm map", "experiment": "experiment"}


def _categories(run: Run) -> list[str]:
    return sorted(c for c in run.manifest["data"]["counts"] if text.is_harm(c))


def _sets(names: list[str]) -> str:
    tags = "".join(f'<span class="hv-tag">{escape(text.set_name(n))}</span>' for n in names)
    return f'<div class="hv-sets">{tags}</div>' if tags else "none"


def _facts(run: Run) -> str:
    model, data = run.manifest["model"], run.manifest["data"]
    share = text.percent(model["n_scored_weights"] / model["n_parameters"]) if model["n_parameters"] else "?"
    rows = [
        (
            "Scored weights (N)",
            f"{text.count(model['n_scored_weights'])}<br><span class='quiet small'>{share} of all "
            f"{text.count(model['n_parameters'])} parameters</span>",
        ),
        ("Data set", escape(data["id"])),
        ("Harm categories", _sets(_categories(run))),
    ]
    if data["left_out"]:
        why = "".join(
            f"<div class='small'>{escape(text.set_name(c))}: {escape(r)}</div>" for c, r in data["left_out"].items()
        )
        rows.append(("Left out", why))
    if run.manifest["parents"]:
        rows.append(("Computed from", "<br>".join(f"<code>{escape(str(p))}</code>" for p in run.manifest["parents"])))
    return "".join(f'<div class="hv-fact"><div class="quiet small">{k}</div>{v}</div>' for k, v in rows)


def _optional(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _axis(found: Headline) -> tuple[float, float]:
    columns = found.effect[["value", "ci_low", "ci_high"]].to_numpy(dtype=float).ravel()
    values = [v for v in (*columns, *found.random.values(), 0.0) if v == v]
    low, high = min(values), max(values)
    pad = 0.04 * (high - low or 1)
    return low - pad, high + pad


def _mark(row: pd.Series, control: float | None, low: float, high: float) -> str:
    """One line of the dot plot: zero, interval, value, and the random control as an open grey ring."""

    def x(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    kind = "hv-harm" if text.is_harm(row["category"]) else "hv-benign"
    parts = [f'<i class="zero" style="left:{x(0)}"></i>']
    if control is not None:
        parts.append(f'<i class="ring" style="left:{x(control)}"></i>')
    ends = _optional(row["ci_low"]), _optional(row["ci_high"])
    if ends[0] is not None and ends[1] is not None:
        parts.append(f'<i class="whisker {kind}" style="left:{x(ends[0])};right:calc(100% - {x(ends[1])})"></i>')
    if (value := _optional(row["value"])) is not None:
        parts.append(f'<i class="dot {kind}" style="left:{x(value)}"></i>')
    return f'<div class="hv-plot" aria-hidden="true">{"".join(parts)}</div>'


def _rows(found: Headline) -> str:
    low, high = _axis(found)
    lines: list[str] = []
    was_harm = True
    for _, row in found.effect.iterrows():
        category = str(row["category"])
        control = found.random.get(category)
        harm = text.is_harm(category)
        n = "" if pd.isna(row["n"]) else text.count(int(row["n"]))
        lines.append(
            f"<tr{' class=break' if was_harm and not harm and lines else ''}><td>{escape(text.set_name(category))}</td>"
            f'<td class="plot">{_mark(row, control, low, high)}</td>'
            f'<td class="value">{text.signed(_optional(row["value"]))}</td>'
            f"<td>{text.interval(_optional(row['ci_low']), _optional(row['ci_high']))}</td><td>{n}</td>"
            f"<td>{text.signed(control)}</td></tr>"
        )
        was_harm = harm
    return (
        '<div class="hv-scroll"><table class="hv-rows"><thead><tr><th>measured on</th><th class="plot"></th><th>ΔL, nats</th>'
        f"<th>95 % interval</th><th>n</th><th>random mask</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _findings(run: Run, found: Headline | None) -> str:
    if found is None:
        return '<div class="quiet">No effect has been measured in this run yet.</div>'
    first, model = found.first, run.manifest["model"]
    how = "as in the paper" if first["contrast"] == "none" else "contrastive selection"
    what = "the weights of all categories' mean" if first["mask"] == "mean(all)" else f"the weights of {first['mask']}"
    size = "" if pd.isna(first["n_weights"]) else text.fraction_of(int(first["n_weights"]), model["n_scored_weights"])
    protected = "" if pd.isna(first["p"]) else f", {text.percent(float(first['p']))} protected"
    key = [("var(--hv-harm)", "harmful responses"), ("var(--hv-benign)", "harmless responses")]
    dots = "".join(f'<span><i style="background:{c}"></i>{k}</span>' for c, k in key)
    ring = '<span><i style="border:2px solid var(--hv-control)"></i>random mask of the same size, mean</span>'
    return (
        '<div class="hv-finding">How much does the loss rise when these weights are zeroed?</div>'
        f'<div class="quiet small">{escape(what)}: {escape(size)}{protected}, {how} · held-out prompts, nats per token</div>'
        f'{_rows(found)}<div class="hv-key quiet small">{dots}{ring if found.random else "<span>no control stored</span>"}</div>'
    )


def run_card(run: Run, results: pd.DataFrame) -> str:
    """The card of one run."""
    model = run.manifest["model"]
    return (
        '<article class="hv hv-card"><header>'
        f"<h3>{escape(run.model_id)}</h3>"
        f'<span class="hv-tag">{_KIND[run.kind]}</span><span class="quiet small">{escape(model["dtype"])}</span>'
        f'<span class="when quiet small">{escape(text.date(run.created))}</span></header>'
        f'<div class="id quiet small"><code>{escape(run.id)}</code></div>'
        f'<div class="hv-body"><section>{_facts(run)}</section><section>{_findings(run, headline(results))}</section></div></article>'
    )


def _mean(run: Run, results: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """(colour, row) of the mean effect on harmful and on harmless text at the point the run chose, else the unchosen one."""
    found = next(
        (h for c in ("both", "none") if (h := chosen_headline(run, results, c)) is not None), None
    ) or headline(results)
    if found is None:
        return []
    rows = found.effect.set_index("category")
    colours = {"harm": "var(--hv-harm)", "benign": "var(--hv-benign)"}
    return [(colour, rows.loc[name]) for name, colour in colours.items() if name in rows.index]


def compact_card(run: Run, results: pd.DataFrame | None) -> str:
    """The run in three lines: model, data and date; what zeroing its mask does, with interval and n; its id."""
    model, data = run.manifest["model"], run.manifest["data"]
    found = [] if results is None else _mean(run, results)
    effects = "".join(
        f'<span><i style="background:{colour}"></i>{escape(text.set_name(str(row.name)))} <b>{text.signed(_optional(row["value"]))} nats</b> '
        f'<span class="quiet">{text.interval(_optional(row["ci_low"]), _optional(row["ci_high"]))}{_n(row)}</span></span>'
        for colour, row in found
    )
    how = "" if not found else _selection(found[0][1], model["n_scored_weights"])
    none = '<span class="quiet">no effect measured</span>' if results is not None and not found else ""
    return (
        f'<div class="hv"><div class="hv-compact"><h3>{escape(run.model_id)}</h3><span class="hv-tag">{_KIND[run.kind]}</span>'
        f'<span class="quiet small">{escape(data["id"])} · {escape(model["dtype"])} · {text.count(model["n_scored_weights"])} scored weights</span>'
        f'<span class="right quiet small">{escape(text.date(run.created))}</span></div>'
        f'<div class="hv-compact-line small">{effects}{none}<span class="quiet">{escape(how)}</span></div>'
        f'<div class="quiet small"><code>{escape(run.id)}</code></div></div>'
    )


def _n(row: pd.Series) -> str:
    return "" if pd.isna(row["n"]) else f", n = {text.count(int(row['n']))}"


def _selection(row: pd.Series, n_scored: int) -> str:
    how = "as in the paper" if row["contrast"] == "none" else "contrastive"
    return f"{text.fraction_of(int(row['n_weights']), n_scored)}, {how}" if not pd.isna(row["n_weights"]) else how


def note(title: str, body: str) -> str:
    """A quiet line with a cause and a next step."""
    return f'<div class="hv hv-note"><code>{escape(title)}</code><div class="quiet small">{escape(body)}</div></div>'


def partial_note(partial: PartialInfo) -> str:
    """How far unfinished work came, and whether anybody is at it."""
    n = len(partial.stages)
    done = f"{n} stage{'s' if n != 1 else ''} done" + (f", last: {partial.stages[-1]}" if n else "")
    state = (
        f"running, process {partial.pid}"
        if partial.pid
        else "stopped: the same command with --resume goes on from there"
    )
    return note(partial.run_id, f"{done} · {state}")


def empty_state(where: str) -> str:
    """What a page says before there is anything to show."""
    return (
        '<div class="hv hv-empty"><h3>No runs here yet</h3>'
        "<p>A run scores the weights of a model on harmful and harmless responses, and measures what zeroing the few that "
        "matter does. Start one under Runs, or with <code>python -m harmviz run</code>.</p>"
        f'<div class="quiet small">Looked in <code>{escape(where)}</code></div></div>'
    )
