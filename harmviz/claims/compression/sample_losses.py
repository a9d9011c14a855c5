"""``losses.parquet``: the loss of every held-out sample at every checkpoint and grid point, a row each.

Every index of a result is a function of these; another index, limit or interval is computed from here, without a model.
No text: samples and prompts are named by their hashes.

| column | |
|---|---|
| seed | of the scoring split |
| checkpoint | its name in the series |
| q, p, scope, contrast | the mask, of the mean of all harm types; null: intact |
| sample, prompt | hashes of the row and of its prompt; the prompt is the cluster of every interval |
| category | the set measured: a harm type, ``safe:<type>`` or ``benign`` |
| nll | loss in nats per response token |
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmviz.claims.compression.results import Results
from harmviz.claims.compression.separability import Measured, Resampled
from harmviz.errors import RunIncompatible
from harmviz.runs import Run
from harmviz.runs.point import MEAN_OF_ALL, Point

FILE = "losses.parquet"
SCHEMA = pa.schema(
    [
        ("seed", pa.int64()),
        ("checkpoint", pa.string()),
        ("q", pa.float64()),
        ("p", pa.float64()),
        ("scope", pa.string()),
        ("contrast", pa.string()),
        *((name, pa.string()) for name in ("sample", "prompt", "category")),
        ("nll", pa.float64()),
    ]
)


def to_bytes(results: Results) -> bytes:
    """The losses of all splits, checkpoints and points as one Parquet file."""
    sink = io.BytesIO()
    addresses: list[Point | None] = [None, *results.spec.points]
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for seed, rows, of_split in zip(results.seeds, results.splits, results.arrays, strict=True):
            samples = {
                "sample": [row.id for row in rows.held_out],
                "prompt": [row.prompt_id for row in rows.held_out],
                "category": [row.set for row in rows.held_out],
            }
            tables = []
            for checkpoint, arrays in zip(results.series.checkpoints, of_split, strict=True):
                for point, losses in zip(addresses, arrays["losses"], strict=True):
                    mask = {} if point is None else point.as_dict()
                    alike = {"seed": seed, "checkpoint": checkpoint.name, **mask}
                    columns = {name: [alike.get(name)] * len(losses) for name in SCHEMA.names} | samples
                    tables.append(pa.table({**columns, "nll": losses}, SCHEMA))
            writer.write_table(pa.concat_tables(tables))
    return sink.getvalue()


def sample_losses(run: Run) -> pd.DataFrame:
    """The losses of this result, columns as above.

    Raises:
        RunIncompatible: it keeps none (made before they were kept), or the file is damaged.
    """
    path = run.file(FILE)
    try:
        return pq.read_table(path, schema=SCHEMA).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as e:
        raise RunIncompatible(f"run {run.id}: {FILE} cannot be read; restore it, or compute the run again") from e


def resampled(run: Run) -> Resampled:
    """The joint draws that the rows of this result were made from, made again from its samples' losses.

    Raises:
        RunIncompatible: as ``sample_losses``, or the losses are not those of its checkpoints and points.
    """
    frame, method = sample_losses(run), run.manifest["method"]
    names = [c["name"] for c in method["checkpoints"]]
    measured: list[Measured] = []
    points: list[Point] = []
    for seed in method["split_seeds"]:
        of_seed = frame[frame["seed"] == seed]
        intact = of_seed[(of_seed["checkpoint"] == names[0]) & of_seed["q"].isna()]
        first = of_seed[of_seed["checkpoint"] == names[0]].iloc[:: max(1, len(intact))]
        points = [
            Point(MEAN_OF_ALL, row.q, row.p, row.scope, row.contrast)
            for row in first.itertuples()
            if not np.isnan(row.q)
        ]
        shape = len(names), 1 + len(points), len(intact)
        if not len(intact) or len(of_seed) != np.prod(shape):
            raise RunIncompatible(
                f"run {run.id}: {FILE} does not hold every checkpoint of split {seed}; restore it, or compute the run "
                "again"
            )
        losses = of_seed["nll"].to_numpy().reshape(shape)
        measured.append(Measured(int(seed), tuple(intact["category"]), tuple(intact["prompt"]), losses))
    parameters = run.manifest["parameters"]
    return Resampled(measured, method["categories"], points, parameters["benign_limit"], seed=int(parameters["seed"]))
