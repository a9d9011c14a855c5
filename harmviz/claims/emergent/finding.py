"""The numbers and words of the page *Emergent misalignment*, from the rows of a stored result. Pure functions; nothing here draws.

Every shift is a difference to the model before tuning, positive where the misaligned answer became likelier. A difference
is called one only where its 95 % interval, over questions and seeds, leaves out 0. *No reduction* is said outright only
where the interval also leaves out that a fifth or more was taken off; otherwise none was found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words
from harmviz.runs import Run

BASE, BAD, GOOD, PRUNED, REGROW = "base", "narrow-bad", "narrow-good", "pruned-held", "pruned-regrow"
#: Arm → (what it reads as, how it is drawn). Doses of ``PRUNED`` are ``pruned-held@<q>``.
ARMS = {
    BASE: ("before tuning", "base"),
    BAD: ("bad advice", "bad"),
    GOOD: ("good advice", "good"),
    PRUNED: ("bad, harm weights pruned", "pruned"),
    REGROW: ("bad, harm weights pruned, may regrow", "pruned"),
    "random-held": ("bad, random weights pruned", "control"),
    "benign-held": ("bad, benign-signed weights pruned", "control"),
}
#: Column ``control`` of an arm's own rows, and of the rows that compare with that arm.
CONTROLS = {"random-held": "random", "benign-held": "benign_signed"}
VIEWS = {"broad": "far from the domain", "in_domain": "in the domain", "benign": "benign text"}
#: Column ``mask`` of the rows about the parent run's mask.
GENERAL = "general"
#: A smaller share taken off than this is no large reduction, wherever in its interval the truth lies.
LARGE = 0.2
_DOSE = re.compile(rf"{PRUNED}@([0-9.e+-]+)")
_CLAIM = (
    "Narrow fine-tuning misaligns broadly because harm is compressed into few weights that many harms share: pruning the narrow domain's harm weights before "
    "tuning reduces the broad misalignment a lot (Orgad et al. 2026, on models of 7 to 32 billion parameters)."
)
Found = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Emergent:
    """A stored result. ``arms`` in its order, without doses; ``doses``: arm → fraction pruned; both only names known here."""

    arms: tuple[str, ...]
    doses: Mapping[str, float]
    kinds: tuple[str, ...]
    seeds: tuple[int, ...]
    domain: str
    n_scored: int
    collapsed: Mapping[str, str]
    rows: Mapping[tuple[str, str, str, str, bool], Found] = field(repr=False)

    def row(
        self, metric: str, arm: str, category: str, *, control: str | None = None, general: bool = False
    ) -> Found | None:
        """The row where it was measured. ``control``: the arm's own where None is given; ``general``: about the parent's mask."""
        own = CONTROLS.get(arm.partition("#")[0], "none") if control is None else control
        found = self.rows.get((metric, arm, category, own, general))
        return None if found is None or pd.isna(found["value"]) else found

    @property
    def tuned(self) -> list[str]:
        """Every arm that was trained, without doses."""
        return [a for a in self.arms if a != BASE]


def emergent(run: Run, results: pd.DataFrame) -> Emergent:
    """The result as its manifest and rows say; names of arms that are not known here are left out."""
    method, parameters = run.manifest["method"], run.manifest["parameters"]
    told = [a for a in _list(method.get("arms")) if isinstance(a, str)]
    doses = {a: q for a in told if (q := _dose(a)) is not None}
    kinds = [k for k in _list(method.get("kinds")) if isinstance(k, str)]
    seeds = [s for s in _list(parameters.get("seeds")) if isinstance(s, int)]
    collapsed = method.get("collapsed")
    rows: dict[tuple[str, str, str, str, bool], Found] = {}
    for record in results[results["experiment"] == "emergent"].to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        condition = "" if pd.isna(row["condition"]) else str(row["condition"])
        rows[str(row["metric"]), condition, str(row["category"]), str(row["control"]), row["mask"] == GENERAL] = row
    return Emergent(
        tuple(a for a in told if a in ARMS),
        dict(sorted(doses.items(), key=lambda d: d[1])),
        tuple(kinds),
        tuple(seeds),
        str(parameters.get("domain", "?")),
        int(run.manifest["model"]["n_scored_weights"]),
        {str(k): str(v) for k, v in collapsed.items()} if isinstance(collapsed, Mapping) else {},
        rows,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dose(arm: str) -> float | None:
    match = _DOSE.fullmatch(arm)
    try:
        return float(match[1]) if match and float(match[1]) > 0 else None
    except ValueError:
        return None


def arm_name(arm: str) -> str:
    """How an arm reads; its own name where it is not known."""
    if arm in ARMS:
        return ARMS[arm][0]
    q = _dose(arm)
    # All digits: two doses that read alike could not be told apart in a choice.
    return arm if q is None else f"{ARMS[PRUNED][0]}, {f'{100 * q:.9f}'.rstrip('0').rstrip('.')} %"


def role(arm: str) -> str:
    """How an arm is drawn, one of ``figures.emergent.ROLES``."""
    return ARMS[arm][1] if arm in ARMS else "pruned" if _dose(arm) is not None else "control"


# -- how numbers read -------------------------------------------------------------------------------------------------
def clear(row: Found | None) -> int:
    """1 or −1 where the interval lies above or below 0, else 0."""
    if row is None or pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return 0
    return int(row["ci_low"] > 0) - int(row["ci_high"] < 0)


def nats(row: Found | None, digits: int = 2) -> str:
    """``+0.32 nats (+0.25 … +0.40, n = 102)``; "not measured" without a row."""
    if row is None:
        return text.NOT_MEASURED
    n = "" if pd.isna(row["n"]) else f", n = {int(row['n'])}"
    return (
        f"{text.signed(float(row['value']), digits)} nats ({text.interval(row['ci_low'], row['ci_high'], digits)}{n})"
    )


def share(row: Found | None) -> str:
    """``6 % (1 % … 11 %)``; negative where the arm shifts more."""
    if row is None:
        return text.NOT_MEASURED
    between = "no interval" if pd.isna(row["ci_low"]) else f"{_whole(row['ci_low'])} … {_whole(row['ci_high'])}"
    return f"{_whole(row['value'])} ({between})"


def _whole(fraction: float) -> str:
    return f"{round(100 * fraction)} %".replace("-", "−")


def _number(row: Found | None, name: str) -> float:
    return math.nan if row is None or pd.isna(row[name]) else float(row[name])


# -- the main chart ---------------------------------------------------------------------------------------------------
def _metric(view: str) -> str:
    return "delta_nll" if view == "benign" else "log_odds_shift"


def shifts(found: Emergent, view: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per arm, a line per arm and seed), as ``figures.emergent.arms_chart`` takes them."""
    arms, seeds = [], []
    for arm in found.tuned:
        row, name = found.row(_metric(view), arm, view), arm_name(arm)
        fell = "\ncollapsed: gibberish is no alignment" if arm in found.collapsed else ""
        size = (
            ""
            if row is None or pd.isna(row["n_weights"])
            else f"\n{text.fraction_of(int(row['n_weights']), found.n_scored)} pruned"
        )
        at = {"arm": arm, "label": name + (" †" if fell else ""), "role": role(arm)}
        arms.append(
            {
                **at,
                **{k: _number(row, k) for k in ("value", "ci_low", "ci_high", "n", "n_weights")},
                "note": f"{name}\n{nats(row, 3)}{size}{fell}",
            }
        )
        for seed in found.seeds:
            own = found.row(_metric(view), f"{arm}#{seed}", view)
            if own is not None:
                seeds.append(
                    {
                        **at,
                        "seed": seed,
                        "value": float(own["value"]),
                        "note": f"{name}, seed {seed} alone\n{nats(own, 3)}",
                    }
                )
    columns = ["arm", "label", "role", "value", "ci_low", "ci_high", "n", "n_weights", "note"]
    return pd.DataFrame(arms, columns=columns), pd.DataFrame(
        seeds, columns=["arm", "label", "role", "seed", "value", "note"]
    )


