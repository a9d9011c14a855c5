"""Overlap and core of types that are none, from a run's stored rows, and whether harm types stand out from them.

Two kinds (``shams``): ``shuffled``, the same harmful answers dealt to as many types of the same sizes at random, and
``topics``, harmless answers by task. Read them so: types that hang on one mechanism share about as much as dealt ones,
which differ in nothing; types of their own share less. And what topics of harmless text share, any kinds of text share.

The rule: harm types *stand out from topics* where both their mean half-sample Jaccard and that over the geometric mean
of both ceilings (which takes out that masks from more answers are steadier) are at least ``CLEARLY`` times the topics'.
They *share as much as dealt ones* where their mean half-sample Jaccard is at least the dealt ones' over ``CLEARLY``.
A core *stands out* where ``k`` harm types drawn at random have more weights in common than ``k`` sham types.
No torch, no Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import comb

import pandas as pd

from harmviz.display import text

SHUFFLED, TOPICS = "shuffled", "topics"
#: What a sham type's name begins with in rows.
PREFIX = {SHUFFLED: "shuffled ", TOPICS: "topic "}
#: Kind → as a sentence names it.
WORDS = {SHUFFLED: "the same answers dealt at random", TOPICS: "topics of harmless text"}
#: What stands where a run has none.
NO_SHAM = "No sham types were measured in this run."
#: Ratios nearer to 1 than this are called alike: no interval says that they differ.
CLEARLY = 1.25


@dataclass(frozen=True)
class Sham:
    """The sham types of one kind at one selection and q.

    Attributes:
        kind: ``shuffled`` or ``topics``. names: the types, as rows name them.
        pairs: ``a, b, jaccard, half, half_low, half_high, relative, n_a, n_b``; half over the mean ceiling is
            ``relative``.
        ceiling: type → split-half Jaccard. core: ``k`` → weights in at least so many masks.
    """

    kind: str
    names: tuple[str, ...]
    pairs: pd.DataFrame
    ceiling: Mapping[str, float]
    core: Mapping[int, float]

    @property
    def half(self) -> float:
        """Mean half-sample Jaccard; NaN where it is unknown."""
        return float(self.pairs["half"].mean())

    @property
    def relative(self) -> float:
        """Mean of what two types share over what each shares with itself; NaN where it is unknown."""
        return float(self.pairs["relative"].mean())


def shams_at(results: pd.DataFrame, contrast: str, q: float) -> dict[str, Sham]:
    """Kind → the sham types that the run measured at this selection and q; empty where it has none."""
    rows = results[(results["experiment"] == "overlap") & (results["control"] == "sham")]
    rows = rows[(rows["contrast"] == contrast) & (rows["q"] == q) & rows["value"].notna()]
    of_kind = {kind: _sham(rows, kind) for kind in PREFIX}
    return {kind: sham for kind, sham in of_kind.items() if len(sham.pairs)}


def _sham(rows: pd.DataFrame, kind: str) -> Sham:
    names = rows["mask"].astype(str)
    own = rows[names.str.startswith(PREFIX[kind])]
    ceilings = own[own["metric"] == "jaccard_ceiling"].drop_duplicates("mask")
    ceiling = {str(r["mask"]): float(r["value"]) for _, r in ceilings.iterrows()}
    n = {str(r["mask"]): r["n"] for _, r in ceilings.iterrows()}
    halves = own[own["metric"] == "jaccard_half"].drop_duplicates(["mask", "category"])
    full = (
        own[own["metric"] == "jaccard"].drop_duplicates(["mask", "category"]).set_index(["mask", "category"])["value"]
    )
    lines = []
    for _, row in halves.iterrows():
        a, b = str(row["mask"]), str(row["category"])
        root = math.sqrt(ceiling.get(a, math.nan) * ceiling.get(b, math.nan))
        lines.append(
            {
                "a": a,
                "b": b,
                "jaccard": float(full.get((a, b), math.nan)),
                "half": float(row["value"]),
                "half_low": row["ci_low"],
                "half_high": row["ci_high"],
                "relative": float(row["value"]) / root if root > 0 else math.nan,
                "n_a": n.get(a),
                "n_b": n.get(b),
            }
        )
    cores = rows[(names == f"all {kind}") & (rows["metric"] == "core_size")]
    core = {int(str(r["condition"]).removeprefix("k>=")): float(r["value"]) for _, r in cores.iterrows()}
    columns = ["a", "b", "jaccard", "half", "half_low", "half_high", "relative", "n_a", "n_b"]
    pairs = pd.DataFrame(lines, columns=columns)
    return Sham(kind, tuple(dict.fromkeys([*ceiling, *pairs["a"], *pairs["b"]])), pairs, ceiling, core)


# -- the rules --------------------------------------------------------------------------------------------------------
def beyond_topics(half: float, relative: float, shams: Mapping[str, Sham]) -> bool | None:
    """Whether harm types with these means stand out from topics of harmless text; None where it cannot be told."""
    topics = shams.get(TOPICS)
    if topics is None or math.isnan(half) or math.isnan(topics.half):
        return None
    clear = half >= CLEARLY * topics.half and half > 0
    if not math.isnan(relative) and not math.isnan(topics.relative):
        clear = clear and relative >= CLEARLY * topics.relative
    return clear


def as_dealt(half: float, shams: Mapping[str, Sham]) -> bool | None:
    """Whether harm types with this mean share as much as the same answers dealt at random; None where unknown."""
    dealt = shams.get(SHUFFLED)
    if dealt is None or math.isnan(half) or math.isnan(dealt.half):
        return None
    return half * CLEARLY >= dealt.half


def in_common(core: Mapping[int, float], k: int) -> float:
    """How many weights ``k`` of the types, drawn at random, have in common on average; NaN where that is unknown.

    ``Σ_m e_m · C(m, k) / C(T, k)``, ``e_m`` the weights in exactly ``m`` of ``T`` masks; ``core``: at least ``m``.
    Unlike the core itself it can be compared between sets of other numbers of types.
    """
    n_types = max(core, default=0)
    if not 1 <= k <= n_types or any(m not in core for m in range(k, n_types + 1)):
        return math.nan
    exactly = {m: core[m] - core.get(m + 1, 0.0) for m in range(k, n_types + 1)}
    return sum(number * comb(m, k) for m, number in exactly.items()) / comb(n_types, k)


def core_as_large(core: Mapping[int, float], k: int, shams: Mapping[str, Sham]) -> list[str]:
    """The kinds of sham types of which ``k`` have as many weights in common as ``k`` harm types; ``core``: of harm."""
    ours = in_common(core, k)
    theirs = {kind: in_common(sham.core, k) for kind, sham in shams.items()}
    return [kind for kind, shared in theirs.items() if not math.isnan(shared) and shared >= ours]


# -- words ------------------------------------------------------------------------------------------------------------
def share(value: float) -> str:
    """``2.0 %``; "not measured" for NaN."""
    return text.NOT_MEASURED if math.isnan(value) else text.percent(value)


def overlap_sentence(half: float, relative: float, shams: Mapping[str, Sham]) -> str:
    """Harm types beside both kinds, with the means; that there are none, where the run has none."""
    if not shams:
        return NO_SHAM

    def means(half: float, relative: float) -> str:
        of_own = "" if math.isnan(relative) else f" ({100 * relative:.0f} % of what each shares with itself)"
        return share(half) + of_own

    parts = [
        f"{WORDS[kind]} {means(sham.half, sham.relative)}, {len(sham.names)} types" for kind, sham in shams.items()
    ]
    return f"Mean half-sample Jaccard: harm types {means(half, relative)}; {'; '.join(parts)}."


def core_sentence(core: Mapping[int, float], k: int, shams: Mapping[str, Sham]) -> str:
    """What ``k`` harm types have in common on average beside ``k`` sham ones; that there are none, where so."""
    if not shams:
        return NO_SHAM
    theirs = "; ".join(f"{k} of {WORDS[kind]} {_few(in_common(sham.core, k))}" for kind, sham in shams.items())
    return f"Weights in common, on average: {k} harm types {_few(in_common(core, k))}; {theirs}."


def _few(value: float) -> str:
    return text.NOT_MEASURED if math.isnan(value) else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
