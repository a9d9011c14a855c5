"""``runs slim``: a ladder without its checkpoints, a map without its candidates, once what needs them is measured."""

from __future__ import annotations

import argparse

from harmviz.commands.output import print_json, say
from harmviz.errors import HarmvizError
from harmviz.runs.slimming import slim


def run(arguments: argparse.Namespace) -> None:
    if not arguments.yes:
        raise HarmvizError(
            f"the heaviest files of run {arguments.run} (a ladder's checkpoints, a map's candidates) would be "
            "deleted for good, and what was measured kept; add --yes to do it"
        )
    freed = slim(arguments.run)
    if arguments.json:
        print_json({"run_id": arguments.run, "freed_bytes": freed})
        return
    say(f"{arguments.run}: {freed / 1e6:.1f} MB are deleted, what was measured is kept")
