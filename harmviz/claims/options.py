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
    option(
        "--device",
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda, one GPU of several: cuda:1, or all: layers spread over all GPUs (not for "
        "tuning and bench)",
    ),
)

#: How data of a reader's own is read.
DATA_OPTIONS = (
    option(
        "--columns",
        default=None,
        metavar="U=C,…",
        help="which column is what, e.g. prompt=goal,response=target; uses: category, prompt, response, input, "
        "messages, is_safe, safe",
    ),
    option("--category", default=None, metavar="C", help="the harm type of all rows, where no column says it"),
    option("--drop-bad", action="store_true", help="leave out rows that cannot be used, and count them"),
)
#: What --data takes.
DATA_HELP = (
    "pyrit, scored, builtin, a file (.jsonl, .json, .csv, .tsv, .parquet, .gz), a saved folder, or hub:owner/name"
)

#: What --requests takes as a file.
REQUESTS_HELP = "a .txt file with one a line, or anything that --data takes"

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
