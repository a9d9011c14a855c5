"""``experiment rankings``: which ranking buys the most for what benign answers pay?"""

from __future__ import annotations

import argparse
import time

from harmviz.claims.rankings import lines
from harmviz.claims.rankings.finding import finding
from harmviz.claims.rankings.settings import RankingsSpec
from harmviz.commands.output import duration, print_made, print_table, progress_printer, runs_folder, say
from harmviz.commands.user_data import load_told
from harmviz.errors import BadSetting
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Run


def run(arguments: argparse.Namespace) -> None:
    """Scores once, prunes in every order, measures, and prints what was found."""
    root, spec = runs_folder(arguments.out), _spec(arguments)
    from harmviz.claims.compression.splits import usable_categories
    from harmviz.claims.rankings.measure import run_rankings
    from harmviz.models.load import load_model

    data = load_told(arguments)  # before the model: a typing mistake should fail within a second
    usable_categories(data)
    loaded = load_model(arguments.model or EMBEDDED, dtype=arguments.dtype, device=arguments.device, say=say)
    begun = time.monotonic()
    stored = run_rankings(loaded, data, spec, root=root, resume=arguments.resume, listener=progress_printer())
    say(f"done in {duration(time.monotonic() - begun)}")
    print_made(stored, finding(stored), print_result, as_json=arguments.json, **stored.manifest["method"])


def _spec(arguments: argparse.Namespace) -> RankingsSpec:
    given = {
        "samples": arguments.samples,
        "held_out": arguments.held_out,
        "max_response_tokens": arguments.max_response_tokens,
    }
    numbers = {name: value for name, value in given.items() if value is not None}
    if arguments.penalties is None:
        return RankingsSpec(seed=arguments.seed, **numbers)
    return RankingsSpec(seed=arguments.seed, penalties=_penalties(arguments.penalties), **numbers)


def _penalties(told: str) -> tuple[float, ...]:
    try:
        return tuple(sorted(float(part) for part in told.split(",") if part.strip()))
    except ValueError as e:
        raise BadSetting(f"penalties must be numbers separated by commas, e.g. 1,10, got {told!r}") from e


# -- what show ends with ----------------------------------------------------------------------------------------------
def print_result(run: Run) -> None:
    """What each ranking buys, against the paper's, and along its fractions."""
    results = run.results()
    print("\nharm − safe where benign answers pay so much, nats/token [95 % interval]")
    print_table(lines.GAINS, lines.gains(run, results))
    print("\nthe same, minus the paper's, drawn together")
    print_table(lines.DIFFERENCES, lines.differences(run, results))
    print("\nalong the fractions, nats/token [95 % interval]")
    print_table(lines.ALONG, lines.along(run, results))
