"""The numbers and words of the page *Compression*, from the rows of a stored result. Pure functions; nothing here draws.

A difference is called one only where both hold: its 95 % interval, over prompts and splits, leaves out 0, and its
permutation p-value stays at or below 0.05 after Holm's correction over all tests of the selection shown. Where the p-value alone
does, these checkpoints differ, but not surely others tuned in the same way: undecided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.words import Words
from harmviz.runs import Run

ALPHA = 0.05
#: Of nats: with two, an interval that just includes 0 would not show it.
_DIGITS = 3
CONTRASTS = {"none": "as in the paper", "both": "contrastive"}
SHIFTS = {"specific": "harm-specific", "harm": "harmful answers", "safe": "same-topic safe", "benign": "benign"}
_SHIFT_NAMES = {
    "specific": "Harm-specific ΔL: harmful minus same-topic safe answers",
    "harm": "ΔL of harmful answers",
    "safe": "ΔL of same-topic safe answers",
    "benign": "ΔL of benign answers",
}
ALIGNED_ARM = "safety"
PAPER = (
    "In the paper (arXiv:2604.09544), aligned models show more separable sets than unaligned ones, and along the stages of OLMo-3-7B separability "
    "grows, most at preference optimisation. Its models have 7 to 32 billion weights, and its aligned ones are products of months of training."
)


@dataclass(frozen=True, eq=False)
class Compression:
    """A stored result for one selection. ``rows`` is indexed by metric and condition; ``checkpoints`` in order of the series."""

    checkpoints: tuple[Mapping[str, Any], ...]
    tests: tuple[Mapping[str, str], ...]
    seeds: tuple[int, ...]
    contrast: str
    limit: float
    n_scored: int
    frame: pd.DataFrame

    def row(self, metric: str, condition: str, *, selected: bool = True) -> pd.Series | None:
        """The row of this metric; ``selected``: of the selection shown, else whatever the selection."""
        found = self.frame[(self.frame["metric"] == metric) & (self.frame["condition"] == condition)]
        found = found[found["contrast"] == self.contrast] if selected else found
        return None if found.empty else found.iloc[0]

    def value(self, metric: str, condition: str, *, selected: bool = True) -> float:
        row = self.row(metric, condition, selected=selected)
        return math.nan if row is None or pd.isna(row["value"]) else float(row["value"])

    @property
    def names(self) -> list[str]:
        return [str(c["name"]) for c in self.checkpoints]

    @property
    def n_prompts(self) -> int:
        row = self.row("separability", self.names[0])
        return 0 if row is None or pd.isna(row["n"]) else int(row["n"])

    @property
    def has_arms(self) -> bool:
        return any(c["arm"] for c in self.checkpoints)

    @property
    def target(self) -> str:
        """The checkpoint that the title speaks of: the last of the safety arm, or the last of the series."""
        aligned = [str(c["name"]) for c in self.checkpoints if c["arm"] == ALIGNED_ARM]
        return aligned[-1] if aligned else self.names[-1]

    def difference(self, test: Mapping[str, str]) -> Difference:
        condition = f"{test['a']} minus {test['b']}"
        return Difference(
            str(test["a"]),
            str(test["b"]),
            str(test["kind"]),
            self.row("separability_difference", condition),
            self.row("crossfit_difference", condition),
            self.value("p_swap", condition),
            self.value("p_holm", condition),
            sum(
                self.value("separability", f"{test['a']}#{s}") > self.value("separability", f"{test['b']}#{s}")
                for s in self.seeds
            ),
            len(self.seeds),
        )

    def differences(self) -> list[Difference]:
        return [self.difference(t) for t in self.tests]


@dataclass(frozen=True, eq=False)
class Difference:
    """One tested difference: its row, the cross-fitted one, p-values, and in how many splits ``a`` lies above ``b``."""

    a: str
    b: str
    kind: str
    found: pd.Series | None
    crossfit: pd.Series | None
    p: float
    p_holm: float
    above: int
    n_splits: int

    @property
    def verdict(self) -> int:
        """1 more separable, −1 less, 0 no difference found."""
        if (
            self.found is None
            or pd.isna(self.found["value"])
            or pd.isna(self.found["ci_low"])
            or not self.p_holm <= ALPHA
        ):
            return 0
        return 1 if self.found["ci_low"] > 0 else -1 if self.found["ci_high"] < 0 else 0

    @property
    def said(self) -> str:
        """The verdict in words."""
        undecided = self.verdict == 0 and self.p_holm <= ALPHA
        return (
            "undecided"
            if undecided
            else {1: "more separable", -1: "less separable", 0: "no difference found"}[self.verdict]
        )


def contrasts(results: pd.DataFrame) -> list[str]:
    """The selections that the result has separabilities of."""
    stored = set(results.loc[results["metric"] == "separability", "contrast"])
    return [c for c in CONTRASTS if c in stored]


def compression(run: Run, results: pd.DataFrame, contrast: str) -> Compression:
    """The result for one selection."""
    method = run.manifest["method"]
    return Compression(
        tuple(method["checkpoints"]),
        tuple(method["tests"]),
        tuple(method["split_seeds"]),
        contrast,
        float(run.manifest["parameters"]["benign_limit"][contrast]),
        int(run.manifest["model"]["n_scored_weights"]),
        results,
    )


# -- the main chart -----------------------------------------------------------------------------------------------------
def role(checkpoint: Mapping[str, Any], first: str) -> str:
    """How its arm is drawn: start, aligned, control or other."""
    if checkpoint["name"] == first:
        return "start"
    return "other" if not checkpoint["arm"] else "aligned" if checkpoint["arm"] == ALIGNED_ARM else "control"


def arm_name(checkpoint: Mapping[str, Any], first: str) -> str:
    kind = role(checkpoint, first)
    if kind == "start":
        return str(checkpoint["label"])
    return {"aligned": "safety tuning", "other": "later checkpoints"}.get(kind, f"control: {checkpoint['arm']}")


def places(found: Compression) -> dict[str, int]:
    """Label of a stage → its place along training; arms share the places of equal stage and step."""
    stages = [c for c in found.checkpoints[1:] if c["arm"]]
    if not stages:
        return {str(c["label"]): i for i, c in enumerate(found.checkpoints)}
    order = list(dict.fromkeys(str(c["stage"]) for c in stages))
    labels = dict.fromkeys(
        str(c["label"]) for c in sorted(stages, key=lambda c: (order.index(str(c["stage"])), c["step"]))
    )
    return {label: i for i, label in enumerate([str(found.checkpoints[0]["label"]), *labels])}


def ladder(found: Compression, metric: str = "separability") -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per checkpoint, a line per checkpoint and seed), as ``figures.compression.ladder_chart`` takes them."""
    place, first = places(found), found.names[0]
    rows, seeds = [], []
    for c in found.checkpoints:
        row = found.row(metric, str(c["name"]))
        at = {
            "checkpoint": c["name"],
            "place": place[str(c["label"])],
            "label": c["label"],
            "arm": arm_name(c, first),
            "role": role(c, first),
        }
        rows.append(
            {
                **at,
                "value": number(row, "value"),
                "ci_low": number(row, "ci_low"),
                "ci_high": number(row, "ci_high"),
                "n": None if row is None else row["n"],
                "note": f"{c['name']}\n{_nats(row)}\n{_refuses(found, c['name'])}",
            }
        )
        for seed in found.seeds:
            own = found.row(metric, f"{c['name']}#{seed}")
            point = own if metric == "separability" else found.row("separability", f"{c['name']}#{seed}")
            chosen = (
                "nothing pruned is best"
                if point is None or pd.isna(point["q"])
                else f"at q = {text.percent(float(point['q']))}"
            )
            seeds.append(
                {
                    **at,
                    "seed": seed,
                    "value": number(own, "value"),
                    "note": f"{c['name']}, split {seed} alone\n{_nats(own)}, {chosen}",
                }
            )
    return pd.DataFrame(rows), pd.DataFrame(seeds)


