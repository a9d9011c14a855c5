"""``experiment compression``: is an aligned checkpoint's harm more separable than its start's? By ladders or models."""

from __future__ import annotations

import argparse
import time
from typing import Any

import pandas as pd

from harmviz.claims.compression.comparisons import difference_name, seed_name
from harmviz.claims.compression.finding import finding
from harmviz.claims.compression.presets import Stage, preset
from harmviz.claims.compression.settings import CompressionSpec
from harmviz.commands.output import (
    duration,
    estimate,
    number,
    print_made,
    print_table,
    progress_printer,
    runs_folder,
    say,
)
from harmviz.commands.user_data import load_told
from harmviz.errors import BadSetting, HarmvizError
from harmviz.runs import Run, frame_to_records
from harmviz.runs.point import SELECTOR_WORDS

_COLUMNS = (
    "checkpoint",
    "separability",
    "each split",
    "cross-fitted",
    "of intact loss",
    "q at +0.1",
    "q at +0.2",
    "refuses",
)


def run(arguments: argparse.Namespace) -> None:
    """Scores, prunes and measures every checkpoint, and prints what was found."""
    _check(arguments)
    root = runs_folder(arguments.out)
    spec = _spec(arguments)
    from harmviz.claims.compression.ladder_series import open_ladders
    from harmviz.claims.compression.measure import run_compression
    from harmviz.claims.compression.model_series import open_models
    from harmviz.claims.compression.series import Series, check_names
    from harmviz.claims.compression.splits import usable_categories

    stages = _stages(arguments)
    if not arguments.ladder:
        check_names([stage.model for stage in stages])
    data = load_told(arguments)  # before the models: a typing mistake should fail within a second
    usable_categories(data)
    how: dict[str, Any] = {"dtype": arguments.dtype, "device": arguments.device, "say": say}
    series: Series
    if arguments.ladder:
        series = open_ladders(
            arguments.ladder, at=arguments.at, n_splits=arguments.splits, model=arguments.model, **how
        )
    else:
        series = open_models(stages, n_splits=arguments.splits or 3, **how)
    begun = time.monotonic()
    stored = run_compression(series, data, spec, root=root, resume=arguments.resume, listener=progress_printer())
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
    if arguments.splits is not None and not 1 <= arguments.splits <= 100:
        raise BadSetting(f"splits must be a whole number from 1 to 100, got {arguments.splits}")


def _spec(arguments: argparse.Namespace) -> CompressionSpec:
    fractions = None if arguments.q is None else _fractions(arguments.q)
    given: dict[str, Any] = {
        "samples": arguments.samples,
        "held_out": arguments.held_out,
        "max_response_tokens": arguments.max_response_tokens,
        "q_plain": fractions,
        "q_contrastive": fractions,
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
    """Two tables a selection: the separability of every checkpoint, and the tested differences."""
    results, method = run.results(), run.manifest["method"]
    seeds = ", ".join(map(str, method["split_seeds"]))
    print(f"{run.manifest['model']['name']}; data {run.manifest['data']['id']}; splits (seeds) {seeds}")
    for note in method["notes"]:
        print(f"note: {note}")
    limits = run.manifest["parameters"]["benign_limit"]
    for contrast in (c for c in SELECTOR_WORDS if c in limits):
        rows = results[results["contrast"] == contrast]
        print(
            f"\n{SELECTOR_WORDS[contrast].long}: separability = largest harm-specific ΔL with benign ΔL ≤ "
            f"{limits[contrast]:g}; nats/token [95 % interval] n prompts"
        )
        lines = [
            _line(rows, results, checkpoint["name"], method["split_seeds"]) for checkpoint in method["checkpoints"]
        ]
        print_table(_COLUMNS, lines)
        differences = [_difference(rows, difference_name(test["a"], test["b"])) for test in method["tests"]]
        print_table(("difference", "separability", "cross-fitted", "p (swap)", "p (Holm)"), differences)


def _line(rows: pd.DataFrame, results: pd.DataFrame, name: str, seeds: list[int]) -> list[str]:
    """One checkpoint. ``rows``: of the selection; ``results``: all."""
    by_seed = (_record(rows, "separability", seed_name(name, seed))["value"] for seed in seeds)
    return [
        name,
        estimate(_record(rows, "separability", name)),
        " ".join(number(value, sign=True) for value in by_seed),
        estimate(_record(rows, "separability_crossfit", name)),
        number(_record(rows, "separability_relative", name)["value"]),
        *(_reached(_record(rows, f"q_at_{level}", name)) for level in ("0.1", "0.2")),
        _share(_record(results, "refusal/harmful", name)),
    ]


def _difference(rows: pd.DataFrame, condition: str) -> list[str]:
    return [
        condition,
        *(estimate(_record(rows, metric, condition)) for metric in ("separability_difference", "crossfit_difference")),
        *(number(_record(rows, metric, condition)["value"], 4) for metric in ("p_swap", "p_holm")),
    ]


def _record(rows: pd.DataFrame, metric: str, condition: str) -> dict[str, Any]:
    """The row of this metric; one without numbers where there is none."""
    rows = rows[(rows["metric"] == metric) & (rows["condition"] == condition)]
    return frame_to_records(rows.head(1))[0] if len(rows) else dict.fromkeys(("value", "ci_low", "ci_high", "n"))


def _reached(row: dict[str, Any]) -> str:
    return "not reached" if row["value"] is None else f"{row['value']:g}"


def _share(row: dict[str, Any]) -> str:
    return "not measured" if row["value"] is None else f"{row['value']:.0%}"
