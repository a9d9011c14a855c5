"""``runs export``: a stored run as one zip file."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json
from harmviz.runs import export_run, open_run


def run(arguments: argparse.Namespace) -> None:
    stored = open_run(arguments.run)
    target = Path(arguments.out or f"{stored.id}.zip").expanduser()
    if target.is_dir():
        target = target / f"{stored.id}.zip"
    export_run(stored, target)
    if arguments.json:
        print_json({"run_id": stored.id, "path": str(target), "bytes": target.stat().st_size})
        return
    print(target)