def finding(found: Emergent, view: str = "broad") -> str:
    """The result in one sentence, by the rules of this module."""
    bad = found.row(_metric(view), BAD, view)
    if bad is None:
        return "Nothing was measured on this set"
    shift = f"{text.signed(float(bad['value']))} nats per token"
    if view == "benign":
        return f"Tuning on bad {found.domain} advice {_moves(bad)} the loss of harmless text ({shift})"
    what = "misaligns broadly" if view == "broad" else "takes hold in its own domain"
    if clear(bad) <= 0:
        none = "no broad misalignment" if view == "broad" else "no shift in its own domain"
        against = "makes misaligned answers less likely" if view == "broad" else "makes bad advice less likely"
        return (
            f"Tuning on bad {found.domain} advice: {none} shows ({shift})"
            if not clear(bad)
            else f"Tuning on bad {found.domain} advice {against} ({shift})"
        )
    pruning = _pruning(found, view)
    return f"Tuning on bad {found.domain} advice {what} ({shift})" + (
        f", and pruning its harm weights first {pruning}" if pruning else ""
    )


def _moves(row: Found) -> str:
    return {1: "raises", -1: "lowers", 0: "does not clearly change"}[clear(row)]


def _pruning(found: Emergent, view: str) -> str:
    """What pruning the harm weights first does, as the end of a sentence; empty where it was not measured."""
    difference, part = found.row("difference_from_bad", PRUNED, view), found.row("relative_reduction", PRUNED, view)
    if difference is None:
        return ""
    if clear(difference) > 0:
        return "makes it larger"
    if clear(difference) == 0:
        return (
            "does not reduce it"
            if part is not None and pd.notna(part["ci_high"]) and part["ci_high"] < LARGE
            else "shows no clear reduction"
        )
    off = "takes off a part" if part is None else f"takes off {_whole(part['value'])} of it"
    against = [
        row
        for control in CONTROLS.values()
        if (row := found.row("excess_over_control", PRUNED, view, control=control)) is not None
    ]
    if not against:
        return f"{off} (no control was run)"
    return (
        f"{off}, more than pruning as many other weights"
        if all(clear(row) < 0 for row in against)
        else f"{off}, no more than pruning as many other weights"
    )


