"""``report``: a stored run as one HTML file that opens offline, with its pictures, tables, method and manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json
from harmviz.report.document import write_report
from harmviz.runs import open_run


def run(arguments: argparse.Namespace) -> None:
    stored = open_run(arguments.run)
    target = write_report(stored, Path(arguments.out or f"{stored.id}.html").expanduser())
    if arguments.json:
        print_json({"run_id": stored.id, "path": str(target), "bytes": target.stat().st_size})
        return
    print(f"{target}  {target.stat().st_size / 1e6:.1f} MB")