def number(row: pd.Series | None, name: str) -> float:
    return math.nan if row is None or pd.isna(row[name]) else float(row[name])


def _nats(row: pd.Series | None) -> str:
    """``+0.120 nats (+0.080 … +0.160, n = 84)``"""
    if row is None or pd.isna(row["value"]):
        return text.NOT_MEASURED
    inside = [] if pd.isna(row["ci_low"]) else [text.interval(row["ci_low"], row["ci_high"], _DIGITS)]
    inside += [] if pd.isna(row["n"]) else [f"n = {int(row['n'])}"]
    return f"{text.signed(float(row['value']), _DIGITS)} nats" + (f" ({', '.join(inside)})" if inside else "")


def _refuses(found: Compression, name: str) -> str:
    value = found.value("refusal/harmful", name, selected=False)
    return "refusals not measured" if math.isnan(value) else f"refuses {100 * value:.0f} % of harmful requests"


def finding(found: Compression) -> str:
    """The result in one sentence, by the rule of this module."""
    differences = found.differences()
    start = next((d for d in differences if d.kind == "start" and d.a == found.target), None)
    if start is None or start.found is None or pd.isna(start.found["value"]):
        return "Separability was not measured on these checkpoints"
    what = "Safety tuning" if found.has_arms else f"Training up to {found.target}"
    if start.verdict == 0:
        if start.said != "undecided":
            return f"No difference found between {'safety tuning' if found.has_arms else found.target} and the start"
        shift, one = (
            text.signed(float(start.found["value"]), _DIGITS),
            "the split" if start.n_splits == 1 else f"{start.above} of {start.n_splits} splits",
        )
        return f"Undecided: {shift} nats of separability, above the start in {one}, but the interval includes 0"
    head = f"{what} makes harm {'more' if start.verdict > 0 else 'less'} separable: {text.signed(float(start.found['value']), _DIGITS)} nats against the start"
    controls = [d for d in differences if d.kind == "control" and d.a == found.target]
    if not controls or start.verdict < 0:
        return head
    more = [d for d in controls if d.verdict > 0]
    names = {str(c["name"]): str(c["arm"]) for c in found.checkpoints}
    if len(more) == len(controls):
        return f"{head}, and more than {'every control tuning' if len(more) > 1 else 'the control tuning'}"
    if not more:
        return f"{head}; no difference to the control tuning{'s' if len(controls) > 1 else ''} was found"
    return f"{head}, and more than {' and '.join(names[d.b] for d in more)} tuning; no difference to the rest was found"


