"""``runs``: what is stored."""

from __future__ import annotations

import argparse

from harmviz.commands.output import print_json, print_table, say
from harmviz.runs import broken_runs, list_partials, list_runs


def run(arguments: argparse.Namespace) -> None:
    stored = list_runs()
    for broken in broken_runs():
        say(f"damaged: {broken.name}: {broken.reason}")
    if arguments.json:
        facts = ("id", "kind", "model_name", "created", "tags")
        keys = ("run_id", "kind", "model", "created", "tags")
        print_json(
            [{**dict(zip(keys, (getattr(r, f) for f in facts), strict=True)), "path": str(r.path)} for r in stored]
        )
        return
    if not stored:
        print("no runs yet; make one with `python -m harmviz run`")
    else:
        header = ("run", "kind", "model", "created", "")
        print_table(header, [(r.id, r.kind, r.model_name, r.created, ", ".join(r.tags)) for r in stored])
    for partial in list_partials():
        state = f"running (pid {partial.pid})" if partial.pid else "interrupted; `run --resume` goes on"
        say(f"{partial.run_id}: {len(partial.stages)} stages done, {state}")
