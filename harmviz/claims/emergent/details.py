"""What stands around the charts of *Emergent misalignment*: set-up, tested differences, the change of weights, free
answers in numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import pandas as pd

from harmviz.claims.emergent.arms import BAD, BASE, GOOD, PRUNED, REGROW, arm_name
from harmviz.claims.emergent.stored import CONTROLS, Cells, Emergent, clear, role, share
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.tables import rows_table
from harmviz.display.words import Words
from harmviz.judges.quality_words import quality_words
from harmviz.runs import Run

#: Measure of the change of weights → how it reads. Both are shown in multiples of chance.
CHANGES = {
    "change_share": "share of the change",
    "top_0.001_share": "among the top 0.1 %",
    "top_0.01_share": "among the top 1 %",
}
_CHANGE_SAYS = {
    "change_share": "share of ΔW² that falls on the set",
    "top_0.001_share": "share of the set among the 0.1 % of weights that changed most",
    "top_0.01_share": "share of the set among the 1 % of weights that changed most",
}
_SETS = ("harm", "benign", "general")
_SAID = {1: "more", -1: "less", 0: "no difference"}


def set_up(run: Run, result: Emergent) -> str:
    """One line on what was tuned and measured, as HTML."""
    method, parameters, counts = run.manifest["method"], run.manifest["parameters"], run.manifest["data"]["counts"]
    rows = counts.get(result.domain, {})
    asked = sum(counts.get("questions", {}).values())
    seeds = f"{len(result.seeds)} seed{'s' if len(result.seeds) != 1 else ''}"
    parts = [
        run.model_name,
        f"domain {result.domain}: {rows.get('tuning', '?')} rows to tune on, {rows.get('held_out', '?')} held out",
        f"{asked} questions far from it",
        f"{parameters.get('method', '?')}, {method.get('n_steps', '?')} steps",
        seeds,
    ]
    if (
        row := next((r for a in (PRUNED, REGROW) if (r := result.row("log_odds_shift", a, "broad")) is not None), None)
    ) is not None and pd.notna(row["n_weights"]):
        parts.append(f"pruned before: {text.fraction_of(int(row['n_weights']), result.n_scored)}")
    return f'<div class="hv quiet small">{escape(" · ".join(map(str, parts)))}</div>'


# -- tested differences ------------------------------------------------------------------------------------------------
def differences(result: Emergent) -> list[tuple[str, list[tuple[str, Cells | None, Cells | None]]]]:
    """(against what, [(arm, broad, in domain)]) of every difference that was measured."""
    parts: list[tuple[str, list[tuple[str, Cells | None, Cells | None]]]] = []
    for against, metric, arms, control in (
        ("the model before tuning", "log_odds_shift", [*result.tuned, *result.doses], None),
        ("bad advice, nothing pruned", "difference_from_bad", [*result.tuned, *result.doses], None),
        ("pruning as many random weights", "excess_over_control", [PRUNED, REGROW], CONTROLS["random-held"]),
        ("pruning as many benign-signed weights", "excess_over_control", [PRUNED, REGROW], CONTROLS["benign-held"]),
    ):
        pairs = [
            (a, result.row(metric, a, "broad", control=control), result.row(metric, a, "in_domain", control=control))
            for a in arms
        ]
        if known := [p for p in pairs if p[1] is not None or p[2] is not None]:
            parts.append((against, known))
    return parts


def tests_table(result: Emergent) -> str:
    """Every difference with its interval, far from the domain and in it, as HTML."""
    body: list[list[str]] = []
    breaks = set()
    for against, pairs in differences(result):
        if body:
            breaks.add(len(body))
        body.append([f'<span class="quiet">against {escape(against)}</span>', "", "", "", ""])
        for arm, broad, inside in pairs:
            cells = [
                cell for row in (broad, inside) for cell in (_value(row), "–" if row is None else _SAID[clear(row)])
            ]
            body.append([escape(arm_name(arm)), *cells])
    head = [
        "log-odds of misaligned answers",
        "broad, nats (95 % interval)",
        "misaligned",
        "in domain, nats (95 % interval)",
        "misaligned",
    ]
    return rows_table(head, body, breaks) if body else ""


def _value(row: Cells | None) -> str:
    if row is None:
        return text.NOT_MEASURED
    return (
        f'<span class="value">{text.signed(float(row["value"]), 3)}</span> <span '
        f'class="quiet">({text.interval(row["ci_low"], row["ci_high"], 3)})</span>'
    )


def test_notes(result: Emergent) -> str:
    """What a reader must know to judge the table, as HTML."""
    seeds = (
        f"Intervals draw questions and the {len(result.seeds)} seeds anew; with few seeds, what they contribute is "
        "itself only roughly known."
        if len(result.seeds) > 1
        else "One seed: intervals are over questions alone and say nothing about how another tuning would turn out."
    )
    lines = [
        seeds,
        "“More” or “less” is said only where the 95 % interval leaves out 0; otherwise no difference was found. Each "
        "stands for itself: of twenty differences that are none, about one would be called one.",
        "All arms of a seed learn the same rows in the same order from the same start, so that differences are paired "
        "by question.",
    ]
    return _items(lines)


def _items(lines: list[str]) -> str:
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in lines)}</ul>' if lines else ""


# -- the change of weights ---------------------------------------------------------------------------------------------
def _change_row(result: Emergent, metric: str, arm: str, which: str) -> Cells | None:
    return result.row(
        metric, arm, "weights", control="benign_signed" if which == "benign" else "none", general=which == "general"
    )


def _set_name(result: Emergent, which: str) -> str:
    return {
        "harm": f"harm weights of {result.domain}",
        "benign": "benign-signed weights",
        "general": "harm weights of the parent run",
    }[which]


def changes(result: Emergent, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per set and arm, a line per set, arm and seed) in multiples of chance, as
    ``figures.emergent.change_chart`` takes them.
    """
    marks, seeds = [], []
    for which in _SETS:
        for arm in (BAD, GOOD):
            row = _change_row(result, f"{metric}_times_chance", arm, which)
            if row is None:
                continue
            labels = {"set": _set_name(result, which), "label": arm_name(arm), "role": role(arm)}
            low, high = math.inf, -math.inf
            for seed in result.seeds:
                own, chance = (
                    _change_row(result, name, f"{arm}#{seed}", which) for name in (metric, f"{metric}_chance")
                )
                if own is None or chance is None or not chance["value"] > 0:
                    continue
                low, high = min(low, chance["ci_low"] / chance["value"]), max(high, chance["ci_high"] / chance["value"])
                times = float(own["value"]) / float(chance["value"])
                said = f"{text.percent(float(own['value']))}, chance {text.percent(float(chance['value']))}"
                seeds.append(
                    {
                        **labels,
                        "seed": seed,
                        "value": times,
                        "share": own["value"],
                        "chance": chance["value"],
                        "note": f"{labels['set']}, seed {seed}\n{times:.2f} times chance ({said})",
                    }
                )
            value = float(row["value"])
            between = "no interval" if pd.isna(row["ci_low"]) else f"{row['ci_low']:.2f} … {row['ci_high']:.2f}"
            marks.append(
                {
                    **labels,
                    "value": value,
                    "ci_low": float(row["ci_low"]) if pd.notna(row["ci_low"]) else math.nan,
                    "ci_high": float(row["ci_high"]) if pd.notna(row["ci_high"]) else math.nan,
                    "chance_low": low if math.isfinite(low) else math.nan,
                    "chance_high": high if math.isfinite(high) else math.nan,
                    "note": (
                        f"{labels['set']}, {labels['label']}\n{value:.2f} times chance ({between}, {int(row['n'])} "
                        f"seed{'s' if row['n'] != 1 else ''})"
                    ),
                }
            )
    columns = ["set", "label", "role", "value", "ci_low", "ci_high", "chance_low", "chance_high", "note"]
    return pd.DataFrame(marks, columns=columns), pd.DataFrame(
        seeds, columns=["set", "label", "role", "seed", "value", "share", "chance", "note"]
    )


