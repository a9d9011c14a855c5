"""The numbers and words of the overlap charts, from a run's stored rows. Pure functions; nothing here draws.

Two kinds of Jaccard stand in the rows. ``jaccard`` compares the full masks; it is the best estimate and has no interval.
``jaccard_half`` compares masks that rest on half the scoring answers, four pairings of halves; it is what may be compared
with the ceiling, the two halves of one set. Whatever sets are compared here are compared half with half.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.display.text import is_harm
from harmviz.display.words import Words
from harmviz.masks.lists import BASELINES

#: Ratios nearer to 1 than this are called "about as much": no interval says that they differ.
_ALIKE = 1.25
_SHORT = {"safe": "same topic, no harm", "benign": "benign, by others"}
_ANSWERS = {"safe": "same-topic safe answers", "benign": "benign answers"}


@dataclass(frozen=True)
class Overlap:
    """The overlap of one selection at one q.

    ``pairs``: ``a``, ``b``, ``jaccard``, ``intersection``, ``times_chance``, ``chance``, ``chance_low``, ``chance_high``,
    ``half``, ``half_low``, ``half_high``, ``relative`` (half over the geometric mean of both ceilings), ``n_a``, ``n_b``,
    ``q``, ``p``. ``ceiling``: set → split-half Jaccard, ``n``: set → scoring answers. ``core``: ``k``, ``observed``,
    ``shuffled``, ``low``, ``high``.
    """

    categories: tuple[str, ...]
    baselines: tuple[str, ...]
    pairs: pd.DataFrame
    ceiling: dict[str, float]
    n: dict[str, int]
    core: pd.DataFrame
    contrast: str
    q: float
    p: float

    def between(self, kind: str) -> pd.DataFrame:
        """The pairs of two harm types (``harm``), or of a harm type with a baseline (``safe``, ``benign``)."""
        other = self.pairs["b"].map(is_harm) if kind == "harm" else self.pairs["b"] == kind
        return self.pairs[self.pairs["a"].map(is_harm) & other]

    def half_mean(self, kind: str) -> float:
        """Mean half-sample Jaccard of these pairs; NaN where there is none."""
        return float(self.between(kind)["half"].mean())

    def relative_mean(self, kind: str) -> float:
        """Mean of ``relative`` over these pairs: what they share, as a share of what each set shares with itself."""
        return float(self.between(kind)["relative"].mean())

    @property
    def mean_ceiling(self) -> float:
        """Mean split-half Jaccard of the harm types; NaN where there is none."""
        return float(pd.Series([self.ceiling.get(c) for c in self.categories], dtype=float).mean())


def points(results: pd.DataFrame) -> dict[str, list[float]]:
    """Selection → the fractions q at which overlap was stored, ascending."""
    rows = results[(results["experiment"] == "overlap") & (results["metric"] == "jaccard")]
    return {str(c): sorted({float(q) for q in part["q"].dropna()}) for c, part in rows.groupby("contrast", sort=False)}


def overlap_at(results: pd.DataFrame, contrast: str, q: float) -> Overlap:
    """The stored overlap of this selection at this q (one of ``points``)."""
    rows = results[(results["experiment"] == "overlap") & (results["contrast"] == contrast) & (results["q"] == q)]
    # Single sets only: the ceiling of the headline mask, mean(all), may have been stored at the same q.
    ceilings = rows[(rows["metric"] == "jaccard_ceiling") & ~rows["mask"].str.contains("(", regex=False, na=True)]
    ceiling = {str(r["mask"]): float(r["value"]) for _, r in ceilings.iterrows() if pd.notna(r["value"])}
    n = {str(r["mask"]): int(r["n"]) for _, r in ceilings.iterrows() if pd.notna(r["n"])}
    jaccard = rows[rows["metric"] == "jaccard"]
    names = [str(v) for pair in zip(jaccard["mask"], jaccard["category"], strict=True) for v in pair]
    categories = tuple(dict.fromkeys(name for name in [*ceiling, *names] if is_harm(name)))
    by_pair = {
        m: part.drop_duplicates(["mask", "category"]).set_index(["mask", "category"])
        for m, part in rows.groupby("metric")
    }
    index = by_pair["jaccard"].index

    def column(metric: str, name: str = "value") -> pd.Series:
        table = by_pair.get(metric)
        return pd.Series(math.nan, index=index) if table is None else table[name].reindex(index).astype(float)

    pairs = (
        pd.DataFrame(
            {
                "jaccard": column("jaccard"),
                "intersection": column("intersection"),
                "times_chance": column("times_chance"),
                "chance": column("jaccard_chance"),
                "chance_low": column("jaccard_chance", "ci_low"),
                "chance_high": column("jaccard_chance", "ci_high"),
                "half": column("jaccard_half"),
                "half_low": column("jaccard_half", "ci_low"),
                "half_high": column("jaccard_half", "ci_high"),
                "q": q,
                "p": column("jaccard", "p"),
            }
        )
        .rename_axis(["a", "b"])
        .reset_index()
    )
    roots = (pairs["a"].map(ceiling).astype(float) * pairs["b"].map(ceiling).astype(float)) ** 0.5
    pairs = pairs.assign(relative=pairs["half"] / roots.where(roots > 0), n_a=pairs["a"].map(n), n_b=pairs["b"].map(n))
    baselines = tuple(b for b in reversed(BASELINES) if b in set(names))
    return Overlap(categories, baselines, pairs, ceiling, n, _core(rows), contrast, q, float(pairs["p"].iloc[0]))


def _core(rows: pd.DataFrame) -> pd.DataFrame:
    core = rows[rows["metric"] == "core_size"].assign(
        k=lambda t: t["condition"].str.extract(r"(\d+)$", expand=False).astype(int)
    )
    seen = core[core["control"] == "none"].set_index("k")
    shuffles = core[core["control"] == "random"].set_index("k")
    return (
        pd.DataFrame(
            {
                "observed": seen["value"],
                "shuffled": shuffles["value"],
                "low": shuffles["ci_low"],
                "high": shuffles["ci_high"],
            }
        )
        .astype(float)
        .dropna(subset=["observed"])
        .sort_index()
        .rename_axis("k")
        .reset_index()
    )


# -- the grid -------------------------------------------------------------------------------------------------------
def grid_cells(found: Overlap) -> pd.DataFrame:
    """One line per cell of the grid, as ``figures.overlap.jaccard_grid`` takes it."""
    by_pair = {frozenset((str(r["a"]), str(r["b"]))): r for _, r in found.pairs.iterrows()}
    lines = []
    for a in found.categories:
        for b in (*found.categories, *found.baselines):
            same, pair = a == b, by_pair.get(frozenset((a, b)))
            value = math.nan if pair is None else float(pair["jaccard"])
            lines.append(
                {
                    "row": text.set_name(a),
                    "column": short_name(b),
                    "harm": is_harm(b),
                    "ceiling": same,
                    "value": value,
                    "text": f"halves\n{_share(found.ceiling.get(a))}" if same else _cell(pair),
                    "note": _ceiling_note(found, a) if same else _pair_note(pair),
                    "jaccard_ceiling": found.ceiling.get(a) if same else None,
                    **(
                        {}
                        if pair is None
                        else {k: pair[k] for k in found.pairs.columns if k not in ("a", "b", "jaccard")}
                    ),
                }
            )
    return pd.DataFrame(lines)


def short_name(category: str) -> str:
    """``text.set_name`` as it fits above a column."""
    return _SHORT.get(category, text.set_name(category))


def _share(value: float | None) -> str:
    """``2.0 %``: two significant digits, so that a column of them lines up."""
    if value is None or pd.isna(value):
        return "–"
    return "0 %" if value == 0 else f"{100 * value:.{max(0, 1 - math.floor(math.log10(abs(100 * value))))}f} %"


def times(value: float | None) -> str:
    """``69 ×``; "–" where chance is 0 and no ratio exists."""
    if value is None or pd.isna(value):
        return "–"
    return f"{value:,.0f} ×" if value >= 9.95 else f"{value:.1f} ×"


def _cell(pair: pd.Series | None) -> str:
    return "" if pair is None else f"{_share(pair['jaccard'])}\n{times(pair['times_chance'])}"


def _pair_note(pair: pd.Series | None) -> str:
    if pair is None:
        return text.NOT_MEASURED
    return (
        f"{text.set_name(str(pair['a']))} and {text.set_name(str(pair['b']))}\n"
        f"Jaccard {_share(pair['jaccard'])}: {_count(pair['intersection'])} weights in both\n"
        f"chance {_share(pair['chance'])}, 95 % of shuffles {_share(pair['chance_low'])} … {_share(pair['chance_high'])}: {times(pair['times_chance'])} chance\n"
        f"half-sample masks {_share(pair['half'])}, pairings {_share(pair['half_low'])} … {_share(pair['half_high'])}\n"
        f"n = {_count(pair['n_a'])} and {_count(pair['n_b'])} scoring answers"
    )


def _ceiling_note(found: Overlap, category: str) -> str:
    return (
        f"{text.set_name(category)}, two halves of its answers\nceiling: Jaccard {_share(found.ceiling.get(category))}\n"
        f"n = {_count(found.n.get(category))} scoring answers in all"
    )


def _count(value: float | None) -> str:
    return "?" if value is None or pd.isna(value) else text.count(int(value))


def between(values: Iterable[int]) -> str:
    """``17–24``, or ``24`` where all are alike."""
    known = sorted(values)
    return (
        "?"
        if not known
        else text.count(known[0])
        if known[0] == known[-1]
        else f"{text.count(known[0])}–{text.count(known[-1])}"
    )


def n_types(found: Overlap) -> str:
    """Scoring answers per harm type: ``17–24``."""
    return between(found.n[c] for c in found.categories if c in found.n)


def grid_words(found: Overlap, size: str) -> Words:
    """Title, subtitle and reading of the grid; ``size`` says how large the masks are."""
    return Words(
        finding(found),
        f"Jaccard of the full masks, and how many times chance. Dotted: two halves of one type.\n{size} each, {text.percent(found.p)} protected, n = {n_types(found)} scoring answers a type.",
        "Each cell: what the masks of two sets have in common, and that over chance, which shuffles each mask within its matrices. Colour is the "
        "Jaccard, on a scale of this selection only. Dotted cells hold the ceiling, two halves of one type: those masks rest on half the answers, so "
        "compare them in the chart below, not here. A full mask is one selection: no interval is claimed.",
        f"Grid of Jaccard overlaps between the masks of {len(found.categories)} harm types and harmless text. {finding(found)}",
    )


# -- like with like -------------------------------------------------------------------------------------------------
def comparison(found: Overlap) -> pd.DataFrame:
    """One line per pair, grouped by kind, as ``figures.overlap.like_with_like`` takes it: half-sample masks throughout.

    Chance is that of the full masks, which hold as many weights.
    """
    lines: list[dict[str, object]] = []
    for kind, label in (
        ("harm", "harm type with harm type"),
        *((b, f"harm type with {_ANSWERS[b]}") for b in found.baselines),
    ):
        for _, pair in found.between(kind).iterrows():
            lines.append(
                {
                    "group": label,
                    "kind": "harm" if kind == "harm" else "text",
                    "a": pair["a"],
                    "b": pair["b"],
                    "value": pair["half"],
                    "low": pair["half_low"],
                    "high": pair["half_high"],
                    "relative": pair["relative"],
                    "note": _pair_note(pair),
                    "n_a": pair["n_a"],
                    "n_b": pair["n_b"],
                }
            )
    for category in found.categories:
        if category in found.ceiling:
            lines.append(
                {
                    "group": "ceiling: a type with itself",
                    "kind": "ceiling",
                    "a": category,
                    "b": category,
                    "value": found.ceiling[category],
                    "note": _ceiling_note(found, category),
                    "n_a": found.n.get(category),
                    "n_b": found.n.get(category),
                }
            )
    for _, pair in found.between("harm").iterrows():
        lines.append(
            {
                "group": "chance: harm types shuffled",
                "kind": "chance",
                "a": pair["a"],
                "b": pair["b"],
                "value": pair["chance"],
                "low": pair["chance_low"],
                "high": pair["chance_high"],
                "note": _pair_note(pair),
                "n_a": pair["n_a"],
                "n_b": pair["n_b"],
            }
        )
    table = pd.DataFrame(
        lines, columns=["group", "kind", "a", "b", "value", "low", "high", "relative", "note", "n_a", "n_b"]
    )
    table[["value", "low", "high", "relative"]] = table[["value", "low", "high", "relative"]].astype(float)
    table = table[table["value"].notna()].assign(mean=lambda t: t.groupby("group")["value"].transform("mean"))
    counts = table.groupby("group")["value"].transform("size")
    units = table["kind"].map({"ceiling": "type"}).fillna("pair")
    return table.assign(
        mean_text=[
            f"mean {_share(m)} · {c} {u}{'' if c == 1 else 's'}"
            for m, c, u in zip(table["mean"], counts, units, strict=True)
        ]
    ).reset_index(drop=True)


def comparison_words(found: Overlap) -> Words:
    """Title, subtitle and reading of the comparison."""
    relative = found.relative_mean("harm")
    title = "How much is that? Half-sample masks, like with like"
    if not math.isnan(relative):
        title = f"Two harm types share {100 * relative:.0f} % of what each shares with itself"
    return Words(
        title,
        "Half-sample masks throughout; 100 % would be the geometric mean of the two ceilings. Ink tick: mean of the line.",
        "Each dot is a pair; its line spans the lowest to the highest of the four pairings of halves. That is a range, no confidence interval. "
        + (
            "Vermilion to the right of blue is built into this selection: read vermilion against ceiling and chance. "
            if found.contrast == "both"
            else "Vermilion to the right of blue: harm shares something that other text does not. "
        )
        + "Chance is that of the full masks, with its 95 % range over shuffles.",
        "Strip chart of half-sample overlaps: harm with harm, with harmless text, the ceiling, and chance. " + title,
    )


# -- what it says ---------------------------------------------------------------------------------------------------
def finding(found: Overlap) -> str:
    """The overlap in one sentence, from the means over pairs.

    Selected as in the paper, the yardstick is other text; a contrastive mask leaves other text out by construction, so
    that chance and ceiling are its yardsticks.
    """
    harm, relative = found.half_mean("harm"), found.relative_mean("harm")
    if len(found.categories) < 2 or math.isnan(harm):
        return "Only one harm type was scored: what types share cannot be told"
    texts = {b: found.half_mean(b) for b in found.baselines if not math.isnan(found.half_mean(b))}
    if found.contrast == "none" and texts:
        name = max(texts, key=lambda b: texts[b])
        if texts[name] * _ALIKE < harm:
            return f"Harm types share more weights with each other than with {_ANSWERS[name]}"
        if harm * _ALIKE < texts[name]:
            return f"Harm types share fewer weights with each other than with {_ANSWERS[name]}"
        return f"Harm types share about as many weights with each other as with {_ANSWERS[name]}"
    chance = times(float(found.between("harm")["times_chance"].mean()))
    end = "" if math.isnan(relative) else f": {100 * relative:.0f} % of what a type shares with itself"
    return f"Harm types overlap at {chance} chance{end}"


def notes(found: Overlap) -> list[str]:
    """What a reader must know to judge the overlap, each sentence with its numbers."""
    lines: list[str] = []
    means = [("each other", "harm"), *((_ANSWERS[b], b) for b in found.baselines)]
    told = [f"{name} {_share(found.half_mean(kind))}" for name, kind in means if not math.isnan(found.half_mean(kind))]
    if told:
        ceiling = f"; a type with itself (the ceiling) {_share(found.mean_ceiling)}" if found.mean_ceiling >= 0 else ""
        lines.append(f"Mean Jaccard of half-sample masks, harm types with: {'; '.join(told)}{ceiling}.")
    ahead = _ahead(found)
    if ahead:
        lines.append(ahead)
    relative = {kind: found.relative_mean(kind) for _, kind in means}
    known = {kind: value for kind, value in relative.items() if not math.isnan(value)}
    baseline_n = [found.n[b] for b in found.baselines if b in found.n]
    if len(known) > 1 and baseline_n:
        told = [
            f"{'each other' if kind == 'harm' else _ANSWERS[kind]} {100 * value:.0f} %" for kind, value in known.items()
        ]
        lines.append(
            f"A mask from more text is steadier and overlaps more with anything (n = {between(baseline_n)} harmless answers against {n_types(found)} a harm type). "
            f"Relative to what the two sets share with themselves (geometric mean of their ceilings), harm types share with: {'; '.join(told)}."
        )
    if found.contrast == "both" and found.baselines:
        lines.append(
            "The contrastive selection drops weights that support harmless text, so hardly any overlap with it is built in and is no finding. "
            "What counts here is harm with harm, beside chance and ceiling."
        )
    if 0 <= found.mean_ceiling < 0.05:
        lines.append(
            f"Two halves of one type agree on only {_share(found.mean_ceiling)} of their weights: with so few answers, which weights are chosen depends "
            "much on which answers were scored. Overlap between types then understates what they have in common; see Transfer for what the masks do."
        )
    return lines


def notes_list(found: Overlap) -> str:
    """``notes`` as a list."""
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(line)}</li>" for line in notes(found))}</ul>'


def _ahead(found: Overlap) -> str:
    """For how many types the overlap with the other types exceeds that with same-topic safe answers."""
    if "safe" not in found.baselines or len(found.categories) < 2:
        return ""
    harm, safe = found.between("harm"), found.between("safe").set_index("a")["half"]
    own = {c: float(harm[(harm["a"] == c) | (harm["b"] == c)]["half"].mean()) for c in found.categories}
    judged = [c for c in found.categories if c in safe.index and not math.isnan(own[c]) and not math.isnan(safe[c])]
    more = sum(own[c] > safe[c] for c in judged)
    return (
        f"{more} of {len(judged)} types share more with the other harm types than with same-topic safe answers."
        if judged
        else ""
    )
