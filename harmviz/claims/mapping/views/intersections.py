"""Which weights belong to exactly which types' masks, at any q; and the words of the UpSet and the core chart. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harmviz.claims.mapping.sham_overlap import NO_SHAM, SHUFFLED, TOPICS, WORDS, core_as_large, core_sentence
from harmviz.claims.mapping.views.overlap import Overlap
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import Contrast
from harmviz.masks.selection import Selection, select
from harmviz.stats.overlap import MAX_UPSET_SETS, intersection_size, upset

#: Bars that can still be told apart on a page's width.
MAX_BARS = 25


@dataclass(frozen=True)
class Intersections:
    """The types' masks at one q, taken apart into exact intersections.

    ``groups``: ``members`` (tuple of category ids), ``size``, largest first. ``sizes``: category → weights of its mask.
    ``by_degree``: how many weights lie in exactly 1, 2, … of the masks. ``in_text``: how many of those in two masks or
    more also lie in the benign- or safe-signed mask of the same q; None where neither was scored. ``left_out``: types
    beyond the number that can be drawn.
    """

    groups: pd.DataFrame
    sizes: dict[str, int]
    by_degree: dict[int, int]
    in_text: int | None
    left_out: tuple[str, ...]
    q: float
    p: float

    def at_least(self, k: int) -> int:
        """Weights in ``k`` masks or more."""
        return sum(n for degree, n in self.by_degree.items() if degree >= k)


def intersections(candidates: Candidates, contrast: Contrast, q: float, p: float) -> Intersections:
    """Exact intersections of each harm type's own mask at (q, p).

    Raises:
        SelectionInexact: (q, p) is not stored for a type.
    """
    shown, left_out = candidates.categories[:MAX_UPSET_SETS], candidates.categories[MAX_UPSET_SETS:]
    sets = {c: select(candidates, Selection((c,), q=q, p=p, contrast=contrast)).global_index for c in shown}
    exact = upset(sets)
    groups = pd.DataFrame(
        [(tuple(c for c in shown if c in members), size) for members, size in exact.items()],
        columns=["members", "size"],
    )
    degree = groups["members"].map(len)
    by_degree = {int(k): int(n) for k, n in groups.groupby(degree)["size"].sum().items()}
    in_text = None
    if candidates.listed_baselines:
        harmless = [select(candidates, Selection((b,), q=q, p=p)).global_index for b in candidates.listed_baselines]
        weight, times = np.unique(np.concatenate(list(sets.values())), return_counts=True)
        in_text = intersection_size(weight[times > 1], np.unique(np.concatenate(harmless)))
    return Intersections(groups, {c: len(s) for c, s in sets.items()}, by_degree, in_text, left_out, q, p)


def bars(groups: Intersections) -> pd.DataFrame:
    """The largest groups, as ``figures.intersections.upset_plot`` takes them."""
    top = groups.groups.head(MAX_BARS)
    named = [tuple(text.set_name(c) for c in members) for members in top["members"]]
    notes = [
        f"{' + '.join(m)}\n{text.count(int(s))} weights in exactly {_types(len(m))}"
        for m, s in zip(named, top["size"], strict=True)
    ]
    columns = {"members": named, "size": top["size"], "note": notes, "q": groups.q, "p": groups.p}
    return pd.DataFrame(columns).reset_index(drop=True)


def _types(n: int) -> str:
    return "this type" if n == 1 else f"these {n} types"


def upset_words(groups: Intersections, log: bool) -> Words:
    """Title, subtitle and reading of the UpSet plot."""
    every, alone = groups.at_least(1), groups.by_degree.get(1, 0)
    share = f"{100 * alone / every:.0f} %" if every else "–"
    title = f"{text.count(alone)} of {text.count(every)} weights belong to one harm type alone ({share})"
    if len(groups.sizes) < 2:
        title = f"One harm type, {text.count(every)} weights: nothing to intersect"
    n_groups, n_types = len(groups.groups), len(groups.sizes)
    shown = "All exact intersections."
    if n_groups > MAX_BARS:
        shown = f"The largest {MAX_BARS} of {n_groups} exact intersections."
    if groups.left_out:
        shown += f" Shown: the first {n_types} types of {n_types + len(groups.left_out)}."
    scale = "Shared sets are small beside single ones: switch to the log scale to see them."
    if log:
        scale = "The scale is logarithmic: read the counts, bar lengths do not compare."
    return Words(
        title,
        f"Each type's own mask at {text.percent(groups.q)} of the scored weights, {text.percent(groups.p)} protected.\n"
        f"{shown}",
        "A column is one exact combination of types: the dots below say which, the bar above how many weights are in "
        "all of these masks and in no other. Beside each name: the size of that mask. Pale: one type alone. "
        f"{scale}",
        f"UpSet plot of the masks of {n_types} harm types. {title}.",
    )


def shared_line(groups: Intersections) -> str:
    """How many weights are shared, and how many of those are needed by harmless text too."""
    if len(groups.sizes) < 2:
        return ""
    shared = groups.at_least(2)
    weights = "weight is" if shared == 1 else "weights are"
    line = f"{text.count(shared)} {weights} in two types or more, {text.count(groups.at_least(3))} in three or more."
    if groups.in_text is None or not shared:
        return line
    return (
        f"{line} Of those in two or more, {text.count(groups.in_text)} ({100 * groups.in_text / shared:.0f} %) are "
        "also in the mask of benign or of same-topic safe answers."
    )


def core_words(shared: Overlap, size: str) -> Words:
    """Title, subtitle and reading of the core chart; where sham types have as large a core, the title says so."""
    core = shared.core
    sizes = {int(k): float(n) for k, n in zip(core["k"], core["observed"], strict=True)}
    k_shown = min(3, max(sizes, default=1))
    as_large = core_as_large(sizes, k_shown, shared.shams)
    beyond = core[(core["observed"] > core["high"]) & (core["k"] >= 2)]
    if beyond.empty:
        title = "No core: types share no more weights than their shuffles do"
    else:
        row = next((r for _, r in beyond.iterrows() if r["k"] == 3), beyond.iloc[-1])
        k = "three" if row["k"] == 3 else str(int(row["k"]))
        title = (
            f"{text.count(int(row['observed']))} weights are shared by {k} types or more; in shuffles "
            f"{_few(float(row['shuffled']))}"
        )
        if SHUFFLED in as_large:
            title += f", and {WORDS[SHUFFLED]} have as many"
    if TOPICS in as_large:
        title = f"No core of harm: {WORDS[TOPICS]} have as many weights in common"
    return Words(
        title,
        f"Size of the core by how many types share it. {size}, {text.percent(shared.p)} protected, "
        f"n = {len(shared.categories)} types. Log scale.",
        "Vermilion: weights in at least so many masks. Grey: the same after shuffling every mask within its matrices "
        "among weights that may be zeroed, mean and 95 % range. Hollow marks below the dotted line are 0. At ≥ 1 the "
        "shuffles lie above: masks that overlap cover fewer weights together. Diamonds: types that are none (harmful "
        "answers dealt at random, harmless ones by topic).",
        f"Core size against shuffles, log scale. {title}.",
    )


def core_note(shared: Overlap) -> str:
    """What several harm types have in common beside sham types; that none were measured, where so."""
    if not shared.shams or shared.core.empty:
        return NO_SHAM
    sizes = {int(k): float(n) for k, n in zip(shared.core["k"], shared.core["observed"], strict=True)}
    return core_sentence(sizes, min(3, max(sizes)), shared.shams)


def _few(value: float) -> str:
    """A mean count: ``0.03``, ``47``."""
    return "0" if value == 0 else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