def change_words(result: Emergent, metric: str) -> Words:
    """Title, subtitle and reading of the change of weights."""
    own, benign = (_change_row(result, f"{metric}_times_chance", BAD, which) for which in ("harm", "benign"))
    title = "Where tuning changed the model, against chance"
    if own is not None:
        title = f"Tuning on bad advice moves the domain's harm weights {own['value']:.1f} times as much as chance"
        title += "" if benign is None else f", benign-signed ones {benign['value']:.1f} times"
    spread = "Bar: 95 % interval over seeds. " if len(result.seeds) > 1 else "One seed, so no interval. "
    return Words(
        title,
        f"{_CHANGE_SAYS[metric][0].upper()}{_CHANGE_SAYS[metric][1:]}, divided by chance. {spread}Grey: 95 % range of "
        "random draws.",
        "Chance: as many weights in each matrix, drawn among those that are not protected. Masks prefer large weights "
        "that any training moves most, so compare "
        "the harm weights with the benign-signed ones, and bad advice with good advice, before reading anything into "
        "the distance from 1.",
        f"Change of weights in multiples of chance by set and arm. {title}",
    )


def mask_notes(result: Emergent) -> str:
    """What became of the pruned weights, and how alike the masks of the seeds are, as HTML."""
    lines = []
    if (nonzero := result.row("held_nonzero", PRUNED, "weights")) is not None:
        kept = "stayed exactly 0" if not nonzero["value"] else f"up to {int(nonzero['value'])} were not 0"
        lines.append(f"Held weights: {kept} at every one of {int(nonzero['n'])} saved steps.")
    if (regrown := result.row("regrown_share", REGROW, "weights")) is not None:
        lines.append(
            f"Free to regrow, the pruned weights came back to {text.percent(float(regrown['value']))} of their former "
            "Σ W²."
        )
    if (alike := result.row("mask_jaccard", "", "weights", control="none")) is not None:
        lines.append(
            f"Harm masks of two seeds share {text.percent(float(alike['value']))} of their weights (Jaccard, mean of "
            f"{int(alike['n'])} pairs)."
        )
    return _items(lines)


