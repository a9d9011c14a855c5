"""Candidates: what a slider needs, so that choosing a mask never touches the model or the full score arrays.

For every set that can be ranked (each harm category, their ``mean``, the signed baselines ``benign`` and ``safe``;
plain and contrastive) and every protection level p of a grid, the top ``⌊q_max·N⌋`` *eligible* weights of positive
score are listed in selection order. The union of all lists is one table of rows: address, exact utility tail (which
says all that selection needs of the utility), and every set's harm score. ``harmviz.masks.selection`` answers any
(categories, q, p, scope, contrast) from these rows, or says that it cannot. The *protected* weights of each p > 0 are
kept as gap bytes, so that controls can be drawn later.

Scores are harm scores ``H = −I``: positive where the weight supports that set's text (METHOD.md, section 2).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from harmviz.errors import RunIncompatible, SelectionInexact
from harmviz.masks.lists import (
    BASELINES,
    MEAN,
    ListKey,
    guard_score,
    list_keys,
    mean_score,
    ranked_scores,
)
from harmviz.masks.packing import map_arrays, pack_gaps, squeeze, unpack_gaps, unsqueeze
from harmviz.masks.plan import PIECE, BuildPlan
from harmviz.masks.ranking import TopK, check_fraction, count_at_least, count_of, eligibility_threshold
from harmviz.models.weights import WeightTable
from harmviz.runs.point import Contrast, Scope

FORMAT = "harmviz-candidates-1"


@dataclass(frozen=True, eq=False)
class Candidates:
    """The union of all lists as rows (ascending global index), and each list as row numbers in selection order.

    ``matrix``, ``flat``: the row's address. ``tail_count``: ``#{j : U_j >= U_row}`` over all N
    weights, exact. ``scores``: set → H, float32 (the mean and contrastive scores follow from these, see ``score``).
    ``orders``: list → row numbers; a ``matrix``-scope list runs matrix by matrix. ``protected``: p → (compressed gap
    bytes of all matrices, where each matrix's begin).
    """

    table: WeightTable
    q_max: float
    p_grid: tuple[float, ...]
    matrix_p: tuple[float, ...]
    categories: tuple[str, ...]
    baselines: tuple[str, ...]
    matrix: np.ndarray
    flat: np.ndarray
    tail_count: np.ndarray
    scores: Mapping[str, np.ndarray]
    orders: Mapping[ListKey, np.ndarray]
    protected: Mapping[float, tuple[np.ndarray, np.ndarray]]
    _unpacked: dict[float, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, init=False, repr=False)

    @property
    def n_rows(self) -> int:
        return len(self.flat)

    @property
    def has_contrast(self) -> bool:
        """Contrastive lists exist only where both baselines were scored."""
        return set(BASELINES) <= set(self.baselines)

    @cached_property
    def listed_baselines(self) -> tuple[str, ...]:
        """The baselines that masks can be made of; the others are measurement-only, and are subtracted alone."""
        listed = {key.set for key in self.orders}
        return tuple(name for name in self.baselines if name in listed)

    def global_of(self, rows: np.ndarray) -> np.ndarray:
        """Global indices (int64) of these rows."""
        return self.table.offsets[self.matrix[rows]] + self.flat[rows]

    @cached_property
    def global_index(self) -> np.ndarray:
        """Global indices (int64) of all rows, ascending."""
        return self.global_of(np.arange(self.n_rows))

    def score(self, set_name: str, contrast: Contrast = "none", rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The float32 score that the lists of this set are ranked by, for all rows or those given.

        The contrastive mean is the mean of the categories' contrastive scores.
        """
        names = self.categories if set_name == MEAN else (set_name,)
        parts = [self.scores[name][rows] for name in names]
        if contrast == "both":
            guard = guard_score(self.scores["safe"][rows], self.scores["benign"][rows])
            parts = [part - guard for part in parts]
        return mean_score(parts) if set_name == MEAN else parts[0]

    def group_sizes(self, scope: Scope) -> np.ndarray:
        """What a fraction is a fraction of, int64: N alone, or the size of each matrix."""
        return self.table.offsets[-1:] if scope == "global" else np.diff(self.table.offsets)

    def counts(self, fraction: float, scope: Scope) -> np.ndarray:
        """``⌊fraction·n⌋`` of each group, int64. At ``q_max`` it is the most weights a list may hold."""
        sizes, where = np.unique(self.group_sizes(scope), return_inverse=True)
        return np.array([count_of(fraction, int(n)) for n in sizes], dtype=np.int64)[where]

    def eligible(self, index: int, p: float) -> np.ndarray:
        """Which weights of matrix ``index`` may be drawn under protection p: bool, flat, length of the matrix.

        Exactly the eligible weights where p is on the grid. Between two grid values those of the next higher one, all
        of which are eligible at p too.

        Raises:
            SelectionInexact: p lies above the grid.
        """
        check_fraction("p", p, below_one=True)
        allowed = np.ones(self.table[index].size, dtype=bool)
        if p == 0:
            return allowed
        level = next((level for level in self.p_grid if level >= p), None)
        if level is None:
            raise SelectionInexact(
                f"p={p!r}: the weights protected above p={self.p_grid[-1]!r} are not stored; "
                f"use p <= {self.p_grid[-1]!r} or make a run with a higher p in its grid"
            )
        packed, start = self._gaps(level)
        allowed[unpack_gaps(packed[start[index] : start[index + 1]])] = False
        return allowed

    def _gaps(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """(gap bytes, where each matrix's begin) at a level of the grid, decompressed once."""
        if level not in self._unpacked:
            squeezed, start = self.protected[level]
            self._unpacked[level] = unsqueeze(squeezed), start
        return self._unpacked[level]

    # -- files --------------------------------------------------------------------------------------------------
    def to_bytes(self) -> bytes:
        """The candidates as one safetensors file; ``load`` reads it back."""
        keys = list(self.orders)
        header = {
            "format": FORMAT,
            "table": self.table.to_json(),
            "q_max": self.q_max,
            "p_grid": self.p_grid,
            "matrix_p": self.matrix_p,
            "categories": self.categories,
            "baselines": self.baselines,
            "orders": [list(key) for key in keys],
        }
        arrays = {name: getattr(self, name) for name in ("matrix", "flat", "tail_count")}
        arrays |= {f"score/{name}": score for name, score in self.scores.items()}
        arrays |= {f"order/{i}": self.orders[key] for i, key in enumerate(keys)}
        for p, (packed, start) in self.protected.items():
            arrays |= {f"protected/{p!r}": packed, f"protected_start/{p!r}": start}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        # One entry, because safetensors writes several in an order that differs from run to run.
        return save(contiguous, metadata={"harmviz": json.dumps(header, separators=(",", ":"))})

    @classmethod
    def load(cls, path: str | Path) -> Candidates:
        """Maps a file of ``to_bytes``; arrays are read as they are used.

        Raises:
            RunIncompatible: the file is missing, truncated, not a candidates file, or contradicts itself.
        """
        arrays, metadata = map_arrays(Path(path))
        try:
            header = json.loads(metadata.get("harmviz", "{}"))
            if header.get("format") != FORMAT:
                raise RunIncompatible(
                    f"{path} is not a harmviz candidates file of this version (format {header.get('format')!r}, "
                    f"need {FORMAT!r}); make the run again"
                )
            p_grid, sets = tuple(header["p_grid"]), (*header["categories"], *header["baselines"])
            candidates = cls(
                table=WeightTable.from_json(header["table"]),
                q_max=header["q_max"],
                p_grid=p_grid,
                matrix_p=tuple(header["matrix_p"]),
                categories=tuple(header["categories"]),
                baselines=tuple(header["baselines"]),
                **{name: arrays[name] for name in ("matrix", "flat", "tail_count")},
                scores={name: arrays[f"score/{name}"] for name in sets},
                orders={ListKey(*key): arrays[f"order/{i}"] for i, key in enumerate(header["orders"])},
                protected={p: (arrays[f"protected/{p!r}"], arrays[f"protected_start/{p!r}"]) for p in p_grid if p > 0},
            )
            n = candidates.n_rows
            columns = (candidates.matrix, candidates.tail_count, *candidates.scores.values())
            if any(column.shape != (n,) for column in columns):
                raise ValueError("the columns differ in length")
            if any(order.size and int(order.max()) >= n for order in candidates.orders.values()):
                raise ValueError("a list names a row that does not exist")
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise RunIncompatible(
                f"{path}: damaged candidates header ({type(e).__name__}: {e}); make the run again"
            ) from e
        return candidates


def build_candidates(
    table: WeightTable,
    scores: Callable[[str, int], np.ndarray],
    utility: Callable[[int], np.ndarray],
    *,
    categories: Sequence[str],
    baselines: Sequence[str] = BASELINES,
    q_max: float = 1e-4,
    p_grid: Sequence[float] = (0.0, 0.01, 0.05),
    matrix_p: Sequence[float] = (0.01,),
    mean_only_p: Sequence[float] = (),
    max_rows: int = 2_000_000,
    withheld: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Candidates:
    """The candidates of one scored model, in five passes over utility and two over every set's scores.

    Args:
        scores: ``scores(set, i)``: flat float32 harm score H of a category or baseline on matrix i.
        utility: ``utility(i)``: flat float32 utility U of matrix i, non-negative.
        categories: harm category ids.
        baselines: which of ``benign`` and ``safe`` were scored; contrastive lists need both.
        q_max: the largest fraction q that can be selected, in (0, 1].
        p_grid: protection levels of the global lists, ascending, each in [0, 1).
        matrix_p: the same for per-matrix lists (their own, since a global list may leave a matrix empty).
        mean_only_p: levels at which only the mean and the baselines are listed (their single-category lists would hold
            rows that nothing else selects, and only the unprotected control asks for p = 0).
        max_rows: the most rows the union may have.
        withheld: baselines that are measurement-only: their scores are subtracted, no list or mask of them is made.
        progress: called with (matrices done, matrices to do) over all passes.

    Raises:
        ValueError: a parameter is out of range.
        RunIncompatible: a score array has the wrong length, is not finite, or a utility is negative.
        OutOfMemory: the union of the lists has more than ``max_rows`` rows.
    """
    plan = BuildPlan(
        table,
        scores,
        utility,
        tuple(categories),
        tuple(baselines),
        q_max,
        p_grid,
        matrix_p,
        mean_only_p,
        max_rows,
        tuple(withheld),
        progress,
    )
    lists, protected = _rank(plan)
    global_index = np.unique(np.concatenate(list(lists.values())))
    plan.refuse_over(len(global_index), "the union")
    orders = {key: np.searchsorted(global_index, index).astype(np.uint32) for key, index in lists.items()}
    matrix, flat = table.locate(global_index)
    kept_utility, kept_scores = _gather(plan, global_index)
    tail_count = count_at_least(kept_utility, plan.utility_pieces)
    return Candidates(
        table=table,
        q_max=plan.q_max,
        p_grid=plan.p_grid,
        matrix_p=plan.matrix_p,
        categories=plan.categories,
        baselines=plan.baselines,
        matrix=matrix.astype(np.uint16 if len(table) <= 1 << 16 else np.uint32),
        flat=flat.astype(np.uint32),
        tail_count=tail_count.astype(np.uint32) if table.n_weights < 1 << 32 else tail_count,
        scores=kept_scores,
        orders=orders,
        protected=protected,
    )


def _rank(plan: BuildPlan) -> tuple[dict[ListKey, np.ndarray], dict[float, tuple[np.ndarray, np.ndarray]]]:
    """(list → global indices in selection order, p → protected weights), in one pass over scores and utility."""
    table, n = plan.table, plan.table.n_weights
    thresholds = dict(zip(plan.levels, eligibility_threshold(plan.utility_pieces, n, plan.levels), strict=True))
    keys = list_keys(plan.categories, plan.baselines, plan.p_grid, plan.matrix_p, plan.mean_only_p, plan.withheld)
    best = {key: TopK(count_of(plan.q_max, n)) for key in keys if key.scope == "global"}
    by_matrix: dict[ListKey, list[np.ndarray]] = {key: [] for key in keys if key.scope == "matrix"}
    gaps: dict[float, list[np.ndarray]] = {p: [] for p in plan.p_grid if p > 0}
    for i, m in enumerate(table):
        utility = plan.utility(i)
        for p, packed in gaps.items():
            packed.append(pack_gaps(np.flatnonzero(utility > thresholds[p])))
        harm = {name: plan.scores(name, i) for name in (*plan.categories, *plan.baselines)}
        open_lists = best | {key: TopK(count_of(plan.q_max, m.size)) for key in by_matrix}
        for start in range(0, m.size, PIECE):
            piece = slice(start, start + PIECE)
            # As 0 and 1 in float32: multiplying by it is several times faster than np.where on a boolean array.
            eligible = {p: (utility[piece] <= thresholds[p]).astype(np.float32) for p in plan.levels}
            ranked = ranked_scores({name: score[piece] for name, score in harm.items()}, plan.categories)
            for (set_name, contrast), score in ranked:
                for p in plan.levels:
                    allowed = score * eligible[p]  # 0 where protected, and TopK keeps positive scores only
                    for scope in ("global", "matrix"):
                        if top := open_lists.get(ListKey(set_name, contrast, p, scope)):
                            top.add(allowed, int(table.offsets[i]) + start)
        for key, parts in by_matrix.items():
            parts.append(open_lists[key].result()[0])
        plan.step()
    lists = {key: top.result()[0] for key, top in best.items()} | {
        key: np.concatenate([np.empty(0, dtype=np.int64), *parts]) for key, parts in by_matrix.items()
    }
    protected = {}
    for p, parts in gaps.items():
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        protected[p] = (squeeze(np.concatenate([np.empty(0, dtype=np.uint8), *parts])), starts)
    return {key: lists[key] for key in keys}, protected


def _gather(plan: BuildPlan, global_index: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(utility, set → score) of the rows, in one pass."""
    names = (*plan.categories, *plan.baselines)
    utility = np.empty(len(global_index), dtype=np.float32)
    scores = {name: np.empty(len(global_index), dtype=np.float32) for name in names}
    bounds = np.searchsorted(global_index, plan.table.offsets)
    for i in range(len(plan.table)):
        rows = slice(bounds[i], bounds[i + 1])
        flat = global_index[rows] - plan.table.offsets[i]
        utility[rows] = plan.utility(i, checked=False)[flat]
        for name in names:
            scores[name][rows] = plan.scores(name, i, checked=False)[flat]
        plan.step()
    return utility, scores
