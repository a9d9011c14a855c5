"""``run``: a complete map run of one model on one data set; and the tables that ``show`` ends with, plain and
contrastive side by side, each number with its n, interval and controls."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from harmviz.claims.mapping.document import standing
from harmviz.claims.mapping.equal_effect import equal_effects
from harmviz.claims.mapping.extent import RESPONSE_TOKENS, SAMPLES
from harmviz.claims.mapping.finding import finding
from harmviz.claims.mapping.remarks import remarks
from harmviz.claims.mapping.settings import DEFAULT_Q_MAX, RunSpec, default_q_max
from harmviz.claims.mapping.views import equal_effect
from harmviz.commands.output import (
    duration,
    estimate,
    left_out,
    number,
    print_header,
    print_json,
    print_table,
    progress_printer,
    runs_folder,
    say,
)
from harmviz.commands.user_data import load_told
from harmviz.display import text
from harmviz.models.assets import EMBEDDED
from harmviz.models.locating import locate
from harmviz.runs import Run, frame_to_records
from harmviz.runs.point import MEAN_OF_ALL, SELECTOR_WORDS

CONTROL_NAMES = {
    "random": "random*",
    "magnitude": "like |W|*",
    "utility": "like utility*",
    "benign_signed": "benign-signed",
    "safe_signed": "safe-signed",
    "unprotected": "unprotected (p = 0)",
    "mirror_safe": "mirror: for safe text",
    "mirror_benign": "mirror: for benign text",
}
_MEANS = ("harm", "safe", "benign", "benign_own")
_DIFFERENCES = {
    "harm_specific": "harm − safe",
    "harm_specific_source": "harm − safe, {category}",
    "harm_specific_matched": "harm − safe, matched in source, length, loss",
    "harm_specific_twin": "harm − harmless, author-matched twins",
    "harm_minus_benign": "harm − benign",
}


def run(arguments: argparse.Namespace) -> None:
    """Scores, selects, prunes and measures, and prints what was found."""
    quick, given = arguments.quick, (arguments.samples, arguments.max_response_tokens)
    usual = (SAMPLES[quick], RESPONSE_TOKENS[quick])
    samples, response_tokens = (u if g is None else g for g, u in zip(given, usual, strict=True))
    spec = RunSpec(
        samples=samples,
        seed=arguments.seed,
        skip_tokens=arguments.skip_tokens,
        max_response_tokens=response_tokens,
        max_prompt_tokens=arguments.max_prompt_tokens,
        quick=quick,
        twins=arguments.twins,
        q_max=DEFAULT_Q_MAX if arguments.q_max is None else arguments.q_max,
    )
    # Before torch is loaded: a typing mistake should fail within a second.
    data = load_told(arguments)
    root = runs_folder(arguments.out)
    model = arguments.model or EMBEDDED
    locate(model, say)
    from harmviz.claims.mapping.measure import run_map
    from harmviz.claims.mapping.samples import length_notes
    from harmviz.models.ranks import load_shared

    loaded = load_shared(model, dtype=arguments.dtype, device=arguments.device, say=say)
    if arguments.q_max is None:
        spec = replace(spec, q_max=default_q_max(loaded.table.n_weights, len(data.categories)))
    for note in length_notes(loaded, data, spec):
        say(note)
    start = time.monotonic()
    stored = run_map(loaded, data, spec, root=root, resume=arguments.resume, listener=progress_printer())
    say(f"done in {duration(time.monotonic() - start)}")
    result = finding(stored)
    if arguments.json:
        timings = stored.manifest["timings"]
        facts = {"run_id": stored.id, "path": str(stored.path), "quick": stored.quick, "timings": timings}
        print_json(
            {
                **facts,
                "remarks": remarks(stored, stored.results()),
                "dropped": left_out(stored),
                "equal_effect": [e.as_dict() for e in equal_effects(stored)],
                "finding": result.as_dict(),
            }
        )
        return
    print(stored.path)
    print_header(stored, result)
    print_result(stored)


def print_result(run: Run) -> None:
    """How many weights, and the effects at the chosen and at the unchosen point of each selection."""
    model, parameters = run.manifest["model"], run.manifest["parameters"]
    print(f"N = {model['n_scored_weights']:,} scored weights of {model['n_parameters']:,} parameters")
    results = run.results()
    for remark in remarks(run, results):
        print(remark)
    if run.dropped:
        print_table(("left out: rows of", "number", "why"), [(name, f"{n:,}", why) for name, why, n in run.dropped])
    headline = run.manifest["method"].get("headline")
    if not headline:
        print("this run has no headline point; see its rows with --json")
        return
    effect = results[(results["experiment"] == "effect") & results["condition"].isna()]
    effect = effect[effect["skip_tokens"] == parameters["skip_tokens"]]
    intact = _by_category(effect[effect["metric"] == "nll"])
    print(
        "\nintact loss, nats/token: "
        + " · ".join(f"{name} {number(row['value'])}" for name, row in _of(intact, _MEANS))
    )
    fixed = tuple(parameters["fixed_point"])
    masks = effect[effect["mask"] == MEAN_OF_ALL]
    for contrast in (c for c in SELECTOR_WORDS if c in headline):
        point, words = headline[contrast], SELECTOR_WORDS[contrast].long
        limit = f"benign ΔL ≤ {point['benign_limit']:g}"
        kept = "" if point["within_benign_limit"] else " (no grid point kept the limit: least benign cost)"
        print(
            f"\n{words}: q = {point['q']:g}, p = {point['p']:g}, {point['n_weights']:,} weights; chosen on "
            f"validation prompts, {limit}{kept}"
        )
        _print_point(_at(masks, contrast, point["q"], point["p"]), text.harm_types(run.manifest["data"]["counts"]))
        if (point["q"], point["p"]) != fixed:
            print(f"\n{words}, unchosen: q = {fixed[0]:g}, p = {fixed[1]:g}")
            _print_point(_at(masks, contrast, *fixed), text.harm_types(run.manifest["data"]["counts"]))
    if found := equal_effect.lines(equal_effects(run)):
        print(f"\n{equal_effect.HEADING}, nats/token")
        print_table(equal_effect.COLUMNS, found)
    print("\n" + standing(run).replace("**", ""))
    if len(text.harm_types(run.manifest["data"]["counts"])) == 1:
        print("\none harm type: overlap and transfer between types need two")
    _print_causal(results[results["experiment"] == "causal"])


def _at(rows: pd.DataFrame, contrast: str, q: float, p: float) -> pd.DataFrame:
    return rows[(rows["contrast"] == contrast) & (rows["q"] == q) & (rows["p"] == p)]


def _print_point(rows: pd.DataFrame, types: list[str]) -> None:
    """The mask's own shifts, then those of the controls beside them."""
    mask = rows[rows["control"] == "none"]
    shifts = _by_category(mask[mask["metric"] == "delta_nll"])
    lines = [[name, estimate(row)] for name, row in _of(shifts, (*types, *_MEANS))]
    for metric, words in _DIFFERENCES.items():
        rows_of = frame_to_records(mask[mask["metric"] == metric])
        lines += [[words.format(category=row["category"]), estimate(row)] for row in rows_of]
    print_table(("set", "ΔL, nats/token [95 % interval] n prompts"), lines)
    if controls := list(_controls(rows)):
        print_table(("control", "harm · benign", "mask exceeds it by (harm)"), controls)
        print("* same count per matrix; mean of several draws on a fixed third of the report prompts")
    collapsed = mask[mask["metric"] == "collapsed"]
    if len(collapsed) and collapsed["value"].iloc[0]:
        print("COLLAPSED: this mask breaks the model; what it no longer says proves nothing about safety")


