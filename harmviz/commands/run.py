"""``run``: a complete map run of one model on one data set."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from harmviz.claims.mapping.settings import DEFAULT_Q_MAX, RunSpec, default_q_max
from harmviz.commands.output import duration, print_json, progress_printer, say
from harmviz.commands.show import print_headline
from harmviz.errors import HarmvizError
from harmviz.models.assets import EMBEDDED


def run(arguments: argparse.Namespace) -> None:
    spec = RunSpec(
        samples=arguments.samples,
        seed=arguments.seed,
        skip_tokens=arguments.skip_tokens,
        max_response_tokens=arguments.max_response_tokens,
        q_max=DEFAULT_Q_MAX if arguments.q_max is None else arguments.q_max,
    )
    from harmviz.data.prompts import load_prompts

    data = load_prompts(arguments.data, say=say)  # before the model: a typing mistake should fail within a second
    for category, why in data.left_out.items():
        say(f"category {category} is left out: {why}")
    from harmviz.claims.mapping.measure import run_map
    from harmviz.models.load import load_model

    loaded = load_model(arguments.model or EMBEDDED, dtype=arguments.dtype, device=arguments.device, say=say)
    if arguments.q_max is None:
        spec = replace(spec, q_max=default_q_max(loaded.table.n_weights, len(data.categories)))
    root = Path(arguments.out).expanduser() if arguments.out else None
    if root is not None and root.exists() and not root.is_dir():
        raise HarmvizError(f"--out {root} is a file; give a folder for runs")
    start = time.monotonic()
    made = run_map(loaded, data, spec, root=root, resume=arguments.resume, listener=progress_printer())
    say(f"done in {duration(time.monotonic() - start)}")
    if arguments.json:
        print_json({"run_id": made.id, "path": str(made.path), "timings": made.manifest["timings"]})
        return
    print(made.path)
    print_headline(made)
