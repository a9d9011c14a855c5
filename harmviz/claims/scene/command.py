"""``experiment scene``: the stage scene on a map run: find its mask, report it with controls, record what is shown."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

from harmviz.claims.scene.finding import finding
from harmviz.claims.scene.sets import SHOWN, SOURCES
from harmviz.claims.scene.settings import SceneSpec
from harmviz.commands.output import duration, estimate, print_made, print_table, progress_printer, runs_folder, say
from harmviz.commands.user_data import typed_options
from harmviz.data.own_requests import OWN, own_requests
from harmviz.errors import BadSetting
from harmviz.runs import Run, frame_to_records, open_run
from harmviz.runs.point import selector_words

CHECKS = {
    "doubled": "requests turned away under the opener at least doubled",
    "doubled_quoted": "so did refusals, those in quotation marks too",
    "clear_of_random": "the interval of those turned away lies above the random control's",
    "selective": "they rose further beyond it than harmless ones did",
    "direct_kept": "what is turned away directly still is",
    "benign_kept": "harmless requests answered",
    "fluent": "texts repeat themselves no more",
}


def run(arguments: argparse.Namespace) -> None:
    source = open_run(arguments.run)
    root = runs_folder(arguments.out)
    from harmviz.claims.parent import check_parent
    from harmviz.claims.scene.measure import make_scene
    from harmviz.models.ranks import load_shared

    check_parent(source)
    grids: dict[str, Any] = {}
    for name in ("q", "p"):
        if getattr(arguments, name) is not None:
            grids[f"{name}_grid"] = tuple(sorted(set(_numbers(name, getattr(arguments, name)))))
    if arguments.selections is not None:
        grids["contrasts"] = tuple(dict.fromkeys(s.strip() for s in arguments.selections.split(",")))
    count, file = _requests(arguments.requests or [])
    own = own_requests(file, typed_options(arguments), say=say) if file else None
    sets = arguments.sets or ",".join(SOURCES if own is None else (OWN, SHOWN))
    spec = SceneSpec(
        opener=arguments.opener.rstrip(),
        sources=tuple(s.strip() for s in sets.split(",")),
        requests=count,
        choosing=arguments.choosing,
        max_new_tokens=arguments.max_new_tokens,
        draws=arguments.draws,
        offered=arguments.offered,
        seed=arguments.seed,
    )
    spec = replace(spec, **grids)
    loaded = load_shared(arguments.model or source.model_id, dtype=arguments.dtype, device=arguments.device, say=say)
    start = time.monotonic()
    made = make_scene(
        source,
        loaded,
        spec,
        own=own,
        data=arguments.data,
        root=root,
        resume=arguments.resume,
        listener=progress_printer(),
        say=say,
    )
    say(f"done in {duration(time.monotonic() - start)}")
    print_made(made, finding(made), print_result, as_json=arguments.json, **made.manifest["method"])


def _requests(given: list[str]) -> tuple[int, str | None]:
    """(how many requests are reported on, the file of own ones) of what was typed.

    Raises:
        BadSetting: one of the two was given twice.
    """
    counts, files = [g for g in given if g.strip().isdecimal()], [g for g in given if not g.strip().isdecimal()]
    if len(counts) > 1 or len(files) > 1:
        raise BadSetting("--requests takes one whole number and one file at most, one --requests for each")
    return int(counts[0]) if counts else SceneSpec.requests, files[0] if files else None


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadSetting(f"--{name} must be numbers separated by commas, got {text!r}") from None


def print_result(made: Run) -> None:
    """The chosen mask, the rates with their intervals and controls, and whether it shows what it is to show."""
    method, opener = made.manifest["method"], made.manifest["parameters"]["opener"]
    chosen = method["chosen"]
    kept = (
        ""
        if chosen["within_limits"]
        else f"; it breaks the limits on {', '.join(chosen['broken'])}: no mask kept them all"
    )
    print(
        f"q = {chosen['q']:g}, p = {chosen['p']:g}, {selector_words(chosen['contrast']).short}: "
        f"{chosen['n_weights']:,} weights{kept}\nopener {opener!r}\n"
    )
    rows = [
        r
        for r in frame_to_records(made.results())
        if not r["condition"].startswith("selection:") and "#" not in r["condition"]
    ]
    table = [
        (
            r["category"],
            r["condition"],
            "intact" if r["mask"] is None else "mask" if r["control"] == "none" else r["control"],
            r["metric"],
            estimate(r, sign=False),
        )
        for r in rows
        if r["metric"]
        in (
            "refusal_rate",
            "refusal_quoted",
            "refusal_judged",
            "turned_away_rate",
            "refusal_excess",
            "quoted_excess",
            "turned_away_excess",
            "selective_refusal",
            "selective_turned_away",
            "delta_repetition",
            "delta_nll",
        )
    ]
    print_table(("asked", "how", "mask", "metric", "value [95 % interval] n"), table)
    for name, parts in method["shows"].items():
        print(
            f"\n{name}: "
            + "; ".join(f"{words}: {'yes' if parts[key] else 'NO'}" for key, words in CHECKS.items() if key in parts)
        )
    print(f"\n{method['n_read_well']} mild requests read well; {len(method['offered'])} are recorded")
    print(
        "refusal_rate: keywords, a lower bound; refusal_quoted: in quotation marks too; refusal_judged: keywords or, "
        "from 40 words on, the offline judge; turned_away_rate: declined, in quotation marks too, or answered with "
        "something else"
    )
