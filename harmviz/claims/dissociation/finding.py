"""The numbers and words of the dissociation charts, from an experiment's stored rows. Pure functions; nothing here draws.

A change *shows* where its 95 % interval leaves 0 out. An interval that includes 0 is "no clear change": it says how large a
change could have gone unseen, not that there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from harmviz.claims.mapping.reported import reads
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.runs import Run

HARM, MATCHED, REFUSAL = "mean(all)", "matched(mean(all))", "refusal"
#: What a reader may choose: which harm mask, and at which strength.
STRENGTHS = {"chosen": "at its chosen point", "matched": "at matched strength"}
UNTESTABLE = "not testable"
_VERDICTS = {-1: "less", 0: "no clear change", 1: "more"}


@dataclass(frozen=True)
class Ability:
    """One line of the picture. ``condition``/``category``: where its rows stand; ``tested``: category of its ``testable`` row;
    ``raw``: metric of the change in its own unit; ``short``: as it stands in a sentence; ``paper``: what the paper claims of the harm mask."""

    label: str
    condition: str
    category: str
    raw: str
    short: str
    tested: str = ""
    paper: str = ""


ABILITIES = (
    Ability(
        "writes harmful answers",
        "generation",
        "harm",
        "delta_nll",
        "harmful writing",
        paper="falls: it hangs on these weights",
    ),
    Ability(
        "writes harmless answers",
        "generation",
        "benign",
        "delta_nll",
        "harmless writing",
        paper="stays: benign ability hardly uses them",
    ),
    Ability(
        "tells harmful from harmless requests",
        "recognition",
        "all",
        "delta_auc",
        "recognition",
        "all",
        "stays: recognising harm is a mechanism of its own",
    ),
    Ability(
        "finds reasons why a request is harmful",
        "explanation",
        "harmful",
        "delta_nll",
        "explanation",
        paper="stays: explaining harm is not generating it",
    ),
    Ability(
        "declines harmful requests",
        "refusal",
        "harmful",
        "delta_refusal_log_odds",
        "refusal",
        "refusal_log_odds",
        "stays: refusal hangs on other weights (and those not on generation)",
    ),
)
_UNITS = {"delta_nll": "nats per token", "delta_auc": "of AUC", "delta_refusal_log_odds": "nats of log-odds"}
_SIGNS = {"delta_nll": "ΔL ", "delta_auc": "ΔAUC ", "delta_refusal_log_odds": "Δ log-odds "}


class Found:
    """An experiment's rows, looked up by what they measure."""

    def __init__(self, results: pd.DataFrame):
        rows = results[(results["experiment"] == "dissociation") & results["value"].notna()]
        self.contrasts = [
            c for c in ("none", "both") if ((rows["contrast"] == c) & (rows["metric"] == "standardised")).any()
        ]
        keys = ["contrast", "mask", "control", "condition", "category", "metric"]
        self._rows: dict[tuple[str, ...], pd.Series] = {}
        for _, row in rows.iterrows():
            self._rows.setdefault(tuple("" if pd.isna(row[k]) else str(row[k]) for k in keys), row)

    def row(
        self, contrast: str, mask: str, control: str, condition: str, category: str, metric: str
    ) -> pd.Series | None:
        """The row of this measurement, or None; the intact model has neither contrast nor mask (``""``)."""
        return self._rows.get((contrast, mask, control, condition, category, metric))

    def intact(self, condition: str, category: str, metric: str) -> pd.Series | None:
        """The intact model's row."""
        return self.row("", "", "none", condition, category, metric)

    def testable(self, condition: str, category: str) -> bool:
        """Whether the intact model has enough of this ability to lose; abilities without such a row always have."""
        row = self.intact(condition, category, "testable")
        return row is None or bool(row["value"])

    def matched(self, contrast: str) -> float | None:
        """The strength at which this selection's mask reduces harm as much as the weaker one's; None where none was found."""
        row = self.row(contrast, MATCHED, "none", "generation", "harm", "strength")
        return None if row is None else float(row["value"])

    def phrasings(self) -> list[str]:
        """Names of the yes/no questions, in the order stored."""
        return [k[4] for k in self._rows if k[1] == "" and k[3] == "recognition" and k[5] == "auc" and k[4] != "all"]


def verdict(row: pd.Series | None, testable: bool) -> str:
    """``less``, ``more``, ``no clear change``, ``not testable`` or ``not measured``, of a standardised change."""
    if row is None or pd.isna(row["ci_low"]) or pd.isna(row["ci_high"]):
        return text.NOT_MEASURED
    if not testable:
        return UNTESTABLE
    return _VERDICTS[-1 if row["ci_high"] < 0 else 1 if row["ci_low"] > 0 else 0]


def verdicts(found: Found, contrast: str, mask: str) -> dict[str, str]:
    """Short name of each ability → its verdict under this mask."""
    return {
        a.short: verdict(
            found.row(contrast, mask, "none", a.condition, a.category, "standardised"),
            found.testable(a.condition, a.tested),
        )
        for a in ABILITIES
    }


