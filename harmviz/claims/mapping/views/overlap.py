"""What the masks of two sets have in common, from a run's stored rows. Pure functions; nothing here draws.

Two kinds of Jaccard stand in the rows. ``jaccard`` compares the full masks; it is the best estimate and has no
interval. ``jaccard_half`` compares masks that rest on half the scoring answers, four pairings of halves; it is what may
be compared with the ceiling, the two halves of one set. Whatever sets are compared here are compared half with half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from harmviz.claims.mapping.sham_overlap import WORDS, Sham, shams_at
from harmviz.data.categories import is_combined
from harmviz.display import text
from harmviz.display.text import is_harm
from harmviz.masks.lists import BASELINES

#: Sets of harmless answers as a sentence names them.
ANSWERS = {"safe": "same-topic safe answers", "benign": "benign answers"}
_SHORT = {"safe": "same topic, no harm", "benign": "benign, by others"}


@dataclass(frozen=True)
class Overlap:
    """The overlap of one selection at one q.

    ``pairs``: ``a, b, jaccard, intersection, times_chance, chance, chance_low, chance_high, half, half_low, half_high,
    relative`` (half over the geometric mean of both ceilings), ``n_a, n_b, q, p``. ``ceiling``: set → split-half
    Jaccard, ``n``: set → scoring answers. ``core``: ``k, observed, shuffled, low, high``, and a column a kind of
    ``shams``, the types that are none (``sham_overlap``; empty where the run has none of this selection).
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
    shams: Mapping[str, Sham]

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


def _of_types(results: pd.DataFrame) -> pd.DataFrame:
    """The rows about overlap of the sets themselves; sham types are the null beside them."""
    return results[(results["experiment"] == "overlap") & (results["control"] != "sham")]


def points(results: pd.DataFrame) -> dict[str, list[float]]:
    """Selection → the fractions q at which overlap was stored, ascending."""
    rows = _of_types(results)
    rows = rows[rows["metric"] == "jaccard"]
    return {str(c): sorted({float(q) for q in part["q"].dropna()}) for c, part in rows.groupby("contrast", sort=False)}


