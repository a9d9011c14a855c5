"""``runs slim``: a ladder without the weights of its checkpoints, once what needs them is measured."""

from __future__ import annotations

import argparse

from harmviz.commands.output import print_json, say
from harmviz.errors import HarmvizError
from harmviz.tuning.slimming import slim


def run(arguments: argparse.Namespace) -> None:
    if not arguments.yes:
        raise HarmvizError(
            f"the checkpoints of ladder {arguments.run} would be deleted for good, its numbers kept; add --yes to do it"
        )
    freed = slim(arguments.run)
    if arguments.json:
        print_json({"run_id": arguments.run, "freed_bytes": freed})
        return
    say(f"{arguments.run}: {freed / 1e6:.1f} MB of checkpoints are deleted, what they measured is kept")
