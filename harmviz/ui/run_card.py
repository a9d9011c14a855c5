"""A run as HTML: what it is, on what, and the loss shifts it found, each with interval, n and control. Pure functions.

Every text that comes from a file is escaped: manifests may have been imported from elsewhere.
"""

from __future__ import annotations

from html import escape

import pandas as pd

from harmviz.claims import CLAIMS, MAPPING, claim_of
from harmviz.claims.claim import Claim
from harmviz.display import text
from harmviz.errors import RunIncompatible
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
    if run.dropped:
        lines = "".join(
            f"<tr><td>{escape(text.set_name(name))}</td><td>{text.count(n)}</td><td>{escape(why)}</td></tr>"
            for name, why, n in run.dropped
        )
        head = "<thead><tr><th>set</th><th>rows</th><th>why</th></tr></thead>"
        rows.append(("Rows left out", f'<table class="hv-rows small">{head}<tbody>{lines}</tbody></table>'))
    if data["notes"]:
        rows.append(("Notes", "".join(f"<div class='small'>{escape(note)}</div>" for note in data["notes"])))
    if run.manifest["parents"]:
        rows.append(("Computed from", "<br>".join(f"<code>{escape(str(p))}</code>" for p in run.manifest["parents"])))
    return "".join(f'<div class="hv-fact"><div class="quiet small">{k}</div>{v}</div>' for k, v in rows)


def _tags(run: Run) -> str:
    return "".join(f'<span class="hv-tag">{tag}</span>' for tag in (_KIND[run.kind], *run.tags))


def _found(run: Run, results: pd.DataFrame) -> str:
    """What the run found, as HTML: of a map run its loss shifts, of an experiment its finding."""
    claim = claim_of(run)
    if claim is None:
        return ""
    if claim.name == MAPPING:
        return str(claim.face("card").line(run, results))
    return f'<span class="quiet">{escape(claim.title)}</span> <span>{escape(sentence(run, claim))}</span>'


def sentence(run: Run, claim: Claim) -> str:
    """The finding's sentence, or why there is none."""
    try:
        return str(claim.face("finding").finding(run).sentence)
    except RunIncompatible:
        return "its results cannot be read"
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        # An experiment from elsewhere may say of itself what no rule can read; the other runs are listed all the same.
        return f"its finding cannot be read ({type(e).__name__})"


def run_card(run: Run, results: pd.DataFrame) -> str:
    """The card of one run."""
    model = run.manifest["model"]
    effects = CLAIMS[MAPPING].face("card").effects(run, results) if run.kind == "map" else _found(run, results)
    return (
        '<article class="hv hv-card"><header>'
        f"<h3>{escape(run.model_id)}</h3>"
        f'{_tags(run)}<span class="quiet small">{escape(model["dtype"])}</span>'
        f'<span class="when quiet small">{escape(text.date(run.created))}</span></header>'
        f'<div class="id quiet small"><code>{escape(run.id)}</code></div>'
        f'<div class="hv-body"><section>{_facts(run)}</section><section>{effects}</section></div></article>'
    )


def compact_card(run: Run, results: pd.DataFrame | None) -> str:
    """The run in three lines: model, data and date; what it found, in one line; its id."""
    model, data = run.manifest["model"], run.manifest["data"]
    effects = "" if results is None else _found(run, results)
    facts = f"{data['id']} · {model['dtype']} · {text.count(model['n_scored_weights'])} scored weights"
    if n := sum(n for _, _, n in run.dropped):
        facts += f" · {text.count(n)} rows left out"
    return (
        f'<div class="hv"><div class="hv-compact"><h3>{escape(run.model_id)}</h3>'
        f'{_tags(run)}<span class="quiet small">{escape(facts)}</span>'
        f'<span class="right quiet small">{escape(text.date(run.created))}</span></div>'
        f'<div class="hv-compact-line small">{effects}</div>'
        f'<div class="quiet small"><code>{escape(run.id)}</code></div></div>'
    )


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
        "<p>A run scores the weights of a model on harmful and harmless responses, and measures what zeroing the few "
        "that matter does. Start one under Runs, or with <code>python -m harmviz run</code>.</p>"
        f'<div class="quiet small">Looked in <code>{escape(where)}</code></div></div>'
    )
