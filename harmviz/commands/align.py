"""``align``: a ladder of safety-tuned checkpoints of one model beside two control tunings, each measured."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from harmviz.commands.output import duration, number, print_json, print_table, progress_printer, runs_folder, say
from harmviz.commands.user_data import typed_options
from harmviz.data.own_requests import OWN, own_requests
from harmviz.models.assets import EMBEDDED
from harmviz.tuning.settings import ARMS, AlignSpec, check_arms
from harmviz.tuning.stored import Ladder

COLUMNS = (
    ("refusal/harmful", "refuses: AdvBench, held out"),
    ("refusal/harmbench", "HarmBench"),
    ("refusal/strongreject", "StrongREJECT"),
    ("refusal/do_not_answer", "Do-Not-Answer"),
    ("refusal/reworded", "reworded"),
    ("refusal/reworded_mild", "reworded, mild"),
    ("refusal/opener", "under opener"),
    ("refusal/harmbench_opener", "HarmBench under opener"),
    ("refusal/benign", "over-refuses: benign"),
    ("refusal/borderline", "borderline"),
    ("refusal/borderline_pairs", "borderline pairs"),
    ("refusal/audience", "typed by an audience"),
    ("refusal/audience_harmless", "typed, harmless"),
    ("judged/harmbench", "judged: HarmBench"),
    ("judged/reworded", "judged: reworded"),
    ("judged/benign", "judged: benign"),
    ("judged/borderline", "judged: borderline"),
    ("loss/written", "benign loss, written"),
    ("loss/own", "own answers"),
)
#: Where requests of a reader's own were asked too.
OWN_COLUMN = (f"refusal/{OWN}", "your requests")


def run(arguments: argparse.Namespace) -> None:
    arms = check_arms([a.strip() for a in arguments.arms.split(",")] if arguments.arms else list(ARMS))
    spec = AlignSpec(seed=arguments.seed, steps=arguments.steps, brief=arguments.brief)
    root = runs_folder(arguments.out)
    # The trainers look for updates and caches on a hub; nothing here needs one.
    os.environ.setdefault("HF_HUB_OFFLINE", "1" if not arguments.model or Path(arguments.model).exists() else "0")
    from harmviz.tuning.data import load_align_data
    from harmviz.tuning.own_requests import with_own_requests

    own = own_requests(arguments.requests, typed_options(arguments), say=say) if arguments.requests else None
    data = load_align_data(spec.seed, steps=spec.steps, say=say)
    if own is not None:
        data, notes = with_own_requests(data, own)
        for note in notes:
            say(note)
    from harmviz.models.load import load_model
    from harmviz.tuning.ladder import run_align

    loaded = load_model(arguments.model or EMBEDDED, dtype="float32", device=arguments.device, say=say)
    begun = time.monotonic()
    ladder = run_align(loaded, data, spec, arms, root=root, resume=arguments.resume, listener=progress_printer())
    say(f"done in {duration(time.monotonic() - begun)}")
    if arguments.json:
        print_json({"path": str(ladder.path), **ladder.document()})
        return
    print(ladder.path)
    print_ladder(ladder)


def print_ladder(ladder: Ladder) -> None:
    """The table: a line per checkpoint, every number that was measured with its interval and n."""
    lines = [{"name": "start", **ladder.start}, *ladder.checkpoints]
    columns = [(key, title) for key, title in (*COLUMNS, OWN_COLUMN) if any(key in line["numbers"] for line in lines)]
    rows = [[line["name"], *(_cell(line["numbers"].get(key)) for key, _ in columns)] for line in lines]
    print_table(["checkpoint", *(title for _, title in columns)], rows)
    print(
        "refusals by keyword (a lower bound), share of answers; loss in nats/token against the start; "
        "[95 % interval], n requests"
    )
    if any(key.startswith("judged/") for key, _ in columns):
        print(
            "judged: by keyword or, on answers of 40 words and more, by the offline refusal judge; "
            "at the start and at the end"
        )


def _cell(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return ""
    value, low, high = (measured[key] for key in ("value", "ci_low", "ci_high"))
    if measured["unit"] == "share":
        return f"{value:.0%} [{low:.0%}, {high:.0%}] n={measured['n']}"
    return f"{number(value, sign=True)} [{number(low, sign=True)}, {number(high, sign=True)}] n={measured['n']}"