def _controls(rows: pd.DataFrame) -> Iterator[list[str]]:
    for control, words in CONTROL_NAMES.items():
        drawn = rows[rows["control"] == control]
        shifts = _by_category(drawn[drawn["metric"] == "delta_nll"])
        if shifts:
            excess = _by_category(drawn[drawn["metric"] == "excess_over_control"]).get("harm")
            means = " · ".join(f"{name} {estimate(row)}" for name, row in _of(shifts, ("harm", "benign")))
            yield [words, means, "" if excess is None else estimate(excess)]


def _print_causal(rows: pd.DataFrame) -> None:
    by_metric = {row["metric"]: row for row in frame_to_records(rows)}
    if by_metric.get("relative_error", {"value": None})["value"] is None:
        print("\ncausal check: not measured (an empty mask, scores too small, or a precision too coarse for it)")
    else:
        measured, predicted, error = (by_metric[m] for m in ("measured", "predicted", "relative_error"))
        share = "not measured" if (value := error["value"]) is None or math.isnan(value) else f"{value:.2%}"
        print(
            f"\ncausal check: measured dL/dε {number(measured['value'], 4)} against ΣH "
            f"{number(predicted['value'], 4)} nats/token, relative error {share} (n={int(error['n'])})"
        )


def _by_category(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["category"]: row for row in frame_to_records(rows)}


def _of(rows: dict[str, dict[str, Any]], names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, row) of those of these sets that were measured, in this order."""
    return ((name, rows[name]) for name in names if name in rows)
