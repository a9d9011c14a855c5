"""A stored result, read for one selection: separabilities, tested differences, behaviour. No torch, no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from harmviz.claims.compression.comparisons import ALIGNED_ARM, difference_name, seed_name
from harmviz.runs import Run
from harmviz.runs.point import SELECTOR_WORDS

#: The selection whose verdict is the result's, where it was measured: the contrastive one.
PRIMARY = "both"


@dataclass(frozen=True, eq=False)
class Difference:
    """One tested difference, checkpoint ``a`` minus ``b``.

    Attributes:
        kind: ``start``, ``control`` or ``previous``, as ``comparisons.planned_tests``.
        row: the difference of separabilities under the benign limit; crossfit: of cross-fitted ones. None where it was
            not measured.
        p, p_holm: of the permutation test, as it is and corrected over the tests of the selection; NaN: not measured.
        above: in how many of ``n_splits`` splits ``a`` lies above ``b``.
    """

    a: str
    b: str
    kind: str
    row: pd.Series | None
    crossfit: pd.Series | None
    p: float
    p_holm: float
    above: int
    n_splits: int

    @property
    def value(self) -> float:
        """In nats per token; NaN: not measured."""
        return number(self.row, "value")


@dataclass(frozen=True, eq=False)
class StoredResult:
    """The result for one selection.

    Attributes:
        checkpoints: in the order of the series, as ``series.Checkpoint.as_dict``. tests: as ``planned_tests``.
        seeds: of the splits. contrast: the selection. limit: its largest benign ΔL, nats per token.
        frame: every row of the result, of all selections.
    """

    checkpoints: tuple[Mapping[str, Any], ...]
    tests: tuple[Mapping[str, str], ...]
    seeds: tuple[int, ...]
    contrast: str
    limit: float
    n_scored: int
    frame: pd.DataFrame = field(repr=False)

    def row(self, metric: str, condition: str, *, selected: bool = True) -> pd.Series | None:
        """The row of this metric; ``selected``: of the selection shown, else whatever the selection."""
        place = self._places.get((metric, condition, self.contrast if selected else None))
        return None if place is None else self.frame.iloc[place]

    @cached_property
    def _places(self) -> dict[tuple[str, str, str | None], int]:
        """(metric, condition, selection) → the first such row; None stands for any selection."""
        places: dict[tuple[str, str, str | None], int] = {}
        columns = (self.frame[name] for name in ("metric", "condition", "contrast"))
        for place, (metric, condition, contrast) in enumerate(zip(*columns, strict=True)):
            for selection in (contrast, None):
                places.setdefault((metric, condition, selection), place)
        return places

    def value(self, metric: str, condition: str, *, selected: bool = True) -> float:
        """The number of that row; NaN: not measured."""
        return number(self.row(metric, condition, selected=selected), "value")

    @property
    def names(self) -> list[str]:
        return [str(c["name"]) for c in self.checkpoints]

    @property
    def start(self) -> str:
        """What every checkpoint is compared with."""
        return self.names[0]

    @property
    def target(self) -> str:
        """The checkpoint that the finding speaks of: the last of the safety arm, or the last of the series."""
        aligned = [str(c["name"]) for c in self.checkpoints if c["arm"] == ALIGNED_ARM]
        return aligned[-1] if aligned else self.names[-1]

    @property
    def arms(self) -> list[str]:
        """The tunings compared, in order; empty in a series without arms."""
        return list(dict.fromkeys(str(c["arm"]) for c in self.checkpoints if c["arm"]))

    @property
    def has_arms(self) -> bool:
        return bool(self.arms)

    @property
    def n_prompts(self) -> int:
        n = number(self.row("separability", self.start), "n")
        return 0 if math.isnan(n) else int(n)

    def differences(self) -> list[Difference]:
        """Every tested difference, in the order planned."""
        return [self._difference(test) for test in self.tests]

    def against_start(self) -> Difference | None:
        """The target minus the start."""
        return next((d for d in self.differences() if d.kind == "start" and d.a == self.target), None)

    def against_controls(self) -> list[Difference]:
        """The target minus each control tuning of equal length."""
        return [d for d in self.differences() if d.kind == "control" and d.a == self.target]

    def _difference(self, test: Mapping[str, str]) -> Difference:
        a, b = str(test["a"]), str(test["b"])
        condition = difference_name(a, b)

        def of_seed(name: str, seed: int) -> float:
            return self.value("separability", seed_name(name, seed))

        return Difference(
            a,
            b,
            str(test["kind"]),
            self.row("separability_difference", condition),
            self.row("crossfit_difference", condition),
            self.value("p_swap", condition),
            self.value("p_holm", condition),
            sum(of_seed(a, seed) > of_seed(b, seed) for seed in self.seeds),
            len(self.seeds),
        )


def number(row: pd.Series | None, name: str) -> float:
    """One number of a row; NaN where there is none."""
    return math.nan if row is None or pd.isna(row[name]) else float(row[name])


def selections(results: pd.DataFrame) -> list[str]:
    """The selections that the result has separabilities of, the one that decides first."""
    stored = set(results.loc[results["metric"] == "separability", "contrast"])
    return sorted((c for c in SELECTOR_WORDS if c in stored), key=lambda contrast: contrast != PRIMARY)


def read_result(run: Run, results: pd.DataFrame, contrast: str) -> StoredResult:
    """The result for one selection. ``results``: the run's rows."""
    method = run.manifest["method"]
    return StoredResult(
        tuple(method["checkpoints"]),
        tuple(method["tests"]),
        tuple(method["split_seeds"]),
        contrast,
        float(run.manifest["parameters"]["benign_limit"][contrast]),
        int(run.manifest["model"]["n_scored_weights"]),
        results,
    )
