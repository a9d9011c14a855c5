"""``losses.parquet``: the loss of every held-out sample under every mask that a run measured, one row each.

The results are means of these; whoever wants another mean, another index or another interval takes it from here,
without the model. No text: samples and prompts are named by their hashes.

| column | |
|---|---|
| digest | of the mask (``PruneMask.digest``); null: intact |
| set, q, p, scope, contrast, control, draw | what the mask is, as far as it says; null where it does not |
| split | ``validation``, ``report``; ``controls``: the third of the report prompts that drawn controls see; ``twins`` |
| sample, prompt | hashes of the row and of its prompt; the prompt is the cluster of every interval |
| category, source | the set measured, and where its answers come from |
| nll, nll_skip8 | loss in nats per response token: of all tokens, and without the first eight |
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmviz.masks.mask import PruneMask
from harmviz.runs import Run

if TYPE_CHECKING:  # pages read losses, and load no torch
    from harmviz.claims.mapping.samples import MeasuredSet

FILE = "losses.parquet"
_MASK = {"set": pa.string(), "q": pa.float64(), "p": pa.float64(), "scope": pa.string(), "contrast": pa.string()}
_MASK |= {"control": pa.string(), "draw": pa.int64()}
SCHEMA = pa.schema(
    [
        ("digest", pa.string()),
        *_MASK.items(),
        *((name, pa.string()) for name in ("split", "sample", "prompt", "category", "source")),
        ("nll", pa.float64()),
        ("nll_skip8", pa.float64()),
    ]
)


class Measured(NamedTuple):
    """The losses ``[n_samples, 2]`` of one split under one mask (None: intact), without and with eight tokens left
    out."""

    mask: PruneMask | None
    split: str
    samples: MeasuredSet
    losses: np.ndarray


def to_bytes(measured: Iterable[Measured]) -> bytes:
    """All of it as one Parquet file."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for part in measured:
            writer.write_table(_table(part))
    return sink.getvalue()


def _table(part: Measured) -> pa.Table:
    n, facts = len(part.samples.samples), {} if part.mask is None else part.mask.provenance
    columns: dict[str, object] = {"digest": [None if part.mask is None else part.mask.digest] * n}
    columns |= {name: [facts.get(name)] * n for name in _MASK}
    columns |= {
        "split": [part.split] * n,
        "sample": [s.row_id for s in part.samples.samples],
        "prompt": part.samples.prompts,
        "category": part.samples.sets,
        "source": part.samples.sources,
        "nll": part.losses[:, 0],
        "nll_skip8": part.losses[:, 1],
    }
    return pa.table({name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}, SCHEMA)


def sample_losses(run: Run) -> pd.DataFrame:
    """The losses of this run, columns as above.

    Raises:
        RunIncompatible: it keeps none (made before they were kept).
    """
    return pq.read_table(run.file(FILE)).to_pandas()
