"""The comparison of rankings: scored once, each pruned step by step until benign answers pay enough.

Each mask holds the one before it. The rows are made from the losses of single samples, which stay with the run
(``losses.parquet``), so that another limit is computed without a model.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmviz.claims.compression.selections import ScoringSet
from harmviz.claims.compression.splits import SplitRows, choose_split, encoded, fitting
from harmviz.claims.rankings.gains import rows_of
from harmviz.claims.rankings.scores import best_weights, ranking_units
from harmviz.claims.rankings.settings import LIMITS, RankingsSpec
from harmviz.data.encoding import Sample
from harmviz.data.prompts import PromptData
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel
from harmviz.runs import Run
from harmviz.runs.making import Making, Plan, make, model_facts
from harmviz.runs.progress import Listener
from harmviz.scoring.loss import response_losses

#: 2: a limit that the first fraction passes has no gain; one fraction beyond the largest limit.
NAME, VERSION = "rankings", 2
#: A line a ranking, fraction and sample: ``ranking``, ``q``, ``n_weights`` (intact: 0), ``sample`` and ``prompt`` as
#: hashes, ``category``, ``nll`` in nats per response token.
FILE = "losses.parquet"


def run_rankings(
    loaded: LoadedModel,
    data: PromptData,
    spec: RankingsSpec,
    *,
    root: Path | None = None,
    resume: bool = False,
    listener: Listener = lambda state: None,
) -> Run:
    """Computes (or takes up again, or returns if it exists) the comparison; arguments and errors as
    ``harmviz.runs.making.make``.

    Raises:
        DataInvalid: the data lacks a set, or has too few prompts for one.
    """
    rows = choose_split(data, spec, spec.seed, fitting(loaded, spec))
    samples = ScoringSet(
        {key: encoded(loaded, of_set, spec) for key, of_set in rows.signed.items()},
        encoded(loaded, rows.preserve, spec),
        rows.categories,
    )
    held_out = encoded(loaded, rows.held_out, spec)
    scoring, measuring = ranking_units(rows.n_signed, len(rows.preserve)), float(len(held_out))

    def work(making: Making) -> dict[str, Any]:
        def scored() -> dict[str, np.ndarray]:
            tick = making.progress.within(scoring)
            return best_weights(loaded, samples, spec, lambda share: tick(round(1000 * share), 1000))

        best = making.arrays("best", scoring, scored)
        frame = pd.concat(_measured(making, loaded, best, held_out, rows, spec), ignore_index=True)

        def keep() -> None:
            making.partial.write(FILE, _to_bytes(frame))

        making.stage("losses", 0.0, keep)
        making.rows(NAME, lambda: rows_of(frame, rows.categories, spec))
        return {"rankings": [ranking for ranking in spec.rankings if ranking in best]}

    plan = Plan(
        name=NAME,
        version=VERSION,
        model=model_facts(loaded),
        data={
            "id": data.id,
            "hash": data.hash,
            "counts": rows.counts(),
            "left_out": data.left_out,
            "notes": [*data.notes, f"prompts of more than {spec.max_prompt_tokens} tokens are left out"],
        },
        parameters=spec.parameters(),
        units=scoring + measuring * (1 + len(spec.rankings) * len(spec.fractions)),
        device=loaded.device.type,
        seeds={"split": spec.seed},
        determinants={"rows": rows.row_ids},
        notes={"categories": list(rows.categories)},
    )
    return make(plan, work, root=root, resume=resume, listener=listener)


def _measured(
    making: Making,
    loaded: LoadedModel,
    best: Mapping[str, np.ndarray],
    held_out: list[Sample],
    rows: SplitRows,
    spec: RankingsSpec,
) -> Iterator[pd.DataFrame]:
    """The losses of every held-out sample: of the intact model, then of each ranking at one fraction after another."""
    units = float(len(held_out))
    benign = np.array([row.set == "benign" for row in rows.held_out])

    def losses(name: str) -> np.ndarray:
        def measure() -> np.ndarray:
            return response_losses(loaded, held_out, progress=making.progress.within(units))[:, 0]

        return making.array(f"losses.{name}", units, measure)

    def framed(nll: np.ndarray, **alike: Any) -> pd.DataFrame:
        of_rows = {
            "sample": [row.id for row in rows.held_out],
            "prompt": [row.prompt_id for row in rows.held_out],
            "category": [row.set for row in rows.held_out],
        }
        return pd.DataFrame({**of_rows, "nll": nll}).assign(**alike)

    intact = losses("intact")
    yield framed(intact, ranking=None, q=np.nan, n_weights=0)
    for ranking in (name for name in spec.rankings if name in best):
        passed = False  # one fraction beyond the largest limit is measured too, for draws of prompts that pay less
        for q in spec.fractions:
            index = best[ranking][: (asked := count_of(q, loaded.table.n_weights))]
            if not len(index):
                continue
            mask = PruneMask.from_global(loaded.table, index, kind="harm", model_hash=loaded.weight_hash)
            with pruned(loaded, mask):
                nll = losses(f"{ranking}.{q:g}")
            yield framed(nll, ranking=ranking, q=q, n_weights=len(index))
            if passed or len(index) < asked:
                break
            passed = (nll - intact)[benign].mean() >= max(LIMITS)


def _to_bytes(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False, compression="zstd")
    return sink.getvalue()
