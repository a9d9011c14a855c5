"""What an experiment's manifest says of a jailbreak grid: the states compared, the attacks, the judges. Pure functions; nothing here draws.

All of it is untrusted: whatever has not the form it should have is left out, and text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from harmviz.display.glossary import explained
from harmviz.runs import Run

#: The states of the model, as columns: how each reads.
GROUPS = {
    "intact": "intact",
    "plain": "as in the paper",
    "contrastive": "contrastive",
    "guarded": "guarded",
    "random": "random mask",
    "benign_signed": "benign-signed",
}
#: States with harm weights zeroed, as in the paper first.
PRUNED = ("plain", "contrastive", "guarded")
CONTROLS = ("random", "benign_signed")


def told(run: Run, what: str) -> list[Mapping[str, Any]]:
    """The entries of one of the manifest's lists about the experiment (``attacks``, ``arms``, ``judges``)."""
    found = run.manifest["method"].get(what)
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def attack_names(run: Run) -> dict[str, str]:
    """Attack id → its name, with the id where two read alike; in the order of the experiment."""
    attacks = [a for a in told(run, "attacks") if isinstance(a.get("id"), str)]
    names = [str(a.get("name") or a["id"]) for a in attacks]
    return {
        a["id"]: name if names.count(name) == 1 else f"{name} ({a['id']})"
        for a, name in zip(attacks, names, strict=True)
    }


def plain_attack(run: Run) -> str | None:
    """The id of the bare request among the attacks, or None."""
    for a in told(run, "attacks"):
        if (
            str(a.get("template", "")).strip() == "{request}"
            and not (a.get("system") or a.get("opening"))
            and a.get("transform", "none") == "none"
        ):
            return str(a.get("id"))
    return None


def set_up(run: Run) -> str:
    """One line on what was measured, as HTML."""
    method, parameters = run.manifest["method"], run.manifest["parameters"]
    sizes = [
        f"{GROUPS[a['group']]} {a.get('n_weights'):,} weights"
        for a in told(run, "arms")
        if a.get("group") in PRUNED and isinstance(a.get("n_weights"), int)
    ]
    asked = method.get("requests")
    asked = asked if isinstance(asked, Mapping) else {}
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
    for judge in told(run, "judges"):
        name, kind = str(judge.get("name")), str(judge.get("kind"))
        measured = quality_words(judge.get("quality"))
        reasons = unscored.get(name) if isinstance(unscored, Mapping) else None
        left = [f"{n} answers unscored: {why}" for why, n in reasons.items()] if isinstance(reasons, Mapping) else []
        said = "; ".join([*measured, *left]) or str(judge.get("source", ""))
        lines.append(f"{name} ({kind}). On human labels: {said}." if measured else f"{name} ({kind}): {said}.")
    lines += [str(note) for note in run.manifest["data"].get("notes", [])]
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in lines)}</ul>'


def quality_words(measures: Any) -> list[str]:
    """How good a judge is against human labels, a measure with its interval each: ``auc 0.87 (0.84 … 0.90, n = 984)``.

    The keyword list's own figures stand for it where it is the judge; another judge is told by its own alone.
    """
    known = [m for m in measures if _known(m)] if isinstance(measures, list) else []
    return [_measure(m) for m in known if m[1] == "judge"] or [_measure(m) for m in known]


def _known(measure: Any) -> bool:
    """Whether this is a measure against human labels with its interval, of a judge or of the keyword list."""
    if (
        not isinstance(measure, list)
        or len(measure) != 7
        or measure[1] not in ("judge", "keyword list")
        or measure[2] != "human labels"
    ):
        return False
    return all(isinstance(x, int | float) for x in measure[3:])


def _measure(measure: list[Any]) -> str:
    name, _, _, value, low, high, n = measure
    return f"{str(name).replace('_', ' ')} {value:.2f} ({low:.2f} … {high:.2f}, n = {n})"


def attack_list(run: Run) -> str:
    """Every attack in a line: what it does, and after which paper, as HTML."""
    rows = [
        f"<div><dt>{escape(str(a.get('name', '')))}</dt><dd>{escape(str(a.get('description', '')))}"
        f"{'<br><span class=quiet>' + escape(str(a['source'])) + '</span>' if a.get('source') else ''}</dd></div>"
        for a in told(run, "attacks")
    ]
    return f'<dl class="hv hv-glossary">{"".join(rows)}</dl>'
