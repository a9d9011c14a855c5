"""``runs export``: a stored run as one zip file."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json
from harmviz.runs import export_run, open_run


def run(arguments: argparse.Namespace) -> None:
    found = open_run(arguments.run)
    target = Path(arguments.out or f"{found.id}.zip").expanduser()
    if target.is_dir():
        target = target / f"{found.id}.zip"
    export_run(found, target)
    if arguments.json:
        print_json({"run_id": found.id, "path": str(target), "bytes": target.stat().st_size})
        return
    print(target)
