"""The words and tables of *Compare runs*: titles, readings, the runs' facts, and why a run is left out. Pure functions.

Whatever comes from a file is escaped here, or by the figure that draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import cast

import numpy as np
import pandas as pd

from harmviz.claims.mapping.figures.harm_map import Panel
from harmviz.claims.mapping.headline import report_rows
from harmviz.claims.mapping.views import harm_map
from harmviz.claims.mapping.views.compare import ALL_TYPES, Shared, chosen_points, labels
from harmviz.display import text
from harmviz.display.glossary import explained, term
from harmviz.display.tables import table_markup
from harmviz.display.words import Words
from harmviz.masks.selection import Selection
from harmviz.runs import Run
from harmviz.runs.point import selector_words


def shared_markup(pairs: Sequence[Shared]) -> str:
    """The overlap of each pair of masks as an HTML table."""
    rows = []
    for pair in pairs:
        cells = [
            f"<td>{escape(pair.first)} and {escape(pair.second)}</td>",
            f"<td>{text.count(pair.n_first)} and {text.count(pair.n_second)}</td>",
            f"<td>{text.count(pair.common)}</td><td>{pair.expected_common:,.1f}</td>",
            f"<td class='value'>{_share(pair.jaccard)}</td><td>{_share(pair.expected_jaccard)}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    shared, jaccard = term("chance", "in both by chance"), term("chance", "Jaccard by chance")
    headings = ("masks of", "weights", "in both", shared, term("Jaccard"), jaccard)
    return table_markup("".join(f"<th>{heading}</th>" for heading in headings), "".join(rows))


def _share(value: float) -> str:
    return "no weights" if np.isnan(value) else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


@dataclass(frozen=True)
class Fact:
    """One line of the runs' facts: what, and its value in each run (escaped HTML)."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def _intact(run: Run, results: pd.DataFrame, category: str) -> str:
    rows = report_rows(results, "nll")
    rows = rows[rows["mask"].isna() & (rows["category"] == category)]
    rows = rows[(rows["skip_tokens"] == run.manifest["parameters"].get("skip_tokens", 0)).fillna(False).astype(bool)]
    if rows.empty or pd.isna(rows.iloc[0]["value"]):
        return text.NOT_MEASURED
    row = rows.iloc[0]
    n = "" if pd.isna(row["n"]) else f", n = {int(row['n'])}"
    return f"{row['value']:.2f}<br><span class='quiet small'>{row['ci_low']:.2f} … {row['ci_high']:.2f}{n}</span>"


def _prompts(run: Run, split: str) -> str:
    """How many harmful prompts had this part (``scoring`` counts both halves)."""
    counts = cast(Mapping[str, Mapping[str, int]], run.manifest["data"]["counts"])
    harmful = [counts[name] for name in text.harm_types(counts)]
    return text.count(sum(n for parts in harmful for part, n in parts.items() if part.startswith(split)))


def facts(runs: Sequence[Run], results: Sequence[pd.DataFrame]) -> list[Fact]:
    """What each run is: model, size, prompts, settings, and the intact loss of every kind of text."""
    manifests = [run.manifest for run in runs]
    lines = {
        "Model": [escape(run.model_id) for run in runs],
        "Weights are stored as": [escape(m["model"]["dtype"]) for m in manifests],
        "Scored weights": [text.count(m["model"]["n_scored_weights"]) for m in manifests],
        "Data set": [escape(m["data"]["id"]) for m in manifests],
    }
    for split in ("scoring", "validation", "report"):
        lines[f"Harmful prompts, {split}"] = [_prompts(run, split) for run in runs]
    lines["Seed"] = [escape(str(m["seeds"].get("run", "not stored"))) for m in manifests]
    cut = [m["parameters"].get("max_response_tokens", "?") for m in manifests]
    lines["Answers cut at"] = [f"{escape(str(tokens))} tokens" for tokens in cut]
    for category in ("harm", "safe", "benign", "benign_own"):
        losses = [_intact(run, rows, category) for run, rows in zip(runs, results, strict=True)]
        lines[f"Intact loss: {text.set_name(category)}"] = losses
    lines["Made"] = [escape(text.date(run.created)).replace(", ", "<br>", 1) for run in runs]
    return [Fact(name, tuple(values)) for name, values in lines.items()]


def facts_markup(runs: Sequence[Run], lines: Sequence[Fact]) -> str:
    """The facts as an HTML table, one column a run; what differs is set in bold."""
    head = "".join(f"<th>{escape(name)}</th>" for name in labels(runs))
    body = ""
    for fact in lines:
        cell = " class='value'" if fact.differs else ""
        body += f"<tr><td>{explained(fact.name)}</td>" + "".join(f"<td{cell}>{v}</td>" for v in fact.values) + "</tr>"
    return table_markup(f"<th></th>{head}", body)


