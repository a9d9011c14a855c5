"""Arguments that several claims share."""

from __future__ import annotations

from harmviz.claims.claim import option
from harmviz.models.assets import EMBEDDED

#: Which model, how precise, where.
MODEL_OPTIONS = (
    option(
        "--model",
        default=None,
        metavar="M",
        help=f"{EMBEDDED} (default), a folder (model, LoRA adapter), a .gguf file, or hub id@revision",
    ),
    option("--dtype", default="auto", metavar="T", help="auto (default), float32 or bfloat16"),
    option("--device", default="auto", choices=("auto", "cpu", "cuda")),
)

#: Where a run goes and how it is taken up again.
RUN_OPTIONS = (
    option("--out", default=None, metavar="DIR", help="folder of runs (default: the cache's)"),
    option("--resume", action="store_true", help="go on where an interrupted run of these settings stopped"),
)

#: What every experiment takes.
EXPERIMENT_OPTIONS = (
    option("--seed", type=int, default=0, metavar="K", help="of draws, choices and intervals (0)"),
    *RUN_OPTIONS,
)