# -- the picture ------------------------------------------------------------------------------------------------------
def points(found: Found, contrast: str, mask: str) -> pd.DataFrame:
    """One line per mark of the picture, as ``figures.dissociation.double_dissociation`` takes it."""
    lines = []
    panels = {"harm": (mask, "harm"), "refusal": (REFUSAL, "refusal")}
    for ability in ABILITIES:
        testable = found.testable(ability.condition, ability.tested)
        for panel, (pruned, mark) in panels.items():
            marks = {
                mark if ability.category != "benign" else "benign": (pruned, "none"),
                "random": (HARM, "random"),
                "benign_signed": (HARM, "benign_signed"),
            }
            for name, (of, control) in marks.items():
                row = found.row(contrast, of, control, ability.condition, ability.category, "standardised")
                raw = found.row(contrast, of, control, ability.condition, ability.category, ability.raw)
                lines.append(
                    {
                        "panel": panel,
                        "row": ability.label,
                        "mark": name,
                        "control": control,
                        "testable": testable,
                        "contrast": contrast,
                        **numbers_of(row),
                        "raw": math.nan if raw is None else float(raw["value"]),
                        "raw_unit": _UNITS[ability.raw],
                        "verdict": verdict(row, testable),
                        "note": _note(ability, name, row, raw, testable),
                    }
                )
    return pd.DataFrame(lines)


def numbers_of(row: pd.Series | None) -> dict[str, Any]:
    """``value``, ``low``, ``high``, ``n`` of a row; without an interval its ends are the value."""
    if row is None:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": None}
    ends = {
        k: float(row["value"]) if pd.isna(row[c]) else float(row[c])
        for k, c in (("low", "ci_low"), ("high", "ci_high"))
    }
    return {"value": float(row["value"]), **ends, "n": None if pd.isna(row["n"]) else int(row["n"])}


MARKS = {
    "harm": "harm mask",
    "refusal": "refusal mask (measurement)",
    "benign": "the mask, on harmless text",
    "random": "random mask of the same size",
    "benign_signed": "benign-signed mask of the same size",
}


def _note(ability: Ability, mark: str, row: pd.Series | None, raw: pd.Series | None, testable: bool) -> str:
    if row is None:
        return f"{ability.label}\n{MARKS[mark]}: not measured"
    lines = [
        ability.label,
        MARKS[mark],
        f"{text.signed(float(row['value']))} SD, 95 % interval {text.interval(row['ci_low'], row['ci_high'])}",
    ]
    if raw is not None:
        lines.append(f"{_SIGNS[ability.raw]}{text.signed(float(raw['value']), 3)} {_UNITS[ability.raw]}")
    lines.append(f"n = {'?' if pd.isna(row['n']) else int(row['n'])}")
    return "\n".join(lines if testable else [*lines, "not testable: the intact model has too little of it"])


def x_range(found: Found) -> tuple[float, float]:
    """One axis for every selection and strength, so that the pictures can be compared."""
    ends = [0.0]
    for contrast in found.contrasts:
        for mask in (HARM, MATCHED):
            shown = points(found, contrast, mask)
            ends += [float(v) for c in ("low", "high") for v in shown[c].dropna()]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return low - room, max(high + room, -0.25 * low)


def panels(run: Run, found: Found, contrast: str, mask: str) -> dict[str, str]:
    """Heading of each panel: what was zeroed, and how much of it."""
    size = _size(run, contrast)
    strength = found.matched(contrast) if mask == MATCHED else None
    turned = f", strength {strength:.2f}" if strength is not None and strength < 1 else ""
    n = run.manifest["method"].get("refusal_mask", {}).get("n_weights", {}).get(contrast)
    of_refusal = f"{text.count(int(n))} weights" if isinstance(n, int) else "of the same size"
    return {
        "harm": f"Without harm weights\n{size}{turned}",
        "refusal": f"Without refusal weights\n{of_refusal}, a measurement only",
    }


def _size(run: Run, contrast: str) -> str:
    facts = run.manifest["method"].get("masks", {}).get(contrast, {})
    n, total = facts.get("n_weights"), run.manifest["model"]["n_scored_weights"]
    return text.fraction_of(int(n), total) if isinstance(n, int) else "size not stored"


def apart(found: Found, contrast: str, mask: str) -> bool:
    """Whether each mask lowers its own ability further than the other mask does: the intervals do not meet, both times."""
    for own, other, condition, category in (
        (mask, REFUSAL, "generation", "harm"),
        (REFUSAL, mask, "refusal", "harmful"),
    ):
        ours, theirs = (found.row(contrast, m, "none", condition, category, "standardised") for m in (own, other))
        if ours is None or theirs is None or not ours["ci_high"] < theirs["ci_low"]:
            return False
    return True