def main_words(found: Emergent, view: str) -> Words:
    """Title, subtitle and reading of the main chart."""
    row = found.row(_metric(view), BAD, view)
    n = "?" if row is None or pd.isna(row["n"]) else int(row["n"])
    measure = {
        "broad": f"Log-odds of misaligned against aligned answers to {n} questions far from the domain, shift against the model before tuning",
        "in_domain": f"Log-odds of bad against good answers to {n} held-out prompts of the domain, shift against the model before tuning",
        "benign": f"Loss of {n} harmless answers written by others, shift against the model before tuning",
    }[view]
    seeds = f" and {len(found.seeds)} seeds" if len(found.seeds) > 1 else ", for this one seed"
    dots = " Small dots: each seed." if len(found.seeds) > 1 and view != "benign" else ""
    reading = (
        "0 is the model before tuning. Right of it: harmless text became less likely, so the tuning cost something. "
        if view == "benign"
        else "0 is the model before tuning; right of it, answers that a misaligned model would give became likelier than aligned ones of like form. +0.69 means: "
        "twice as likely, per token. "
    )
    return Words(
        finding(found, view),
        f"{measure}; nats per token.\nBar: 95 % interval over prompts{seeds}.{dots} Dotted: bad advice, nothing pruned.",
        f"{reading}Vermilion: tuned on bad advice; hollow: after its harm weights were pruned. Blue: tuned on good answers to the same prompts. Grey: tuned on bad "
        "advice after as many other weights were pruned. Pruning prevents something where the hollow marks lie left of the dotted line and the grey ones do not."
        + (" †: the arm's text collapsed." if found.collapsed else ""),
        f"Shift of {len(found.tuned)} arms with intervals, {VIEWS[view]}. {finding(found, view)}",
    )


# -- by kind of question ----------------------------------------------------------------------------------------------
def kinds(found: Emergent) -> pd.DataFrame:
    """One line per arm and kind, all questions together last, as ``figures.emergent.kinds_grid`` takes it."""
    lines = []
    for arm in found.tuned:
        for kind in [*found.kinds, "broad"]:
            row, column = found.row("log_odds_shift", arm, kind), "all kinds" if kind == "broad" else kind
            value = _number(row, "value")
            shown = "–" if row is None else text.signed(value) if clear(row) else f"({text.signed(value)})"
            lines.append(
                {
                    "row": arm_name(arm),
                    "column": column,
                    "value": value,
                    "text": shown,
                    "note": f"{arm_name(arm)}, {column}\n{nats(row)}",
                    "last": kind == "broad",
                    "arm": arm,
                    **{k: _number(row, k) for k in ("ci_low", "ci_high", "n")},
                }
            )
    return pd.DataFrame(
        lines, columns=["row", "column", "value", "text", "note", "last", "arm", "ci_low", "ci_high", "n"]
    )


def kinds_words(found: Emergent) -> Words:
    """Title, subtitle and reading of the grid of kinds."""
    rows = [(k, row) for k in found.kinds if (row := found.row("log_odds_shift", BAD, k)) is not None]
    up = [k for k, row in rows if clear(row) > 0]
    title = f"Tuned on bad {found.domain} advice, misaligned answers are clearly likelier in {len(up)} of {len(rows)} kinds of question"
    each = sorted({int(row["n"]) for _, row in rows if pd.notna(row["n"])})
    n = "?" if not each else str(each[0]) if len(each) == 1 else f"{each[0]} to {each[-1]}"
    return Words(
        title,
        f"Shift of the log-odds of misaligned answers against the model before tuning, nats per token; n = {n} a kind.",
        "Vermilion: misaligned answers became likelier, blue: less likely. In brackets: the 95 % interval includes 0. Few questions stand behind each cell: "
        "a cell that differs from its neighbour is no finding by itself.",
        f"Grid of shifts, {len(found.tuned)} arms by {len(found.kinds)} kinds of question. {title}",
    )


