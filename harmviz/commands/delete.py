"""``runs delete``: a stored run, a damaged folder among the runs, or unfinished work, for good."""

from __future__ import annotations

import argparse

from harmviz.commands.output import print_json, say
from harmviz.errors import HarmvizError
from harmviz.runs import delete_run


def run(arguments: argparse.Namespace) -> None:
    if not arguments.yes:
        raise HarmvizError(f"run {arguments.run} would be deleted for good; add --yes to do it")
    delete_run(arguments.run)
    if arguments.json:
        print_json({"run_id": arguments.run, "deleted": True})
        return
    say(f"{arguments.run} is deleted")
