"""``experiment dissociation``: what the model can still do without its harm weights, and the reverse."""

from __future__ import annotations

import argparse
import time
from typing import Any

import pandas as pd

from harmviz.claims.dissociation.finding import finding
from harmviz.commands.output import duration, estimate, print_made, print_table, progress_printer, runs_folder, say
from harmviz.data.prompts import load_again
from harmviz.data.user_files import SHIPPED
from harmviz.errors import DataInvalid
from harmviz.runs import Run, frame_to_records, open_run
from harmviz.runs.point import SELECTOR_WORDS

#: Metric by line of the table: (ability, measure, condition, metric, category).
LINES = (
    ("generation", "ΔL, harmful answers", "generation", "delta_nll", "harm"),
    ("", "harm − safe", "generation", "harm_specific", "harm"),
    ("", "ΔL, benign answers", "generation", "delta_nll", "benign"),
    ("recognition", "change of AUC", "recognition", "delta_auc", "all"),
    ("", "change of accuracy", "recognition", "delta_accuracy", "all"),
    ("explanation", "ΔL, reasons why harmful", "explanation", "delta_nll", "harmful"),
    ("", "harmful − harmless reasons", "explanation", "harm_specific", "harmful"),
    ("refusal", "change of log-odds", "refusal", "delta_refusal_log_odds", "harmful"),
    ("", "change of keyword rate", "refusal", "delta_refusal_rate", "harm"),
)
ARMS = (
    ("harm mask", "mean(all)", "none"),
    ("at matched strength", "matched(mean(all))", "none"),
    ("refusal mask", "refusal", "none"),
    ("random", "mean(all)", "random"),
    ("benign-signed", "mean(all)", "benign_signed"),
)
UNTESTED = {"recognition": "all", "delta_refusal_log_odds": "refusal_log_odds", "delta_refusal_rate": "refusal_rate"}


def run(arguments: argparse.Namespace) -> None:
    """Measures and stores, and prints what was found."""
    source = open_run(arguments.run)
    root = runs_folder(arguments.out)
    named = source.manifest["data"]["id"]
    if arguments.data is None and named not in SHIPPED and source.kind == "map":
        raise DataInvalid(
            f"run {source.id} was made on the file {named!r}; give it with --data, so that prompts it scored stay apart"
        )
    from harmviz.claims.parent import check_parent

    check_parent(source)
    from harmviz.claims.dissociation.measure import run_dissociation
    from harmviz.claims.dissociation.settings import Settings

    settings = Settings(seed=arguments.seed, draws=arguments.draws, pairs=arguments.pairs, prompts=arguments.prompts)
    data = load_again(arguments.data, source.manifest["data"], say=say)
    from harmviz.models.ranks import load_shared

    loaded = load_shared(arguments.model or source.model_id, dtype=arguments.dtype, device=arguments.device, say=say)
    start = time.monotonic()
    stored = run_dissociation(
        source, loaded, data, settings, root=root, resume=arguments.resume, listener=progress_printer()
    )
    say(f"done in {duration(time.monotonic() - start)}")
    print_made(stored, finding(stored), print_result, as_json=arguments.json)


def print_result(run: Run) -> None:
    """The table of what changed, one column a mask, and what could not be tested."""
    frame = run.results()
    testable = _by(frame[frame.metric == "testable"], ["condition", "category"])
    levels = frame[frame["mask"].isna()]
    for contrast in (c for c in SELECTOR_WORDS if (frame.contrast == c).any()):
        here = frame[frame.contrast == contrast]
        arms = [
            (name, _by(here[(here["mask"] == mask) & (here.control == control)], ["condition", "metric", "category"]))
            for name, mask, control in ARMS
        ]
        arms = [(name, rows) for name, rows in arms if rows]
        facts = run.manifest["method"]["masks"][contrast]
        strength = run.manifest["method"]["matching"]["strength"].get(contrast)
        print(
            f"\n{SELECTOR_WORDS[contrast].long}: q = {facts['q']:g}, p = {facts['p']:g}, {facts['n_weights']:,} "
            "weights; matched strength "
            + ("none: a mask does not reduce harm on validation prompts" if strength is None else f"{strength:.2f}")
        )
        lines = []
        for ability, measure, condition, metric, category in LINES:
            untested = testable.get((condition, UNTESTED.get(metric) or UNTESTED.get(condition) or ""))
            mark = "" if untested is None or untested["value"] else " (not testable)"
            cells = [
                estimate(rows[condition, metric, category]) if (condition, metric, category) in rows else ""
                for _, rows in arms
            ]
            lines.append([ability, measure + mark, *cells])
        print_table(("ability", "against intact [95 % interval] n", *(name for name, _ in arms)), lines)
    intact = _by(levels, ["condition", "metric", "category"])
    print(
        "\nintact: "
        + " · ".join(
            f"{name} {estimate(intact[key], sign=False)}"
            for name, key in (
                ("recognition AUC", ("recognition", "auc", "all")),
                ("refusal rate", ("refusal", "refusal_rate", "harm")),
                ("keyword recall", ("refusal", "keyword_recall", "refusal_rate")),
            )
            if key in intact
        )
    )
    if any(not row["value"] for row in testable.values()):
        print(
            "not testable: the intact model shows too little of the ability here for its loss to be seen (AUC interval "
            "includes 0.5, or refusals at floor)"
        )
    print("the refusal mask is a measurement: it stays in the process and is stored nowhere")


def _by(frame: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(str(r[k]) for k in keys): r for r in frame_to_records(frame)}