def overlap_at(results: pd.DataFrame, contrast: str, q: float) -> Overlap:
    """The stored overlap of this selection at this q (one of ``points``)."""
    rows = _of_types(results)
    rows = rows[(rows["contrast"] == contrast) & (rows["q"] == q)]
    # Single sets only: the ceiling of the headline mask, mean(all), may have been stored at the same q.
    single = rows["mask"].map(lambda name: isinstance(name, str) and not is_combined(name)).astype(bool)
    ceilings = rows[(rows["metric"] == "jaccard_ceiling") & single]
    ceiling = {str(r["mask"]): float(r["value"]) for _, r in ceilings.iterrows() if pd.notna(r["value"])}
    n = {str(r["mask"]): int(r["n"]) for _, r in ceilings.iterrows() if pd.notna(r["n"])}
    jaccard = rows[rows["metric"] == "jaccard"]
    names = [str(v) for pair in zip(jaccard["mask"], jaccard["category"], strict=True) for v in pair]
    categories = tuple(dict.fromkeys(name for name in [*ceiling, *names] if is_harm(name)))
    keys = ["mask", "category"]
    by_pair = {metric: part.drop_duplicates(keys).set_index(keys) for metric, part in rows.groupby("metric")}
    index = by_pair["jaccard"].index

    def column(metric: str, name: str = "value") -> pd.Series:
        table = by_pair.get(metric)
        return pd.Series(math.nan, index=index) if table is None else table[name].reindex(index).astype(float)

    columns = {
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
    pairs = pd.DataFrame(columns).rename_axis(["a", "b"]).reset_index()
    roots = (pairs["a"].map(ceiling).astype(float) * pairs["b"].map(ceiling).astype(float)) ** 0.5
    pairs = pairs.assign(relative=pairs["half"] / roots.where(roots > 0), n_a=pairs["a"].map(n), n_b=pairs["b"].map(n))
    baselines = tuple(b for b in reversed(BASELINES) if b in set(names))
    shams = shams_at(results, contrast, q)
    core = _core(rows).assign(**{f"sham_{kind}": math.nan for kind in shams})
    for kind, sham in shams.items():
        core[f"sham_{kind}"] = core["k"].map(dict(sham.core)).astype(float)
    return Overlap(categories, baselines, pairs, ceiling, n, core, contrast, q, float(pairs["p"].iloc[0]), shams)


def _core(rows: pd.DataFrame) -> pd.DataFrame:
    """``k``, and how many weights lie in at least k masks: ``observed``, and under shuffles ``shuffled, low, high``."""
    core = rows[rows["metric"] == "core_size"]
    core = core.assign(k=core["condition"].str.extract(r"(\d+)$", expand=False).astype(int))
    seen = core[core["control"] == "none"].set_index("k")
    shuffles = core[core["control"] == "random"].set_index("k")
    columns = {
        "observed": seen["value"],
        "shuffled": shuffles["value"],
        "low": shuffles["ci_low"],
        "high": shuffles["ci_high"],
    }
    sizes = pd.DataFrame(columns).astype(float).dropna(subset=["observed"])
    return sizes.sort_index().rename_axis("k").reset_index()


# -- the grid -------------------------------------------------------------------------------------------------------
def grid_cells(shared: Overlap) -> pd.DataFrame:
    """One line per cell of the grid, as ``figures.overlap.jaccard_grid`` takes it."""
    by_pair = {frozenset((str(r["a"]), str(r["b"]))): r for _, r in shared.pairs.iterrows()}
    beside = [name for name in shared.pairs.columns if name not in ("a", "b", "jaccard")]
    lines = []
    for a in shared.categories:
        for b in (*shared.categories, *shared.baselines):
            same, pair = a == b, by_pair.get(frozenset((a, b)))
            ceiling = shared.ceiling.get(a)
            lines.append(
                {
                    "row": text.set_name(a),
                    "column": short_name(b),
                    "harm": is_harm(b),
                    "ceiling": same,
                    "value": math.nan if pair is None else float(pair["jaccard"]),
                    "text": f"halves\n{share(ceiling)}" if same else _cell(pair),
                    "note": _ceiling_note(shared, a) if same else _pair_note(pair),
                    "jaccard_ceiling": ceiling if same else None,
                    **({} if pair is None else pair[beside].to_dict()),
                }
            )
    return pd.DataFrame(lines)


def short_name(category: str) -> str:
    """``text.set_name`` as it fits above a column."""
    return _SHORT.get(category, text.set_name(category))


def share(value: float | None) -> str:
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
    return "" if pair is None else f"{share(pair['jaccard'])}\n{times(pair['times_chance'])}"


def _pair_note(pair: pd.Series | None) -> str:
    if pair is None:
        return text.NOT_MEASURED
    shuffles = f"{share(pair['chance_low'])} … {share(pair['chance_high'])}"
    return (
        f"{text.set_name(str(pair['a']))} and {text.set_name(str(pair['b']))}\n"
        f"Jaccard {share(pair['jaccard'])}: {_count(pair['intersection'])} weights in both\n"
        f"chance {share(pair['chance'])}, 95 % of shuffles {shuffles}: {times(pair['times_chance'])} chance\n"
        f"half-sample masks {share(pair['half'])}, pairings {share(pair['half_low'])} … {share(pair['half_high'])}\n"
        f"n = {_count(pair['n_a'])} and {_count(pair['n_b'])} scoring answers"
    )


def _ceiling_note(shared: Overlap, category: str) -> str:
    return (
        f"{text.set_name(category)}, two halves of its answers\n"
        f"ceiling: Jaccard {share(shared.ceiling.get(category))}\n"
        f"n = {_count(shared.n.get(category))} scoring answers in all"
    )


def _count(value: float | None) -> str:
    return "?" if value is None or pd.isna(value) else text.count(int(value))


# -- like with like -------------------------------------------------------------------------------------------------
_COLUMNS = ["group", "kind", "a", "b", "value", "low", "high", "relative", "note", "n_a", "n_b"]


def comparison(shared: Overlap) -> pd.DataFrame:
    """One line per pair, grouped by kind, as ``figures.overlap.like_with_like`` takes it: half-sample masks throughout.

    Chance is that of the full masks, which hold as many weights.
    """
    lines: list[dict[str, object]] = []
    kinds = {"harm": "harm type with harm type"} | {b: f"harm type with {ANSWERS[b]}" for b in shared.baselines}
    for other, group in kinds.items():
        for _, pair in shared.between(other).iterrows():
            kind = "harm" if other == "harm" else "text"
            lines.append(_pair_line(pair, group, kind, "half") | {"relative": pair["relative"]})
    for category in (c for c in shared.categories if c in shared.ceiling):
        n = shared.n.get(category)
        lines.append(
            {
                "group": "ceiling: a type with itself",
                "kind": "ceiling",
                "a": category,
                "b": category,
                "value": shared.ceiling[category],
                "note": _ceiling_note(shared, category),
                "n_a": n,
                "n_b": n,
            }
        )
    for kind, sham in shared.shams.items():
        for _, pair in sham.pairs.iterrows():
            line = _pair_line(pair, f"sham types: {WORDS[kind]}", "chance", "half")
            lines.append(line | {"relative": pair["relative"], "note": _sham_note(pair)})
    for _, pair in shared.between("harm").iterrows():
        lines.append(_pair_line(pair, "chance: harm types shuffled", "chance", "chance"))
    table = pd.DataFrame(lines, columns=_COLUMNS)
    table[["value", "low", "high", "relative"]] = table[["value", "low", "high", "relative"]].astype(float)
    table = table[table["value"].notna()].assign(mean=lambda t: t.groupby("group")["value"].transform("mean"))
    counts = table.groupby("group")["value"].transform("size")
    units = table["kind"].map({"ceiling": "type"}).fillna("pair")
    means = zip(table["mean"], counts, units, strict=True)
    words = [f"mean {share(mean)} · {count} {unit}{'' if count == 1 else 's'}" for mean, count, unit in means]
    return table.assign(mean_text=words).reset_index(drop=True)


def _sham_note(pair: pd.Series) -> str:
    return (
        f"{pair['a']} and {pair['b']}, types that are none\n"
        f"half-sample masks {share(pair['half'])}, pairings {share(pair['half_low'])} … {share(pair['half_high'])}\n"
        f"n = {_count(pair['n_a'])} and {_count(pair['n_b'])} scoring answers"
    )


def _pair_line(pair: pd.Series, group: str, kind: str, value: str) -> dict[str, object]:
    """A line for one pair; ``value`` names the columns of the number and of its ends."""
    return {
        "group": group,
        "kind": kind,
        "a": pair["a"],
        "b": pair["b"],
        "value": pair[value],
        "low": pair[f"{value}_low"],
        "high": pair[f"{value}_high"],
        "note": _pair_note(pair) if "chance" in pair else "",
        "n_a": pair["n_a"],
        "n_b": pair["n_b"],
    }
