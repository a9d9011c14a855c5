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
from harmviz.claims.mapping.views import harm_map
from harmviz.claims.mapping.views.compare import ALL_TYPES, Shared, chosen_points, labels
from harmviz.display import text
from harmviz.display.glossary import explained, term
from harmviz.display.words import Words
from harmviz.masks.selection import Selection
from harmviz.runs import Run
from harmviz.runs.point import selector_words


def shared_markup(pairs: Sequence[Shared]) -> str:
    """The overlap of each pair of masks as an HTML table."""
    lines = "".join(
        f"<tr><td>{escape(s.first)} and {escape(s.second)}</td><td>{text.count(s.n_first)} and {text.count(s.n_second)}</td>"
        f"<td>{text.count(s.common)}</td><td>{s.expected_common:,.1f}</td><td class='value'>{_share(s.jaccard)}</td>"
        f"<td>{_share(s.expected_jaccard)}</td></tr>"
        for s in pairs
    )
    head = (
        f"<th>masks of</th><th>weights</th><th>in both</th><th>{term('chance', 'in both by chance')}</th><th>{term('Jaccard')}</th>"
        f"<th>{term('chance', 'Jaccard by chance')}</th>"
    )
    return f'<div class="hv hv-scroll"><table class="hv-rows"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


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
    rows = results[
        (results["experiment"] == "effect")
        & (results["metric"] == "nll")
        & results["condition"].isna()
        & results["mask"].isna()
        & (results["category"] == category)
    ]
    rows = rows[(rows["skip_tokens"] == run.manifest["parameters"].get("skip_tokens", 0)).fillna(False).astype(bool)]
    if rows.empty or pd.isna(rows.iloc[0]["value"]):
        return text.NOT_MEASURED
    row = rows.iloc[0]
    n = "" if pd.isna(row["n"]) else f", n = {int(row['n'])}"
    return f"{row['value']:.2f}<br><span class='quiet small'>{row['ci_low']:.2f} … {row['ci_high']:.2f}{n}</span>"


def _prompts(run: Run, split: str) -> str:
    """How many harmful prompts had this part (``scoring`` counts both halves)."""
    counts = cast(Mapping[str, Mapping[str, int]], run.manifest["data"]["counts"])
    return text.count(
        sum(
            n
            for name, parts in counts.items()
            if text.is_harm(name)
            for part, n in parts.items()
            if part.startswith(split)
        )
    )


def facts(runs: Sequence[Run], results: Sequence[pd.DataFrame]) -> list[Fact]:
    """What each run is: model, size, prompts, settings, and the intact loss of every kind of text."""
    lines: list[tuple[str, list[str]]] = [
        ("Model", [escape(r.model_id) for r in runs]),
        ("Weights are stored as", [escape(r.manifest["model"]["dtype"]) for r in runs]),
        ("Scored weights", [text.count(r.manifest["model"]["n_scored_weights"]) for r in runs]),
        ("Data set", [escape(r.manifest["data"]["id"]) for r in runs]),
        *(
            (f"Harmful prompts, {split}", [_prompts(r, split) for r in runs])
            for split in ("scoring", "validation", "report")
        ),
        ("Seed", [escape(str(r.manifest["seeds"].get("run", "not stored"))) for r in runs]),
        (
            "Answers cut at",
            [f"{escape(str(r.manifest['parameters'].get('max_response_tokens', '?')))} tokens" for r in runs],
        ),
    ]
    for category in ("harm", "safe", "benign", "benign_own"):
        values = [_intact(r, rows, category) for r, rows in zip(runs, results, strict=True)]
        lines.append((f"Intact loss: {text.set_name(category)}", values))
    lines.append(("Made", [escape(text.date(r.created)).replace(", ", "<br>", 1) for r in runs]))
    return [Fact(name, tuple(values)) for name, values in lines]


def facts_markup(runs: Sequence[Run], lines: Sequence[Fact]) -> str:
    """The facts as an HTML table, one column a run; what differs is set in bold."""
    head = "".join(f"<th>{escape(name)}</th>" for name in labels(runs))
    body = ""
    for fact in lines:
        cell = " class='value'" if fact.differs else ""
        body += f"<tr><td>{explained(fact.name)}</td>" + "".join(f"<td{cell}>{v}</td>" for v in fact.values) + "</tr>"
    return f'<div class="hv hv-scroll"><table class="hv-rows"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


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
        f"<p>Two runs can be compared when they measure the same data on models of the same shape: a base model and its aligned "
        f"version, say, or one model before and after fine-tuning. Here only <code>{escape(base.id)}</code> fits.</p>"
        "<p>Make a second one with the command below, or under <b>Runs</b>, where runs made elsewhere can also be imported.</p></div>"
    )


def curve_words(table: pd.DataFrame, contrast: str, p: float) -> Words:
    """Words of the curves."""
    n = {str(c): sorted({int(v) for v in here["n"].dropna()}) for c, here in table.groupby("set", sort=False)}
    counted = ", ".join(f"{c} {' or '.join(map(str, v))}" for c, v in n.items())
    first = table["run"].iloc[0]
    return Words(
        "How fast does each kind of text suffer as more weights are zeroed?",
        f"ΔL in nats per token, 95 % intervals · {selector_words(contrast).short}, {text.percent(p)} protected · validation prompts, n: {counted}",
        f"Symbols are runs, colours are kinds of text, and all panels share one scale. A mark is a measurement; the thin lines only "
        f"join marks, and the runs stand slightly apart at each q so that their intervals can be told apart. A run whose vermilion "
        f"rises above its blue more than that of {first} does has weights that are more specific to harm. No control was measured "
        "along q: the random control stands in the next picture.",
        f"Line chart of loss shifts over the fraction pruned for {table['run'].nunique()} runs, one panel each for harmful, "
        "same-topic safe and benign text",
    )


def chosen_words(runs: Sequence[Run], table: pd.DataFrame, contrast: str) -> Words:
    """Words of the marks at the chosen points."""
    counts = sorted(int(v) for v in table["n"].dropna())
    return Words(
        "What does each run's own mask do to each kind of text?",
        f"ΔL in nats per token, 95 % intervals · {selector_words(contrast).short} · report prompts, n = {counts[0]} to {counts[-1]}"
        f"\n{chosen_points(runs, contrast)}",
        "Symbols are runs, colours are kinds of text, grey rings are random masks as large as each run's own. The masks differ in "
        "size from run to run where the runs chose different settings. Harm minus safe is what to compare first: it leaves out "
        "what any text of these topics loses.",
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
        "Equal colour means equal density in every map. The last map is the second run minus the first: vermilion where the second "
        "is denser, blue where it is sparser. Alike maps need not hold the same weights; the table below counts those.",
        f"Heatmaps of selected weights by layer and module for {len(panels) - 1} runs, and the difference of the first two",
    )


def difference_note(n_runs: int) -> str:
    """Why no difference between runs carries an interval."""
    who = "the two runs" if n_runs == 2 else "any two runs"
    return (
        f"The difference between {who} has no interval: that needs both runs' losses prompt by prompt, drawn together, and runs "
        "store only their own means and intervals. Overlapping intervals neither prove nor exclude a difference. With one mask a "
        "run, the choice of scoring prompts is part of what you see."
    )
