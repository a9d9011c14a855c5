"""``experiment jailbreak``: attacks against the intact model, the pruned one and controls, as a table or as JSON."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd

from harmviz.claims.jailbreak.attacks import choose_attacks
from harmviz.claims.jailbreak.finding import GROUPS, finding, group_of
from harmviz.claims.jailbreak.settings import SOURCES, GridSettings
from harmviz.commands.output import duration, number, print_made, print_table, progress_printer, runs_folder, say
from harmviz.commands.user_data import typed_options
from harmviz.data.own_requests import OWN, own_requests
from harmviz.errors import BadSetting, ModelUnavailable
from harmviz.judges import Judge, available, judge
from harmviz.runs import Run, frame_to_records, open_run

#: Judges asked beside the keyword list where none are named.
DEFAULT_JUDGES = ("offline-refusal", "offline-harm")


def run(arguments: argparse.Namespace) -> None:
    """Asks, judges and stores, and prints what was found. Whatever does not fit fails before the model is loaded."""
    root = runs_folder(arguments.out)
    map_run = open_run(arguments.run)
    attacks = choose_attacks(arguments.attacks)
    judges = chosen_judges(arguments.judge)
    sources, file = requests_typed(arguments.requests)
    own = own_requests(file, typed_options(arguments), say=say) if file else None
    settings = GridSettings(
        requests=sources,
        harmful=arguments.harmful,
        benign=arguments.benign,
        max_new_tokens=arguments.max_new_tokens,
        draws=arguments.draws,
        seed=arguments.seed,
        q=arguments.q,
        p=arguments.p,
    )
    from harmviz.claims.jailbreak.arms import mask_points, scene_arm
    from harmviz.claims.jailbreak.measure import run_jailbreak
    from harmviz.claims.jailbreak.requests import data_of
    from harmviz.claims.parent import open_parent
    from harmviz.models.ranks import load_shared

    mask_points(map_run, settings.given_point)
    scene = open_run(arguments.scene) if arguments.scene else None
    if scene is not None:
        scene_arm(map_run, scene)
    data_of(map_run, arguments.data)
    name = arguments.model or map_run.model_id
    try:
        loaded = load_shared(name, dtype=arguments.dtype, device=arguments.device, say=say)
    except ModelUnavailable as e:
        if arguments.model:
            raise
        raise ModelUnavailable(
            f"the model of run {map_run.id} is not to be had under its name ({e}); say where it is with --model"
        ) from e
    begun = time.monotonic()
    stored = run_jailbreak(
        open_parent(map_run, loaded),
        attacks,
        settings,
        judges,
        scene=scene,
        data=arguments.data,
        own=own,
        root=root,
        resume=arguments.resume,
        listener=progress_printer(),
        say=say,
    )
    say(f"done in {duration(time.monotonic() - begun)}")
    print_made(stored, finding(stored), print_result, as_json=arguments.json)


def requests_typed(text: str) -> tuple[tuple[str, ...], str | None]:
    """(sources, file of own requests) of what was typed: names of sources and at most one file, comma-separated.

    Raises:
        BadSetting: several files. The names are checked by ``GridSettings``.
    """
    names = [text] if Path(text).expanduser().exists() else [part.strip() for part in text.split(",")]
    files = [name for name in names if name not in SOURCES and ("." in name or "/" in name or ":" in name)]
    if len(files) > 1:
        raise BadSetting(f"--requests takes one file at most, got {len(files)}")
    return tuple(OWN if name in files else name for name in names), files[0] if files else None


def chosen_judges(names: list[str] | None) -> list[Judge]:
    """The judges beside the keyword list, which is always asked.

    Raises:
        ValueError: an unknown one. ModelUnavailable: an endpoint without address. DataInvalid: a damaged offline judge.
    """
    at_hand = {info.name for info in available() if info.at_hand}
    wanted = [n for n in DEFAULT_JUDGES if n in at_hand] if names is None else list(dict.fromkeys(names))
    judges = {name: judge(name) for name in wanted}  # an unknown name is an error, also beside ``keyword``
    return [j for name, j in judges.items() if name != "keyword"]


# -- the table --------------------------------------------------------------------------------------------------------
def print_result(run: Run) -> None:
    """One line per attack and one for all: refusals under each mask, then what judges say, then over-refusal."""
    results = run.results()
    conditions: list[str | None] = [*(a["id"] for a in run.manifest["method"]["attacks"]), None]
    for title, category, metric in _tables(results):
        rows = results[(results["category"] == category) & (results["metric"] == metric)]
        groups = [g for g in GROUPS if (group_of(rows) == g).any()]
        if rows["value"].isna().all():
            print(f"\n{title}: unscored")
            continue
        print(f"\n{title}")
        lines = [[c or "all attacks", *(_cell(rows, c, g) for g in groups)] for c in conditions]
        print_table(["attack", *groups], lines)
    for name, reasons in run.manifest["method"].get("unscored", {}).items():
        for reason, n in reasons.items():
            print(f"unscored by {name}: {n} answers, {reason}")
    print(
        "share of requests [95 % interval] n requests; random: mean over the drawn masks; all attacks: without "
        "the bare request"
    )


def _tables(results: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(title, kind of request, metric) of each table."""
    judged = {m for m in map(str, results["metric"]) if m.startswith(("refusal_rate:", "attack_success:"))}
    tables = [("harmful requests refused, keyword list (a lower bound)", "harm", "refusal_rate")]
    for metric in sorted(m for m in judged if not m.endswith("_draws")):
        kind, _, by = metric.partition(":")
        words = "harmful requests refused" if kind == "refusal_rate" else "attacks that succeed"
        tables.append((f"{words}, by {by}", "harm", metric))
    return [
        *tables,
        ("harmful requests complied with, at most", "harm", "compliance_rate"),
        ("benign requests refused, keyword list", "benign", "refusal_rate"),
    ]


def _cell(rows: pd.DataFrame, condition: str | None, group: str) -> str:
    of_attack = rows["condition"].isna() if condition is None else rows["condition"] == condition
    records = frame_to_records(rows[of_attack & (group_of(rows) == group)])
    return _rate(records[0]) if records else ""


def _rate(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "unscored"
    between = "" if row["ci_low"] is None else f" [{number(row['ci_low'], 2)}, {number(row['ci_high'], 2)}]"
    return f"{number(row['value'], 2)}{between} n={row['n']}"
