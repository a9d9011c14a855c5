"""``runs import``: an exported run into the stored ones, checked before anything is kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json
from harmviz.runs import import_run


def run(arguments: argparse.Namespace) -> None:
    made = import_run(Path(arguments.archive).expanduser())
    if arguments.json:
        print_json({"run_id": made.id, "path": str(made.path)})
        return
    print(made.path)
