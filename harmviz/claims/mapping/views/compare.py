"""The numbers of *Compare runs*: which runs may be compared, and what stands side by side. Pure; nothing draws.

Runs are comparable where they were measured on the same data (equal hash) and score the same weights (equal table). Of
two such runs every measured number may stand side by side. The *difference* of two loss shifts has no interval here:
that would need prompts drawn jointly for both runs, which no run stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harmviz.claims.mapping.figures.harm_map import Panel
from harmviz.claims.mapping.headline import report_rows, rows_at_chosen
from harmviz.claims.mapping.views import harm_map
from harmviz.display import text
from harmviz.errors import SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import MEAN, Contrast, ListKey
from harmviz.masks.selection import Selection, largest_exact_q
from harmviz.models.weights import WeightTable
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL
from harmviz.stats.chance import counts_by_matrix
from harmviz.stats.overlap import intersection_size, jaccard_of_counts

#: So many lines, symbols and maps can still be told apart.
MAX_RUNS = 6
DEFAULT_RUNS = 3
#: The sets of the curves, one panel each.
CURVE_SETS = ("harm", "safe", "benign")
ALL_TYPES = "all"


_MEASURED = ["q", "p", "value", "ci_low", "ci_high", "n", "n_weights"]
_CHOSEN = (
    ("delta_nll", "harm", "harm, mean of all types"),
    ("harm_specific", "harm", "harm-specific: harm minus safe"),
    ("delta_nll", "safe", "same topics, no harm"),
    ("delta_nll", "benign", "benign, by others"),
    ("delta_nll", "benign_own", "benign, own answers"),
)


# -- which runs -----------------------------------------------------------------------------------------------------
def why_not(base: Run, other: Run) -> str | None:
    """What keeps ``other`` from being compared with ``base``, in a few words; None where nothing does."""
    reasons = []
    if other.manifest["data"]["hash"] != base.manifest["data"]["hash"]:
        reasons.append(f"measured on other data ({other.manifest['data']['id']})")
    if other.table != base.table:
        n = text.count(other.manifest["model"]["n_scored_weights"])
        reasons.append(f"its weights have other names or shapes ({n} scored weights)")
    return "; ".join(reasons) or None


def default_choice(base: Run, runs: Sequence[Run]) -> list[str]:
    """Ids of ``base`` and the newest runs that are comparable with it; ``runs`` come newest first."""
    others = [r.id for r in runs if r.id != base.id and why_not(base, r) is None]
    return [base.id, *others][:DEFAULT_RUNS]


def labels(runs: Sequence[Run]) -> list[str]:
    """A short name of each run: its model, with the end of the id where models read alike. Not yet escaped."""
    names = [r.model_name for r in runs]
    return [f"{r.model_name} · {r.id[-6:]}" if names.count(r.model_name) > 1 else r.model_name for r in runs]


# -- measured effects -----------------------------------------------------------------------------------------------
def _validation(run: Run, results: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Loss shifts of the grid that (q, p) was chosen from, for the mean of all types."""
    rows = results[
        (results["experiment"] == "effect")
        & (results["metric"] == "delta_nll")
        & (results["condition"] == "validation")
        & (results["control"] == "none")
        & (results["mask"] == MEAN_OF_ALL)
        & (results["contrast"] == contrast)
        & results["category"].isin(CURVE_SETS)
        & results["value"].notna()
    ]
    skipped = run.manifest["parameters"].get("skip_tokens")
    return rows if skipped is None else rows[(rows["skip_tokens"] == skipped).fillna(False).astype(bool)]


def measured_p(runs: Sequence[Run], results: Sequence[pd.DataFrame], contrast: str) -> list[float]:
    """Protection levels at which every one of the runs was measured on validation prompts, ascending."""
    levels = [set(_validation(run, rows, contrast)["p"].dropna()) for run, rows in zip(runs, results, strict=True)]
    return sorted(set.intersection(*levels)) if levels else []


def curve_table(runs: Sequence[Run], results: Sequence[pd.DataFrame], contrast: str, p: float) -> pd.DataFrame:
    """One line per run, set and measured q: what was measured on validation prompts, harm first."""
    parts = []
    for run, name, rows in zip(runs, labels(runs), results, strict=True):
        measured = _validation(run, rows, contrast)
        measured = measured[measured["p"] == p].sort_values("q")
        columns = {
            "run": name,
            "run_id": run.id,
            "set": measured["category"],
            "label": measured["category"].map(text.set_name),
            "harm": measured["category"].map(text.is_harm),
            **{c: measured[c] for c in _MEASURED},
            "contrast": measured["contrast"],
            "unit": measured["unit"],
            "prompts": "validation",
        }
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("set", key=lambda s: s.map(CURVE_SETS.index), kind="stable").reset_index(drop=True)


def chosen_table(runs: Sequence[Run], results: Sequence[pd.DataFrame], contrast: str) -> pd.DataFrame:
    """The report-prompt numbers at each run's own chosen point, with the random control; empty where none chose one."""
    lines: list[dict[str, Any]] = []
    for metric, category, label in _CHOSEN:
        for run, name, rows in zip(runs, labels(runs), results, strict=True):
            measured = rows_at_chosen(run, report_rows(rows, metric), contrast)
            measured = measured[(measured["category"] == category) & measured["value"].notna()]
            own = measured[measured["control"] == "none"]
            if own.empty:
                continue
            drawn = measured[measured["control"] == "random"]["value"]
            lines.append(
                {
                    "run": name,
                    "run_id": run.id,
                    "label": label,
                    "metric": metric,
                    "set": category,
                    "harm": text.is_harm(category),
                    "control": float(drawn.mean()) if len(drawn) else np.nan,
                    **own.iloc[0][[*_MEASURED, "unit"]].to_dict(),
                    "contrast": contrast,
                    "prompts": "report",
                }
            )
    return pd.DataFrame(lines)


