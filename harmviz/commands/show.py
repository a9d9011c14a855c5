"""``show``: what a stored run found: its header, the finding of its claim, and the tables that the claim ends with."""

from __future__ import annotations

import argparse

from harmviz.claims import claim_of
from harmviz.commands.align import print_ladder
from harmviz.commands.output import left_out, print_header, print_json
from harmviz.display import text
from harmviz.runs import frame_to_records, open_run
from harmviz.tuning.stored import Ladder, is_ladder


def run(arguments: argparse.Namespace) -> None:
    """Prints the run, or with ``--json`` all its rows."""
    stored = open_run(arguments.run)
    claim, method = claim_of(stored), stored.manifest["method"]
    finding = None if claim is None else claim.face("finding").finding(stored)
    if arguments.json:
        model = stored.manifest["model"]
        print_json(
            {
                "run_id": stored.id,
                "path": str(stored.path),
                "model": model["name"],
                "n_scored_weights": model["n_scored_weights"],
                "n_parameters": model["n_parameters"],
                "categories": text.harm_types(stored.manifest["data"]["counts"]),
                "tags": list(stored.tags),
                "left_out": stored.manifest["data"]["left_out"],
                "dropped": left_out(stored),
                "headline": method.get("headline", {}),
                "finding": None if finding is None else finding.as_dict(),
                "rows": frame_to_records(stored.results()),
            }
        )
        return
    print_header(stored, finding)
    if is_ladder(stored):
        print_ladder(Ladder(stored))
    elif claim is None:
        print(f"experiment {method.get('experiment')!r} is not known to this version; see its rows with --json")
    else:
        claim.face("command").print_result(stored)
