"""``runs import``: an exported run, or a ladder of an older harmviz, into the stored runs; all of it is checked."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json
from harmviz.runs import import_run, quota
from harmviz.tuning.old_ladders import is_old_ladder, take_in


def run(arguments: argparse.Namespace) -> None:
    source = Path(arguments.archive).expanduser()
    run = take_in(source) if is_old_ladder(source) else import_run(source, max_bytes=quota.room_for_import())
    if arguments.json:
        print_json({"run_id": run.id, "path": str(run.path)})
        return
    print(run.path)