def finding(of_harm: Mapping[str, str], of_refusal: Mapping[str, str], both_apart: bool) -> str:
    """The picture in one sentence, from the verdicts under both masks and whether the masks are ``apart``."""
    if of_harm["harmful writing"] != "less":
        return "These weights do not lower harmful writing here: there is nothing to dissociate from"
    rest = {k: v for k, v in of_harm.items() if k not in ("harmful writing", "harmless writing")}
    lost = [k for k, v in rest.items() if v == "less"]
    kept = [k for k, v in rest.items() if v in ("no clear change", "more")]
    unknown = [k for k, v in rest.items() if v in (UNTESTABLE, text.NOT_MEASURED)]
    reverse = of_refusal["refusal"] == "less" and of_refusal["harmful writing"] in ("no clear change", "more")
    if not lost and "refusal" in kept and reverse and both_apart:
        return "A double dissociation: each mask lowers its own ability, no loss of the other's shows" + (
            f"; {_list(unknown)} not testable" if unknown else ""
        )
    parts = ["Less harmful writing" + (f", also less {_list(lost)}" if lost else "")]
    parts += [f"no loss of {_list(kept)} shows"] if kept else []
    parts += [f"{_list(unknown)} not testable here"] if unknown else []
    return "; ".join(parts)


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def words(run: Run, found: Found, contrast: str, mask: str) -> Words:
    """Title, subtitle and reading of the picture."""
    title = finding(verdicts(found, contrast, mask), verdicts(found, contrast, REFUSAL), apart(found, contrast, mask))
    shown = points(found, contrast, mask)
    own = shown[shown["control"] == "none"]
    counts = sorted({int(v) for v in own["n"].dropna()})
    n = "n not stored" if not counts else f"n = {counts[0]}" + (f" … {counts[-1]}" if len(counts) > 1 else "")
    told = "; ".join(f"{r['row']}: {r['verdict']}" for r in own.to_dict("records") if r["panel"] == "harm")
    return Words(
        title,
        "Change against the intact model in standard deviations (SD) across prompts; bars: 95 % intervals.\n"
        f"Grey: masks of the same size, random (ring) and benign-signed (square). {n}.",
        "Left of the line: less of the ability than the intact model has. A double dissociation puts only the first dot of the left panel and only the last "
        "of the right one far to the left. For writing, reasons and refusal the yardstick is the intact model's spread over prompts; for recognition the change "
        "is one of d′, the distance between harmful and harmless requests in SDs. Hatched: the intact model cannot do it well enough here for a loss to show.",
        f"Two panels of dots, one line per ability. {title}. Harm mask: {told}.",
    )


# -- the claim beside the finding -------------------------------------------------------------------------------------
def claims(found: Found, contrast: str, mask: str) -> str:
    """HTML table: what the paper claims of each ability, and what this experiment found, whichever way it came out."""
    lines = []
    for a in ABILITIES:
        testable = found.testable(a.condition, a.tested)
        row = found.row(contrast, mask, "none", a.condition, a.category, "standardised")
        raw = found.row(contrast, mask, "none", a.condition, a.category, a.raw)
        beyond = [
            (name, found.row(contrast, mask, control, a.condition, a.category, _excess(a.raw)))
            for control, name in _BEYOND.items()
        ]
        told = verdict(row, testable)
        outcome = {
            "less": "less of it",
            "more": "more of it",
            "no clear change": "no difference found",
            UNTESTABLE: "not testable on this model",
            text.NOT_MEASURED: text.NOT_MEASURED,
        }[told]
        change = f"{_SIGNS[a.raw]}{reads(raw, 3)}" if raw is not None else ""
        against = "".join(f"<br>beyond {name} {reads(r, 3)}" for name, r in beyond if r is not None)
        lines.append(
            f"<tr class='break'>{_cell(a.label)}{_cell(a.paper)}{_cell(outcome)}"
            f"<td style='text-align: left; vertical-align: top' class='small'>{escape(change)}<span class='quiet'>{against}</span></td></tr>"
        )
    head = "".join(
        f"<th {_LEFT}>{escape(h)}</th>"
        for h in ("Without its harm weights it …", "The paper", "Found here", "Change (95 % interval, n)")
    )
    return f"<div class='hv hv-scroll'><table class='hv-rows'><tr>{head}</tr>{''.join(lines)}</table></div>"


#: The tables of the style sheet hold numbers, aligned right; this one holds sentences.
_LEFT = (
    "style='text-align: left; white-space: normal; vertical-align: top; padding-top: .45rem; padding-bottom: .45rem'"
)
_BEYOND = {"random": "random", "benign_signed": "benign-signed"}


def _cell(words: str) -> str:
    return f"<td {_LEFT}>{escape(words)}</td>"


def _excess(raw: str) -> str:
    return "excess_over_control" if raw == "delta_nll" else raw.replace("delta_", "excess_")


def reverse(found: Found, contrast: str) -> str:
    """The refusal mask in one sentence, with its numbers."""
    told = verdicts(found, contrast, REFUSAL)
    of = {a.short: a for a in ABILITIES}

    def change(name: str) -> str:
        a = of[name]
        raw = found.row(contrast, REFUSAL, "none", a.condition, a.category, a.raw)
        return f"{told[name]}, {_SIGNS[a.raw]}{reads(raw, 3)}"

    return f"The reverse, as many weights that refusals hang on: refusal {change('refusal')}; harmful writing {change('harmful writing')}."