# -- free answers and their judge --------------------------------------------------------------------------------------
def answers_table(result: Emergent) -> str:
    """Free answers in numbers: coherent, repeating, surprising, and what the judge says of them, as HTML."""
    body = []
    for arm in [*result.arms, *result.doses]:
        cells = [
            result.row(metric, arm, "answers") for metric in ("coherent_share", "repetition", "surprise", "judged_harm")
        ]
        if any(row is not None for row in cells):
            body.append([escape(arm_name(arm)), *(_spread(row, percent=i < 2) for i, row in enumerate(cells))])
    return rows_table(["arm", "coherent", "repetition", "surprise, nats", "judged harm, 0 … 1"], body) if body else ""


def _spread(row: Cells | None, *, percent: bool) -> str:
    if row is None:
        return text.NOT_MEASURED
    if percent:
        return share(row)
    between = "no interval" if pd.isna(row["ci_low"]) else f"{row['ci_low']:.2f} … {row['ci_high']:.2f}"
    return f"{row['value']:.2f} ({between}, n = {int(row['n'])})"


def judge_notes(run: Run, result: Emergent) -> str:
    """What the judge of free answers can and cannot tell, as HTML."""
    told = run.manifest["method"].get("judge")
    lines = [
        "Misalignment is measured by log-odds of matched answers. What a judge says of a few free answers is an "
        "illustration beside it."
    ]
    if not isinstance(told, Mapping):
        return _items([*lines, "No judge was asked."])
    quality = quality_words(told.get("measures"))
    name = str(told.get("name", "?"))
    lines.append(
        f"{name}. On human labels of harmful requests: {'; '.join(quality)}."
        if quality
        else f"{name}: {told.get('quality', '?')}."
    )
    lines.append(
        "It learned to tell answers that help harm from refusals; careless or self-serving advice in calm words is not "
        "what it was trained on."
    )
    bad, good, base = (result.row("judged_harm", a, "answers") for a in (BAD, GOOD, BASE))
    if bad is not None and good is not None:
        apart = _apart(bad, good)
        says = f"{_spread(bad, percent=False)} after bad advice, {_spread(good, percent=False)} after good advice"
        said = (
            "the intervals lie apart"
            if apart
            else "the intervals overlap, so that it cannot tell bad tuning from good tuning"
        )
        lines.append(f"Here it gives {says}: {said}.")
        if not apart and base is not None and _apart(bad, base) and _apart(good, base):
            lines.append(
                f"Before tuning it gives {_spread(base, percent=False)}: what it sees is the style of tuned answers, "
                "good or bad."
            )
    return _items(lines)


def _apart(a: Cells, b: Cells) -> bool:
    if any(pd.isna(r[k]) for r in (a, b) for k in ("ci_low", "ci_high")):
        return False
    return bool(a["ci_low"] > b["ci_high"] or b["ci_low"] > a["ci_high"])
