"""``show``: what a stored run found: its header, the finding of its claim, and the tables that the claim ends with.
``show --claims``: the paper's eight claims, with the strongest objection to each."""

from __future__ import annotations

import argparse

from harmviz.claims import claim_of, eight
from harmviz.claims.mapping.equal_effect import equal_effects
from harmviz.commands.align import print_ladder
from harmviz.commands.output import left_out, print_header, print_json
from harmviz.display import text
from harmviz.errors import DataInvalid
from harmviz.runs import frame_to_records, open_run
from harmviz.tuning.stored import Ladder, is_ladder


def run(arguments: argparse.Namespace) -> None:
    """Prints the run, or with ``--json`` all its rows; with ``--claims`` the eight claims in its place.

    Raises:
        DataInvalid: neither a run nor ``--claims``.
    """
    if arguments.claims:
        _print_claims(arguments)
        return
    if arguments.run is None:
        raise DataInvalid("show which run? give RUN (`python -m harmviz runs` lists them), or --claims")
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
                "equal_effect": [e.as_dict() for e in equal_effects(stored)] if stored.kind == "map" else [],
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


def _print_claims(arguments: argparse.Namespace) -> None:
    """The eight claims as the committed runs answer them, or one run alone."""
    runs = eight.committed_runs() if arguments.run is None else [open_run(arguments.run)]
    lines = eight.lines(runs)
    if arguments.json:
        print_json({"runs": [run.id for run in runs], "claims": [line.as_dict() for line in lines]})
        return
    for line in lines:
        print(f"{line.paper}  {line.statement}")
        for objection in line.objections:
            print(f"    objection: {objection}")
        for answer in line.answers:
            o = answer.objection
            print(f"  {answer.of}: {o.verdict.upper()}\n    found: {o.found}\n    control: {o.control}")
        print("" if line.answers else "  NOT MEASURED\n")
