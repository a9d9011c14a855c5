"""``experiment compression``: is an aligned checkpoint's harm more separable than its start's? By ladders or models."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from harmviz.claims.compression import lines
from harmviz.claims.compression.finding import finding, verdict
from harmviz.claims.compression.fixed_difference import FixedResult
from harmviz.claims.compression.presets import Stage, preset
from harmviz.claims.compression.settings import LIMITS, CompressionSpec, with_fixed
from harmviz.claims.compression.stored import read_result, selections
from harmviz.commands.output import duration, print_made, print_table, progress_printer, runs_folder, say
from harmviz.commands.user_data import load_told
from harmviz.errors import BadSetting, HarmvizError, RunNotFound
from harmviz.paths import runs_root, shipped_runs_root
from harmviz.runs import Run, open_run
from harmviz.runs.point import SELECTOR_WORDS


def run(arguments: argparse.Namespace) -> None:
    """Scores, prunes and measures every checkpoint, and prints what was found."""
    _check(arguments)
    root = runs_folder(arguments.out)
    spec = _spec(arguments)
    from harmviz.claims.compression.kept import Earlier
    from harmviz.claims.compression.ladder_series import open_ladders
    from harmviz.claims.compression.measure import run_compression
    from harmviz.claims.compression.model_series import open_models
    from harmviz.claims.compression.series import Series, check_names
    from harmviz.claims.compression.splits import usable_categories

    earlier = Earlier.of([_earlier(name, root) for name in arguments.earlier])
    stages = _stages(arguments)
    if not arguments.ladder:
        check_names([stage.model for stage in stages])
    data = load_told(arguments)  # before the models: a typing mistake should fail within a second
    usable_categories(data)
    how: dict[str, Any] = {"dtype": arguments.dtype, "device": arguments.device, "say": say}
    series: Series
    if arguments.ladder:
        series = open_ladders(
            arguments.ladder,
            at=arguments.at,
            n_splits=arguments.splits,
            spared=earlier.weights,
            model=arguments.model,
            **how,
        )
    else:
        series = open_models(stages, n_splits=arguments.splits or 3, **how)
    begun = time.monotonic()
    how_made: dict[str, Any] = {"root": root, "resume": arguments.resume, "listener": progress_printer()}
    stored = run_compression(series, data, spec, earlier=earlier, **how_made)
    say(f"done in {duration(time.monotonic() - begun)}")
    print_made(stored, finding(stored), print_result, as_json=arguments.json, **stored.manifest["method"])


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what does not go together.

    Raises:
        HarmvizError: see above; the message names the options.
    """
    sources = {
        "checkpoints": arguments.checkpoints,
        "--ladder": arguments.ladder,
        "--preset": arguments.preset,
    }
    given = [name for name, value in sources.items() if value]
    if len(given) != 1:
        raise HarmvizError(
            f"give one of: checkpoints by name, --ladder, or --preset (got {' and '.join(given) or 'none'})"
        )
    if arguments.model and not arguments.ladder:
        raise HarmvizError("--model names the start model of ladders; without --ladder give it as a checkpoint")
    if arguments.at != "ends" and not arguments.ladder:
        raise BadSetting("--at names checkpoints of ladders; without --ladder leave it out")
    if arguments.splits is not None and not 1 <= arguments.splits <= 100:
        raise BadSetting(f"splits must be a whole number from 1 to 100, got {arguments.splits}")


def _earlier(name: str, root: Path | None) -> Run:
    """The result of this name: where this one goes, among the runs here, or among those that ship.

    Raises:
        RunNotFound, RunIncompatible: as ``open_run``.
    """
    for place in dict.fromkeys((root or runs_root(), runs_root(), shipped_runs_root())):
        with suppress(RunNotFound):
            return open_run(name, place)
    return open_run(name)


def _spec(arguments: argparse.Namespace) -> CompressionSpec:
    fractions = None if arguments.q is None else _fractions(arguments.q)
    given: dict[str, Any] = {
        "samples": arguments.samples,
        "held_out": arguments.held_out,
        "max_response_tokens": arguments.max_response_tokens,
        "q_plain": None if fractions is None else with_fixed("none", fractions),
        "q_contrastive": None if fractions is None else with_fixed("both", fractions),
        "set_q": arguments.set_q,
    }
    return CompressionSpec(seed=arguments.seed, **{name: value for name, value in given.items() if value is not None})


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as e:
        raise BadSetting(f"q must be fractions separated by commas, e.g. 5e-6,1e-5, got {text!r}") from e


def _stages(arguments: argparse.Namespace) -> list[Stage]:
    """The checkpoints named; none where ladders are."""
    if arguments.preset:
        return list(preset(arguments.preset))
    return [Stage(_short(name, arguments.checkpoints), name) for name in arguments.checkpoints]


def _short(name: str, names: list[str]) -> str:
    """The last part of a path or hub id where that tells the checkpoints apart, else the whole name."""
    last = [n.rstrip("/").rpartition("/")[2] for n in names]
    short = name.rstrip("/").rpartition("/")[2]
    return short if last.count(short) == 1 else name


# -- what show ends with ----------------------------------------------------------------------------------------------
def print_result(run: Run) -> None:
    """Three tables a selection: differences at fixed fractions, the index under a limit, its differences over it."""
    results, method = run.results(), run.manifest["method"]
    seeds = ", ".join(map(str, method["split_seeds"]))
    print(f"{run.manifest['model']['name']}; data {run.manifest['data']['id']}; splits (seeds) {seeds}")
    for note in method["notes"]:
        print(f"note: {note}")
    for contrast in selections(results):
        result = read_result(run, results, contrast)
        fixed = FixedResult(result)
        print(f"\n{SELECTOR_WORDS[contrast].long}, at fixed fractions: {verdict(fixed)}; nats/token [95 % interval]")
        if not fixed.tested:
            print("made before the stable index: no losses of single samples, so no paired interval and no test")
        print_table(lines.FIXED, lines.fixed(fixed))
        print(
            f"\n{SELECTOR_WORDS[contrast].long}, secondary: separability = largest harm-specific ΔL with benign ΔL ≤ "
            f"{result.limit:g}; nats/token [95 % interval] n prompts"
        )
        print_table(lines.CHECKPOINTS, lines.checkpoints(result))
        print_table(lines.DIFFERENCES, lines.differences(result))
        if over := lines.over_limits(result):
            print_table(("benign ΔL at most", *map("{:g}".format, LIMITS)), over)
