"""What a run's manifest says of its grid: the attacks, the states compared, the judges. Pure functions.

All of it is untrusted: whatever has not the form it should have is left out, and text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from harmviz.display.glossary import explained
from harmviz.judges.quality_words import quality_words
from harmviz.runs import Run
from harmviz.runs.point import SELECTOR_WORDS

#: State of the model under a harm mask → how its weights were selected.
_SELECTED = {words.state: words.short for words in SELECTOR_WORDS.values()}


def entries(run: Run, name: str) -> list[Mapping[str, Any]]:
    """The entries of one of the lists in the manifest's ``method``: ``attacks``, ``arms``, ``judges``."""
    stored = run.manifest["method"].get(name)
    return [entry for entry in stored if isinstance(entry, Mapping)] if isinstance(stored, list) else []


def attack_names(run: Run) -> dict[str, str]:
    """Attack id → its name, with the id where two read alike; in the order of the experiment."""
    attacks = [a for a in entries(run, "attacks") if isinstance(a.get("id"), str)]
    names = [str(a.get("name") or a["id"]) for a in attacks]
    return {
        a["id"]: name if names.count(name) == 1 else f"{name} ({a['id']})"
        for a, name in zip(attacks, names, strict=True)
    }


def attack_record(run: Run, attack: str) -> Mapping[str, Any]:
    """What is stored of this attack; empty where nothing is."""
    return next((entry for entry in entries(run, "attacks") if entry.get("id") == attack), {})


def set_up(run: Run) -> str:
    """One line on what was measured, as HTML."""
    method, parameters = run.manifest["method"], run.manifest["parameters"]
    sizes = [
        f"{_SELECTED[str(arm['group'])]} {arm['n_weights']:,} weights"
        for arm in entries(run, "arms")
        if str(arm.get("group")) in _SELECTED and isinstance(arm.get("n_weights"), int)
    ]
    stored = method.get("requests")
    asked: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    mild = asked.get("mild")
    kind = "" if mild is None else ", all mild" if mild == asked.get("harmful") else f", {mild} of them mild"
    parts = [
        run.model_name,
        f"masks of run {', '.join(run.manifest['parents'])}: {'; '.join(sizes) or '?'}",
        f"{asked.get('harmful', '?')} held-out harmful requests{kind}, {asked.get('benign', '?')} benign",
        f"greedy answers of at most {parameters.get('max_new_tokens', '?')} tokens",
    ]
    return f'<div class="hv quiet small">{escape(" · ".join(map(str, parts)))}</div>'


def judge_notes(run: Run) -> str:
    """How good each judge is, and what it could not judge, as HTML."""
    lines = []
    unscored = run.manifest["method"].get("unscored")
    for judge in entries(run, "judges"):
        name, kind = str(judge.get("name")), str(judge.get("kind"))
        measured = quality_words(judge.get("quality"))
        reasons = unscored.get(name) if isinstance(unscored, Mapping) else None
        left = [f"{n} answers unscored: {why}" for why, n in reasons.items()] if isinstance(reasons, Mapping) else []
        words = "; ".join([*measured, *left]) or str(judge.get("source", ""))
        lines.append(f"{name} ({kind}). On human labels: {words}." if measured else f"{name} ({kind}): {words}.")
    lines += [str(note) for note in run.manifest["data"].get("notes", [])]
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in lines)}</ul>'


def attack_list(run: Run) -> str:
    """Every attack in a line: what it does, and after which paper, as HTML."""
    rows = [
        f"<div><dt>{escape(str(a.get('name', '')))}</dt><dd>{escape(str(a.get('description', '')))}"
        f"{'<br><span class=quiet>' + escape(str(a['source'])) + '</span>' if a.get('source') else ''}</dd></div>"
        for a in entries(run, "attacks")
    ]
    return f'<dl class="hv hv-glossary">{"".join(rows)}</dl>'