def main_words(found: Compression, metric: str) -> Words:
    """Title, subtitle and reading of the main chart."""
    measure = (
        "largest harm-specific ΔL"
        if metric == "separability"
        else "harm-specific ΔL, chosen on one half of the prompts and measured on the other"
    )
    return Words(
        finding(found),
        f"Separability: {measure}, benign ΔL at most {text.signed(found.limit)}; nats per token.\n"
        f"Bar: 95 % interval over {found.n_prompts} prompts{_and_splits(found)}. Small dots: each split alone.",
        "Each mark is a checkpoint: how much likelier harmful text can be made to vanish by zeroing few weights, beyond what the same does to safe answers "
        "on the same topics, while benign text stays within the limit. Every checkpoint was scored, selected from and measured in the same way. "
        + ("Vermilion: tuned to decline harmful requests; grey: tuned as long without that. " if found.has_arms else "")
        + (
            "The maximum over a grid leans upwards, alike for all checkpoints; the cross-fitted version does not."
            if metric == "separability"
            else "Cross-fitted values can be negative."
        ),
        f"Separability of {len(found.checkpoints)} checkpoints along training. {finding(found)}",
    )


def _and_splits(found: Compression) -> str:
    return f" and {len(found.seeds)} splits" if len(found.seeds) > 1 else ", for this one split"


# -- headline -----------------------------------------------------------------------------------------------------------
def tiles(found: Compression) -> str:
    """Four numbers: the start, the target, their difference, the target against its controls."""
    start, target = found.row("separability", found.names[0]), found.row("separability", found.target)
    differences = found.differences()
    against = next((d for d in differences if d.kind == "start" and d.a == found.target), None)
    controls = [d for d in differences if d.kind == "control" and d.a == found.target and d.found is not None]
    parts = [
        _tile(f"Separability of {found.names[0]}", start, _refuses(found, found.names[0]), "currentColor"),
        _tile(f"Separability of {found.target}", target, _refuses(found, found.target), "var(--hv-harm)"),
        _tile(
            "Difference to the start", None if against is None else against.found, _judged(against), "var(--hv-harm)"
        ),
    ]
    if controls:
        weakest = min(
            controls,
            key=lambda d: float(d.found["value"]) if d.found is not None and pd.notna(d.found["value"]) else math.inf,
        )
        parts.append(_tile(f"Difference to {weakest.b}", weakest.found, _judged(weakest), "var(--hv-control)"))
    return f'<div class="hv hv-room"><div class="hv-tiles">{"".join(parts)}</div></div>'