def left_out_markup(reasons: Mapping[str, str]) -> str:
    """Runs that are on this disk but not comparable, each with its reason; empty where there are none."""
    if not reasons:
        return ""
    by_reason: dict[str, list[str]] = {}
    for run, why in reasons.items():
        by_reason.setdefault(why, []).append(run)
    lines = "".join(
        f"<div>{', '.join(f'<code>{escape(r)}</code>' for r in runs)}: {escape(why)}</div>"
        for why, runs in by_reason.items()
    )
    return f'<div class="hv"><div class="quiet small">Not comparable with the first run. {lines}</div></div>'


def empty_markup(base: Run) -> str:
    """What the page says where there is nothing to compare the run with."""
    return (
        '<div class="hv hv-empty"><h3>There is one run like this</h3>'
        "<p>Two runs can be compared when they measure the same data on models of the same shape: a base model and "
        "its aligned version, say, or one model before and after fine-tuning. Here only "
        f"<code>{escape(base.id)}</code> fits.</p><p>Make a second one with the command below, or under <b>Runs</b>, "
        "where runs made elsewhere can also be imported.</p></div>"
    )


def curve_words(table: pd.DataFrame, contrast: str, p: float) -> Words:
    """Words of the curves."""
    by_set = {
        str(name): sorted({int(n) for n in rows["n"].dropna()}) for name, rows in table.groupby("set", sort=False)
    }
    counted = ", ".join(f"{name} {' or '.join(map(str, n))}" for name, n in by_set.items())
    first = table["run"].iloc[0]
    return Words(
        "How fast does each kind of text suffer as more weights are zeroed?",
        f"ΔL in nats per token, 95 % intervals · {selector_words(contrast).short}, {text.percent(p)} protected · "
        f"validation prompts, n: {counted}",
        "Symbols are runs, colours are kinds of text, and all panels share one scale. A mark is a measurement; the "
        "thin lines only join marks, and the runs stand slightly apart at each q so that their intervals can be "
        f"told apart. A run whose vermilion rises above its blue more than that of {first} does has weights that are "
        "more specific to harm. No control was measured along q: the random control stands in the first picture.",
        f"Line chart of loss shifts over the fraction pruned for {table['run'].nunique()} runs, one panel each for "
        "harmful, same-topic safe and benign text",
    )


def chosen_words(runs: Sequence[Run], table: pd.DataFrame, contrast: str, standing: str = "") -> Words:
    """Words of the marks at the chosen points. ``standing``: whether harm stands out from its mirrors, their title."""
    counts = sorted(int(v) for v in table["n"].dropna())
    return Words(
        standing or "What does each run's own mask do to each kind of text?",
        f"ΔL in nats per token, 95 % intervals · {selector_words(contrast).short} · report prompts, n = {counts[0]} "
        f"to {counts[-1]}\n{chosen_points(runs, contrast)}",
        "Symbols are runs, colours are kinds of text, grey rings are random masks as large as each run's own. The "
        "masks differ in size from run to run where the runs chose different settings. Harm minus safe is what to "
        "compare first: it leaves out what any text of these topics loses.",
        f"Dot plot of loss shifts at the chosen settings of {table['run'].nunique()} runs",
    )


def map_words(panels: Sequence[Panel], selection: Selection, kind: str) -> Words:
    """Words of the maps: how alike the first two spread, and what they were made with."""
    first, second = panels[0].cells, panels[1].cells
    n = sorted({int(p.cells["count"].sum()) for p in panels if not p.signed})
    size = text.count(n[0]) if len(n) == 1 else f"{text.count(n[0])} to {text.count(n[-1])}"
    which = "mean of all harm types" if kind == ALL_TYPES else text.set_name(kind)
    alike = f"{100 * harm_map.same_place(first, second):.0f} %"
    sizes = tuple(map(int, first["size"]))
    chance = (
        harm_map.reference(sizes, int(first["count"].sum()), int(second["count"].sum())).same_place
        if all(n)
        else float("nan")
    )
    control = (
        ""
        if np.isnan(chance)
        else f"\ncontrol, two random masks of these sizes: {100 * chance:.0f} % in the same cells"
    )
    return Words(
        f"The first two masks put {alike} of their weights in the same layers and modules",
        f"{text.percent(selection.q)} · {size} weights a run · {which}, {selector_words(selection.contrast).short}, "
        f"{text.percent(selection.p)} protected · selected weights per million, one scale{control}",
        "Equal colour means equal density in every map. The last map is the second run minus the first: vermilion "
        "where the second is denser, blue where it is sparser. Alike maps need not hold the same weights; the table "
        "below counts those.",
        f"Heatmaps of selected weights by layer and module for {len(panels) - 1} runs, and the difference of the "
        "first two",
    )


def difference_note(n_runs: int) -> str:
    """Why no difference between runs carries an interval."""
    who = "the two runs" if n_runs == 2 else "any two runs"
    return (
        f"The difference between {who} has no interval: that needs both runs' losses prompt by prompt, drawn "
        "together, and runs store only their own means and intervals. Overlapping intervals neither prove nor "
        "exclude a difference. With one mask a run, the choice of scoring prompts is part of what you see."
    )