def chosen_points(runs: Sequence[Run], contrast: str) -> str:
    """Each run's chosen point in words, one line a run. Not yet escaped."""
    parts = []
    for run, name in zip(runs, labels(runs), strict=True):
        point = run.manifest["method"].get("headline", {}).get(contrast)
        if point is None:
            parts.append(f"{name}: none chosen")
        else:
            size = text.fraction_of(point["n_weights"], run.manifest["model"]["n_scored_weights"])
            parts.append(f"{name}: {size}, {text.percent(point['p'])} protected")
    return "\n".join(parts)


# -- maps and overlap -----------------------------------------------------------------------------------------------
def types_of(candidates: Sequence[Candidates]) -> list[str]:
    """Harm types that every run scored, in the first run's order."""
    return [c for c in candidates[0].categories if all(c in other.categories for other in candidates)]


def candidate_p(candidates: Sequence[Candidates], contrast: Contrast) -> list[float]:
    """Protection levels that every run stores for the mean of all types."""
    levels = [{p for p in c.p_grid if ListKey(MEAN, contrast, p, "global") in c.orders} for c in candidates]
    return sorted(set.intersection(*levels))


def selections(candidates: Sequence[Candidates], kind: str, q: float, p: float, contrast: Contrast) -> list[Selection]:
    """The same settings for every run; ``kind`` is a harm type, or ``ALL_TYPES`` for the mean of each run's own."""
    return [
        Selection(c.categories if kind == ALL_TYPES else (kind,), combine="mean", q=q, p=p, contrast=contrast)
        for c in candidates
    ]


def exact_limit(
    candidates: Sequence[Candidates], chosen: Sequence[Selection], names: Sequence[str]
) -> tuple[float, str]:
    """(the largest q that every run answers exactly, a sentence on which run sets it).

    Raises:
        SelectionInexact: the settings are not stored in one of the runs at any q.
    """
    limits = []
    for c, s, name in zip(candidates, chosen, names, strict=True):
        limit, why = largest_exact_q(c, s)
        if limit <= 0:
            raise SelectionInexact(
                f"{name}: no mask of these settings can be told exactly ({why}); choose another p or type"
            )
        limits.append((limit, name, why))
    limit, name, why = min(limits)
    return limit, f"{name}: {why}"


def map_panels(table: WeightTable, masks: Mapping[str, np.ndarray]) -> list[Panel]:
    """One map a run (label → global indices of its mask); the first two's difference too where there are two."""
    cells = harm_map.grid(table)
    maps = {name: harm_map.mapped(cells, counts_by_matrix(index, table.offsets)) for name, index in masks.items()}
    panels = [Panel(name, map_cells) for name, map_cells in maps.items()]
    if len(panels) > 1:
        first, second = panels[:2]
        change = harm_map.difference(second.cells, first.cells)
        panels.append(Panel(f"{second.name} minus {first.name}", change, signed=True))
    return panels


def panel_table(panels: Sequence[Panel]) -> pd.DataFrame:
    """The numbers behind the maps, one line per map and cell."""
    return pd.concat([p.cells.assign(map=p.name) for p in panels], ignore_index=True)


class Shared(NamedTuple):
    """What two masks have in common, and what the numbers per matrix alone would give (``expected_…``)."""

    first: str
    second: str
    n_first: int
    n_second: int
    common: int
    expected_common: float
    jaccard: float
    expected_jaccard: float


def eligible_counts(a: Candidates, b: Candidates, p: float) -> np.ndarray:
    """int64[3, matrices]: weights that may be pruned in run a, in run b, and in both."""
    counts = np.empty((3, len(a.table)), dtype=np.int64)
    for i in range(len(a.table)):
        in_a, in_b = a.eligible(i, p), b.eligible(i, p)
        counts[:, i] = in_a.sum(), in_b.sum(), (in_a & in_b).sum()
    return counts


def shared(
    names: tuple[str, str], masks: tuple[np.ndarray, np.ndarray], offsets: np.ndarray, eligible: np.ndarray
) -> Shared:
    """Jaccard of two masks of the same weights, beside chance.

    Chance: both masks re-drawn within each matrix among the weights that their own run may prune, so that
    ``E|A ∩ B| = Σ_m a_m b_m · both_m / (eligible_a,m · eligible_b,m)``, the hypergeometric expectation where the two
    runs protect the same weights. ``eligible`` as ``eligible_counts`` returns it.
    """
    a, b = (counts_by_matrix(m, offsets) for m in masks)
    used = (a > 0) & (b > 0)
    in_a, in_b, both = (eligible[k][used].astype(np.float64) for k in range(3))
    expected = float(np.sum(a[used] * b[used] * both / (in_a * in_b)))
    common, sizes = intersection_size(*masks), (len(masks[0]), len(masks[1]))
    return Shared(
        *names, *sizes, common, expected, jaccard_of_counts(common, *sizes), jaccard_of_counts(expected, *sizes)
    )


def pairs_of(names: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs of runs whose masks are compared, by place: every two."""
    return list(combinations(range(len(names)), 2))
