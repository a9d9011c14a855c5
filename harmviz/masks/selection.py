"""One pure function from stored candidates and settings to a prune mask. Exact, or an error that says what would be.

``M_c(q, p)`` is the set of the ``⌊q·N⌋`` eligible weights of highest harm score ``H_c > 0`` (fewer where fewer are
positive); ties go to the lower global index. With scope ``matrix`` it is the top ``⌊q·n_m⌋`` of each matrix. Several
categories combine as ``mean`` (rank by the mean score) or as set union, intersection or difference (the first minus
the rest) of masks made at the same q.

Why a selection from the stored lists can be exact. Let p₀ <= p be the nearest stored protection level.

- *One list.* Whatever is eligible at p is eligible at p₀, so the list at p₀, thinned to what survives p, is the true
  ranking at p as far as it reaches: its first s survivors are exact. Where the list was not cut off it holds every
  eligible weight of positive score, and everything is exact.
- *Mean over some of the categories.* Let b_c be the last score of category c's list, or 0 where it was not cut off. A
  weight in none of the lists has ``H_c <= b_c`` for every c, so its mean is at most ``B = mean(b_c)`` (the same float
  operations, each monotone, so rounding included). Every weight with a mean above B is therefore in a list: the weights
  with a mean strictly above B are exact. Strictly, because one left out might tie with B at a lower index. The mean
  over *all* categories has a list of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context
from fractions import Fraction
from functools import reduce
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from harmviz.errors import BadSetting, SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import BASELINES, MEAN, ListKey, mean_score
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import check_fraction, count_of
from harmviz.runs.point import Contrast, Point, Scope

Combine = Literal["mean", "union", "intersection", "difference"]
_Flags = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: How two sets of rows, as flags, combine. (``mean`` makes one ranking, so that there is nothing to combine.)
_OPERATIONS: dict[str, _Flags] = {
    "mean": np.logical_or,
    "union": np.logical_or,
    "intersection": np.logical_and,
    "difference": lambda kept, other: kept & ~other,
}


@dataclass(frozen=True)
class Selection:
    """The settings of a mask. ``categories``: harm category ids, or one baseline (``benign`` or ``safe``) alone.

    Raises:
        ValueError: a setting is out of range; the message names it, its value and what is allowed.
    """

    categories: tuple[str, ...]
    combine: Combine = "mean"
    q: float = 1e-5
    p: float = 0.01
    scope: Scope = "global"
    contrast: Contrast = "none"

    def __post_init__(self) -> None:
        if isinstance(self.categories, str) or not all(isinstance(c, str) for c in self.categories):
            raise BadSetting(f"categories must be a sequence of category ids, got {self.categories!r}")
        names = tuple(self.categories)
        if not names or len(set(names)) < len(names):
            raise BadSetting(f"categories must be distinct and at least one, got {names!r}")
        for name, allowed in (("combine", Combine), ("scope", Scope), ("contrast", Contrast)):
            if getattr(self, name) not in get_args(allowed):
                raise BadSetting(f"{name} must be one of {', '.join(get_args(allowed))}, got {getattr(self, name)!r}")
        if set(names) & set(BASELINES) and (len(names) > 1 or self.contrast != "none"):
            raise BadSetting(f"{' and '.join(BASELINES)} are selected alone and without contrast, got {names!r}")
        object.__setattr__(self, "categories", names)
        object.__setattr__(self, "q", check_fraction("q", self.q))
        object.__setattr__(self, "p", check_fraction("p", self.p, below_one=True))

    def name(self, known: Sequence[str]) -> str:
        """How results name this set: a category's id, ``mean(all)``, ``union(a,b)``.

        In a run of one category its mask is the mean of all, and is named so.
        """
        if len(self.categories) == 1 and self.categories != tuple(known):
            return self.categories[0]
        every = self.combine != "difference" and set(self.categories) == set(known)
        return f"{self.combine}({'all' if every else ','.join(self.categories)})"

    def point(self, known: Sequence[str]) -> Point:
        """The address of its mask in a run of the categories ``known``."""
        return Point(self.name(known), self.q, self.p, self.scope, self.contrast)


@dataclass(frozen=True, eq=False)
class Selected:
    """The selected weights.

    ``global_index``: int64, ascending. ``n_requested``: ``⌊q·N⌋`` (with scope ``matrix`` the sum of ``⌊q·n_m⌋``): the
    size of each mask before a set operation; fewer weights mean that fewer have a positive score. ``stored_p``: the
    protection level of the lists used. ``why_exact``: one sentence.
    """

    global_index: np.ndarray
    n_requested: int
    stored_p: float
    why_exact: str

    @property
    def n_weights(self) -> int:
        return len(self.global_index)


class _Ranking(NamedTuple):
    """A ranking as far as the stored rows know it, in groups (one, or one per matrix).

    ``rows`` in selection order, group by group, at ``start[g] : start[g + 1]``; all of them are certain.
    ``complete[g]``: no eligible weight of positive score is missing, so that any number of weights can be asked for.
    """

    rows: np.ndarray
    start: np.ndarray
    complete: np.ndarray

    @property
    def known(self) -> np.ndarray:
        return np.diff(self.start)


def _starts(c: Candidates, rows: np.ndarray, scope: Scope) -> np.ndarray:
    """Where each group begins in rows that run group by group."""
    if scope == "global":
        return np.array([0, len(rows)])
    return np.searchsorted(c.matrix[rows], np.arange(len(c.table) + 1))


def _stored_p(c: Candidates, s: Selection, needed: Sequence[str]) -> float:
    """The nearest protection level at or below p at which all needed lists are stored.

    Raises:
        SelectionInexact: there is none.
    """
    grid = c.p_grid if s.scope == "global" else c.matrix_p
    levels = [p for p in grid if all(ListKey(name, s.contrast, p, s.scope) in c.orders for name in needed)]
    below = [level for level in levels if level <= s.p]
    if not below:
        stored = f"p >= {levels[0]!r}" if levels else "no protection level"
        raise SelectionInexact(f"p={s.p!r} is not stored for scope {s.scope!r}: this run answers {stored} there")
    return below[-1]


def _survivors(c: Candidates, rows: np.ndarray, p: float, stored_p: float) -> np.ndarray:
    """The rows that are eligible at p, of rows that are eligible at ``stored_p``."""
    return rows if p == stored_p else rows[c.tail_count[rows] > count_of(p, c.table.n_weights)]


def _single(c: Candidates, key: ListKey, p: float) -> _Ranking:
    """The ranking of one stored list at protection p >= key.p."""
    stored = c.orders[key]
    complete = np.diff(_starts(c, stored, key.scope)) < c.counts(c.q_max, key.scope)
    rows = _survivors(c, stored, p, key.p)
    return _Ranking(rows, _starts(c, rows, key.scope), complete)


def _mean(c: Candidates, categories: Sequence[str], s: Selection, stored_p: float) -> _Ranking:
    """The ranking by the mean over some of the categories, as far as the bound B reaches (see the module)."""
    limits = c.counts(c.q_max, s.scope)
    in_a_list = np.zeros(c.n_rows, dtype=bool)
    cut_offs = []
    for category in categories:
        order = c.orders[ListKey(category, s.contrast, stored_p, s.scope)]
        in_a_list[order] = True
        start = _starts(c, order, s.scope)
        # b_c of each group. (A group whose limit is 0 is never asked for a weight, so its bound does not matter.)
        cut_off = np.zeros(len(limits), dtype=np.float32)
        full = (np.diff(start) == limits) & (limits > 0)
        last = order[start[1:][full] - 1]
        cut_off[full] = c.score(category, s.contrast, last)
        cut_offs.append(cut_off)
    bound = mean_score(cut_offs)

    rows = _survivors(c, np.flatnonzero(in_a_list), s.p, stored_p)
    # The categories' order in the run fixes the order of summation, whatever the order asked for.
    scores = mean_score([c.score(category, s.contrast, rows) for category in c.categories if category in categories])
    group = np.zeros(len(rows), dtype=np.int64) if s.scope == "global" else c.matrix[rows].astype(np.int64)
    # Positive means above B; where B is 0 (nothing was cut off) that is every positive mean there is.
    certain = np.flatnonzero(scores > bound[group])
    order = certain[np.lexsort((-scores[certain], group[certain]))]  # stable: ties stay in index order
    return _Ranking(rows[order], _starts(c, rows[order], s.scope), bound <= 0)


def _rankings(c: Candidates, s: Selection) -> tuple[dict[str, _Ranking], float]:
    """(name → ranking, stored p): one ranking for ``mean``, one a category for the set operations.

    Raises:
        ValueError: a category is unknown, or the run has no contrastive lists.
        SelectionInexact: p lies below the stored levels.
    """
    known = (*c.categories, *c.listed_baselines)
    if withheld := [name for name in s.categories if name in c.baselines and name not in known]:
        raise BadSetting(f"{withheld[0]!r} is measurement-only in this run: no mask of it is made")
    if unknown := [name for name in s.categories if name not in known]:
        raise BadSetting(f"unknown category {unknown[0]!r}; this run has {', '.join(known)}")
    if s.contrast == "both" and not c.has_contrast:
        raise BadSetting("contrast 'both' needs scores of benign and safe answers, which this run has not; use 'none'")
    # Of a single category too: at some levels the mean alone is listed, and it is the category's own ranking.
    of_all = s.combine == "mean" and set(s.categories) == set(c.categories)
    stored_p = _stored_p(c, s, (MEAN,) if of_all else s.categories)
    if s.combine == "mean" and len(s.categories) > 1 and not of_all:
        return {s.name(c.categories): _mean(c, s.categories, s, stored_p)}, stored_p
    names = {s.name(c.categories): MEAN} if of_all else {category: category for category in s.categories}
    return {n: _single(c, ListKey(key, s.contrast, stored_p, s.scope), s.p) for n, key in names.items()}, stored_p


def _largest_q(c: Candidates, s: Selection, rankings: dict[str, _Ranking], stored_p: float) -> tuple[float, str]:
    """What ``largest_exact_q`` returns, from rankings at hand."""
    sizes, limits = [int(n) for n in c.group_sizes(s.scope)], c.counts(c.q_max, s.scope)
    worst: tuple[Fraction, str, int] | None = None
    for name, ranking in rankings.items():
        short = ~ranking.complete & (ranking.known < limits)
        for g in map(int, np.flatnonzero(short)):
            # ⌊q·n⌋ <= known holds for every q below (known + 1) / n.
            beyond = Fraction(int(ranking.known[g]) + 1, sizes[g])
            if worst is None or beyond < worst[0]:
                worst = (beyond, name, g)
    if worst is None:
        return c.q_max, f"the run stores the top q_max={c.q_max!r} of every set"
    beyond, name, g = worst
    # The smallest q that selects as many weights in every group as the largest q below ``beyond`` does.
    best = max(Fraction(-(-beyond * n // 1) - 1, n) for n in sizes)
    where = f" in {c.table[g].name}" if s.scope == "matrix" else ""
    known, stored = int(rankings[name].known[g]), int(limits[g])
    of_lists = f"the stored lists at p={stored_p!r} ({stored:,} weights each)"
    reason = f"{of_lists} settle only the first {known:,} weights of {name} at p={s.p!r}{where}"
    return _float_reaching(best, sizes), reason


def _float_reaching(q: Fraction, sizes: Sequence[int]) -> float:
    """A float that selects ``⌊q·n⌋`` weights of every group: the division's rounding must not cost a weight."""
    number = float(q)
    while any(count_of(number, n) < q * n // 1 for n in sizes):
        number = float(np.nextafter(number, 1.0))
    return number


def _short(q: float) -> str:
    """q to three digits, rounded down, so that what a message proposes is itself exact."""
    return f"{float(Context(prec=3, rounding=ROUND_FLOOR).create_decimal(repr(q))):.3g}"


def largest_exact_q(candidates: Candidates, selection: Selection) -> tuple[float, str]:
    """(the largest q that ``select`` answers for these settings, why not more). ``selection.q`` is ignored.

    Every smaller q is exact too, so this is where a slider ends.

    Raises:
        ValueError, SelectionInexact: as in ``select``, for reasons other than q.
    """
    rankings, stored_p = _rankings(candidates, selection)
    return _largest_q(candidates, selection, rankings, stored_p)


def select(candidates: Candidates, selection: Selection) -> Selected:
    """The weights of ``selection``: exactly those that a ranking of all N weights would give.

    Raises:
        ValueError: a category is unknown, or the run has no contrastive lists.
        SelectionInexact: the stored lists do not settle the answer; the message says which q they do.
    """
    c, s = candidates, selection
    rankings, stored_p = _rankings(c, s)
    counts = c.counts(s.q, s.scope)
    settled = all(np.all(r.complete | (counts <= r.known)) for r in rankings.values())
    if s.q > c.q_max or not settled:
        q, reason = _largest_q(c, s, rankings, stored_p)
        levels = c.p_grid if s.scope == "global" else c.matrix_p
        raise SelectionInexact(
            f"q={s.q!r} at p={s.p!r} cannot be answered exactly: {reason}; use q <= {_short(q)}"
            + ("" if s.p in levels or s.q > c.q_max else f", or p in {', '.join(map(repr, levels))}")
        )
    members = []
    for ranking in rankings.values():
        position = np.arange(len(ranking.rows)) - np.repeat(ranking.start[:-1], ranking.known)
        member = np.zeros(c.n_rows, dtype=bool)  # a set of rows as flags: set operations cost one pass, no sorting
        member[ranking.rows[position < np.repeat(counts, ranking.known)]] = True
        members.append(member)
    rows = np.flatnonzero(reduce(_OPERATIONS[s.combine], members))
    cut = not all(bool(r.complete.all()) for r in rankings.values())
    why = f"the lists stored at p={stored_p!r} " + ("reach past q" if cut else "hold every positive score")
    return Selected(c.global_of(rows), int(counts.sum()), stored_p, why)


def make_mask(
    candidates: Candidates,
    selection: Selection,
    *,
    model_hash: str,
    control: str = "none",
    known: Sequence[str] | None = None,
    **provenance: Any,
) -> PruneMask:
    """The mask of ``selection``: kind ``harm``, or ``control`` where a baseline is selected or ``control`` is named.

    ``provenance`` (run id, hashes of the scoring prompts) is stored beside the settings. ``known``: the run's
    categories, where the candidates are of some of them only; the set is named by them.

    Raises:
        ValueError, SelectionInexact: as ``select``.
    """
    selected = select(candidates, selection)
    signed = selection.categories[0] in BASELINES
    control = f"{selection.categories[0]}_signed" if signed and control == "none" else control
    point = selection.point(candidates.categories if known is None else known)
    facts = {
        "set": point.set,
        "categories": list(selection.categories),
        "combine": selection.combine,
        "q": point.q,
        "p": point.p,
        "scope": point.scope,
        "contrast": point.contrast,
        "control": control,
        "n_requested": selected.n_requested,
    }
    return PruneMask.from_global(
        candidates.table,
        selected.global_index,
        kind="harm" if control == "none" else "control",
        model_hash=model_hash,
        **{**provenance, **facts},
    )