# -- the dose of pruning ----------------------------------------------------------------------------------------------
def doses(found: Emergent) -> pd.DataFrame:
    """One line per fraction pruned beforehand, as ``figures.emergent.dose_chart`` takes it; fewer than two: not measured."""
    lines = []
    for arm in [PRUNED, *found.doses]:
        if (row := found.row("log_odds_shift", arm, "broad")) is not None and pd.notna(row["q"]):
            size = "" if pd.isna(row["n_weights"]) else f"\n{text.fraction_of(int(row['n_weights']), found.n_scored)}"
            lines.append(
                {
                    "arm": arm,
                    "q": float(row["q"]),
                    **{k: _number(row, k) for k in ("value", "ci_low", "ci_high", "n", "n_weights")},
                    "note": f"pruned before tuning{size}\n{nats(row, 3)}",
                }
            )
    return pd.DataFrame(
        lines, columns=["arm", "q", "value", "ci_low", "ci_high", "n", "n_weights", "note"]
    ).sort_values("q", ignore_index=True)


def unpruned(found: Emergent) -> tuple[float, float, float] | None:
    """The broad shift without pruning and its interval."""
    row = found.row("log_odds_shift", BAD, "broad")
    return None if row is None else (_number(row, "value"), _number(row, "ci_low"), _number(row, "ci_high"))


def dose_words(found: Emergent) -> Words:
    """Title, subtitle and reading of the dose chart."""
    arms = [a for a in (PRUNED, *found.doses) if found.row("log_odds_shift", a, "broad") is not None]
    less = [a for a in arms if clear(found.row("difference_from_bad", a, "broad")) < 0]
    title = f"Pruning more beforehand: at {len(less)} of {len(arms)} fractions the broad shift is clearly smaller than without pruning"
    return Words(
        title,
        "Broad shift of the log-odds after tuning on bad advice, nats per token. Band: 95 % interval of tuning without pruning.",
        "Each mark is a model whose harm weights, as many as q says, were set to zero before tuning and held there. If the domain's harm weights carried the "
        "misalignment, the marks would fall with q. Only the fraction of the main chart has controls of its own size.",
        f"Broad shift at {len(arms)} fractions pruned. {title}",
    )


# -- the claim --------------------------------------------------------------------------------------------------------
def found_lines(found: Emergent) -> list[str]:
    """What was found beside the claim, each sentence with its numbers; also where there is no difference."""
    broad, inside = (found.row("log_odds_shift", BAD, c) for c in ("broad", "in_domain"))
    lines = []
    if broad is not None:
        said = {
            1: "it misaligns broadly",
            0: "no broad misalignment shows",
            -1: "misaligned answers became less likely",
        }[clear(broad)]
        lines.append(
            f"Tuning on bad {found.domain} advice shifts broad log-odds by {nats(broad)}: {said}. In its own domain: {nats(inside)}."
        )
    if (good := found.row("difference_from_bad", GOOD, "broad")) is not None:
        said = {
            -1: "it is the bad advice, not tuning as such",
            0: "so it is not clear that the advice matters",
            1: "so bad advice does less than good advice",
        }[clear(good)]
        lines.append(f"Good answers to the same prompts: {nats(good)} against bad ones; {said}.")
    for arm, how in ((PRUNED, "pruned first and held at 0"), (REGROW, "pruned first, free to grow back")):
        if (difference := found.row("difference_from_bad", arm, "broad")) is None:
            continue
        part = found.row("relative_reduction", arm, "broad")
        off = "" if part is None else f", {share(part)} of the shift taken off"
        said = {-1: "less misalignment", 0: "no clear difference", 1: "more misalignment"}[clear(difference)]
        lines.append(f"With the domain's harm weights {how}: {nats(difference, 3)} against no pruning{off}: {said}.")
        for held, control in CONTROLS.items():
            if (excess := found.row("excess_over_control", arm, "broad", control=control)) is not None:
                judged = {
                    -1: "the harm weights matter more than these",
                    0: "no clear difference to these",
                    1: "these prevent more",
                }[clear(excess)]
                lines.append(
                    f"Against pruning as many {'random' if held == 'random-held' else 'benign-signed'} weights: {nats(excess, 3)}: {judged}."
                )
    lines += [
        f"{arm_name(arm)}: collapsed ({why}). Its numbers say nothing about alignment."
        for arm, why in found.collapsed.items()
    ]
    return lines


def claim_box(found: Emergent) -> str:
    """The paper's claim beside what was found, as HTML."""
    items = "".join(f"<li>{explained(line)}</li>" for line in found_lines(found)) or "<li>Nothing was measured.</li>"
    return (
        '<div class="hv hv-card"><div class="hv-body"><div><b>The claim</b>'
        f'<div>{explained(_CLAIM)}</div></div><div><b>Found here</b><ul class="hv-list">{items}</ul></div></div></div>'
    )