def _tile(label: str, row: pd.Series | None, below: str, colour: str) -> str:
    known = row is not None and pd.notna(row["value"])
    number = (
        f"{text.signed(float(row['value']), _DIGITS)} <small>nats</small>"
        if row is not None and known
        else f"<small>{text.NOT_MEASURED}</small>"
    )
    interval = (
        f"{text.interval(row['ci_low'], row['ci_high'], _DIGITS)}, n = {int(row['n'])} · "
        if row is not None and known and pd.notna(row["ci_low"])
        else ""
    )
    return (
        f'<div class="hv-tile" style="--tile:{colour}"><div class="label">{explained(label)}</div>'
        f'<div class="number">{number}</div><div class="quiet small">{explained(interval + below)}</div></div>'
    )


def _judged(found: Difference | None) -> str:
    if found is None or math.isnan(found.p_holm):
        return "not tested"
    return f"corrected p-value {p_value(found.p_holm)}: {found.said}"


def p_value(value: float) -> str:
    return (
        "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    )


# -- the curves ---------------------------------------------------------------------------------------------------------
def curves(found: Compression, shift: str) -> pd.DataFrame:
    """One line per checkpoint and q, as ``figures.compression.shift_curves`` takes it."""
    first, lines = found.names[0], []
    metric, category = ("harm_specific", "harm") if shift == "specific" else ("delta_nll", shift)
    rows = found.frame[
        (found.frame["metric"] == metric)
        & (found.frame["category"] == category)
        & (found.frame["contrast"] == found.contrast)
    ]
    for c in found.checkpoints:
        same = [o for o in found.checkpoints if arm_name(o, first) == arm_name(c, first)]
        for _, row in rows[rows["condition"] == c["name"]].sort_values("q").iterrows():
            size = text.fraction_of(int(row["n_weights"]), found.n_scored)
            lines.append(
                {
                    "checkpoint": c["name"],
                    "arm": arm_name(c, first),
                    "role": role(c, first),
                    "weight": (same.index(c) + 1) / len(same),
                    "q": float(row["q"]),
                    "value": number(row, "value"),
                    "ci_low": number(row, "ci_low"),
                    "ci_high": number(row, "ci_high"),
                    "n": row["n"],
                    "note": f"{c['name']}\n{size}\n{SHIFTS[shift]}: {_nats(row)}",
                }
            )
    columns = ["checkpoint", "arm", "role", "weight", "q", "value", "ci_low", "ci_high", "n", "note"]
    return pd.DataFrame(lines, columns=columns)


def curve_words(found: Compression, shift: str) -> Words:
    """Title, subtitle and reading of the curves."""
    reached = {
        level: [n for n in found.names if not math.isnan(found.value(f"q_at_{level}", n))] for level in ("0.1", "0.2")
    }
    title = {
        "specific": f"{len(reached['0.1'])} of {len(found.names)} checkpoints reach +0.1 nats beyond their topic, {len(reached['0.2'])} reach +0.2",
        "harm": "What pruning does to harmful answers, checkpoint by checkpoint",
        "safe": "What the same masks do to safe answers on the same topics",
        "benign": f"What the same masks cost on benign answers; the limit is {text.signed(found.limit)}",
    }[shift]
    return Words(
        title,
        f"{_SHIFT_NAMES[shift]}, nats per token; masks {CONTRASTS[found.contrast]}; 95 % interval over prompts{_and_splits(found)}.",
        "Each line is a checkpoint, pruned at the measured fractions only; lines between the marks guide the eye. Later checkpoints of an arm are drawn stronger. "
        "Dotted: the thresholds of +0.1 and +0.2 nats, or the benign limit.",
        f"Lines of {SHIFTS[shift]} loss shift over the fraction pruned, one a checkpoint. {title}",
    )


# -- what the masks share -----------------------------------------------------------------------------------------------
def overlap(found: Compression) -> pd.DataFrame:
    """One line per checkpoint, kind and seed (None: their mean), as ``figures.compression.overlap_ladder`` takes it."""
    kinds = {
        "harm": ("jaccard_half", "mean over pairs of harm types"),
        "ceiling": ("jaccard_ceiling", "two halves of one type, mean over types"),
        "chance": ("jaccard_chance", "pairs of types, full masks, shuffled within matrices"),
    }
    lines = []
    for c in found.checkpoints:
        for kind, (metric, says) in kinds.items():
            for seed in (None, *found.seeds):
                row = found.row(metric, str(c["name"]) if seed is None else f"{c['name']}#{seed}")
                value = number(row, "value")
                shown = text.NOT_MEASURED if math.isnan(value) else text.percent(value)
                where = "mean over splits" if seed is None else f"split {seed}"
                lines.append(
                    {
                        "checkpoint": c["name"],
                        "kind": kind,
                        "seed": seed,
                        "value": value,
                        "q": number(row, "q"),
                        "note": f"{c['name']}, {where}\n{says}\nJaccard {shown}",
                    }
                )
    return pd.DataFrame(lines)


def overlap_words(found: Compression) -> Words:
    """Title, subtitle and reading of the overlap along the ladder."""
    start, target = (found.value("jaccard_half", n) for n in (found.names[0], found.target))
    row = found.row("jaccard_half", found.names[0])
    size = (
        ""
        if row is None or pd.isna(row["q"])
        else f"{text.fraction_of(int(float(row['q']) * found.n_scored), found.n_scored)} each; "
    )
    title = "What the harm types' own masks share along training"
    if not math.isnan(start) and not math.isnan(target):
        title = f"Harm types share {text.percent(start)} of their masks at {found.names[0]}, {text.percent(target)} at {found.target}"
    return Words(
        title,
        f"Mean Jaccard of half-sample masks; {size}n = {'?' if row is None or pd.isna(row['n']) else int(row['n'])} scoring answers a split. Small dots: each split.",
        "Vermilion: masks of two different harm types, each from half of its answers. Hollow: the two halves of one type, which no pair can be expected to exceed. "
        "Grey: chance. Compare vermilion with hollow at the same checkpoint. These are single selections: the spread of the dots is the only measure of their uncertainty.",
        f"Overlap of harm types' masks, ceiling and chance at each checkpoint. {title}",
    )


def other_selections(run: Run, results: pd.DataFrame, shown: str) -> str:
    """What the selections that are not shown find, a line each, so that no choice of selection hides a result."""
    lines = [
        f"Selected {CONTRASTS[c]}: {finding(compression(run, results, c))}." for c in contrasts(results) if c != shown
    ]
    return "".join(f'<div class="hv hv-note">{explained(line)}</div>' for line in lines)


def paper() -> str:
    """The paper's claim, as a note."""
    return f'<div class="hv hv-note">{explained(PAPER)}</div>'


def notes_list(run: Run, found: Compression) -> str:
    """What a reader must know to judge the result."""
    test = "all swappings" if found.n_prompts <= 12 else "10,000 random swappings"
    lines = [
        f"The test: for every prompt, the shifts of the two checkpoints are swapped at random, all splits at once, and everything is computed again, the choice of the fraction included ({test}, two-sided). "
        f"p-values are corrected by Holm's method over the {len(found.tests)} tests of this selection. They speak for these checkpoints; the interval also varies {'the splits and their tuning seeds' if len(found.seeds) > 1 else 'the prompts'}.",
        "“More” or “less” is said only where the interval leaves out 0 and the corrected p-value is at most 0.05; “undecided” where only the p-value is.",
        *(f"Note: {n}." for n in run.manifest["method"].get("notes", [])),
        "Protection rests on benign answers written by others alone; the model's own would differ between checkpoints.",
    ]
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(str(line))}</li>" for line in lines)}</ul>'
