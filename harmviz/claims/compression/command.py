"""``experiment compression``: is an aligned checkpoint's harm more separable than its start's? Along ladders or named models."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd

from harmviz.commands.output import duration, estimate, number, print_json, print_table, progress_printer, say
from harmviz.errors import BadSetting, HarmvizError
from harmviz.runs import Run, frame_to_records

SELECTIONS = {"none": "plain, as in the paper", "both": "contrastive"}


def run(arguments: argparse.Namespace) -> None:
    given = [
        n
        for n, v in (
            ("checkpoints", arguments.checkpoints),
            ("--ladder", arguments.ladder),
            ("--preset", arguments.preset),
        )
        if v
    ]
    if len(given) != 1:
        raise HarmvizError(
            f"give one of: checkpoints by name, --ladder, or --preset (got {' and '.join(given) or 'none'})"
        )
    if arguments.model and not arguments.ladder:
        raise HarmvizError("--model names the start model of ladders; without --ladder give it as a checkpoint")
    if arguments.splits is not None and not 1 <= arguments.splits <= 100:
        raise BadSetting(f"splits must be a whole number from 1 to 100, got {arguments.splits}")
    root = Path(arguments.out).expanduser() if arguments.out else None
    if root is not None and root.exists() and not root.is_dir():
        raise HarmvizError(f"--out {root} is a file; give a folder for runs")
    from harmviz.claims.compression.checkpoints import Series, check_names, open_ladders, open_models
    from harmviz.claims.compression.measure import CompressionSpec, run_compression, usable_categories
    from harmviz.claims.compression.presets import Stage, preset
    from harmviz.data.prompts import load_prompts

    changed: dict[str, Any] = {
        "samples": arguments.samples,
        "held_out": arguments.held_out,
        "max_response_tokens": arguments.max_response_tokens,
    }
    if arguments.q is not None:
        changed["q_plain"] = changed["q_contrastive"] = _fractions(arguments.q)
    if arguments.set_q is not None:
        changed["set_q"] = arguments.set_q
    spec = CompressionSpec(seed=arguments.seed, **{k: v for k, v in changed.items() if v is not None})
    stages = (
        list(preset(arguments.preset))
        if arguments.preset
        else [Stage(_short(n, arguments.checkpoints), n) for n in arguments.checkpoints]
    )
    if not arguments.ladder:
        check_names([s.model for s in stages])
    data = load_prompts(arguments.data, say=say)  # before the models: a typing mistake should fail within a second
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
    made = run_compression(series, data, spec, root=root, resume=arguments.resume, listener=progress_printer())
    say(f"done in {duration(time.monotonic() - begun)}")
    if arguments.json:
        print_json(
            {
                "run_id": made.id,
                "path": str(made.path),
                **made.manifest["method"],
                "rows": frame_to_records(made.results()),
            }
        )
        return
    print(made.path)
    print_found(made)


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as e:
        raise BadSetting(f"q must be fractions separated by commas, e.g. 5e-6,1e-5, got {text!r}") from e


def _short(name: str, names: list[str]) -> str:
    """The last part of a path or hub id where that tells the checkpoints apart, else the whole name."""
    last = [n.rstrip("/").rpartition("/")[2] for n in names]
    mine = name.rstrip("/").rpartition("/")[2]
    return mine if last.count(mine) == 1 else name


def print_found(run: Run) -> None:
    """Two tables a selection: the separability of every checkpoint, and the tested differences."""
    frame, method = run.results(), run.manifest["method"]
    names = [c["name"] for c in method["checkpoints"]]
    print(
        f"{run.manifest['model']['name']}; data {run.manifest['data']['id']}; splits (seeds) {', '.join(map(str, method['split_seeds']))}"
    )
    for note in method["notes"]:
        print(f"note: {note}")
    for contrast, title in SELECTIONS.items():
        here = frame[frame["contrast"] == contrast]
        limit = run.manifest["parameters"]["benign_limit"][contrast]
        print(
            f"\n{title}: separability = largest harm-specific ΔL with benign ΔL ≤ {limit:g}; nats/token [95 % interval] n prompts"
        )
        print_table(
            (
                "checkpoint",
                "separability",
                "each split",
                "cross-fitted",
                "of intact loss",
                "q at +0.1",
                "q at +0.2",
                "refuses",
            ),
            [
                (
                    name,
                    estimate(_record(here, "separability", name)),
                    " ".join(
                        number(_record(here, "separability", f"{name}#{seed}")["value"], sign=True)
                        for seed in method["split_seeds"]
                    ),
                    estimate(_record(here, "separability_crossfit", name)),
                    number(_record(here, "separability_relative", name)["value"]),
                    _reached(_record(here, "q_at_0.1", name)),
                    _reached(_record(here, "q_at_0.2", name)),
                    _share(_record(frame, "refusal/harmful", name)),
                )
                for name in names
            ],
        )
        rows = []
        for test in method["tests"]:
            condition = f"{test['a']} minus {test['b']}"
            rows.append(
                (
                    condition,
                    estimate(_record(here, "separability_difference", condition)),
                    estimate(_record(here, "crossfit_difference", condition)),
                    number(_record(here, "p_swap", condition)["value"], 4),
                    number(_record(here, "p_holm", condition)["value"], 4),
                )
            )
        print_table(("difference", "separability", "cross-fitted", "p (swap)", "p (Holm)"), rows)


def _record(frame: pd.DataFrame, metric: str, condition: str) -> dict[str, Any]:
    found = frame[(frame["metric"] == metric) & (frame["condition"] == condition)]
    if found.empty:
        return {"value": None, "ci_low": None, "ci_high": None, "n": None}
    return {k: (None if pd.isna(v) else v) for k, v in found.iloc[0].items()}


def _reached(row: dict[str, Any]) -> str:
    return "not reached" if row["value"] is None else f"{row['value']:g}"


def _share(row: dict[str, Any]) -> str:
    return "not measured" if row["value"] is None else f"{row['value']:.0%}"
