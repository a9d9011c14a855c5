"""``experiment jailbreak``: attacks against the intact model, the pruned one and controls, as a table or as JSON."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd

from harmviz.claims.jailbreak.attacks import choose_attacks
from harmviz.claims.jailbreak.rows import group_of
from harmviz.commands.output import duration, number, print_json, print_table, progress_printer, say
from harmviz.errors import HarmvizError, ModelUnavailable
from harmviz.judges import Judge, available, judge
from harmviz.runs import Run, frame_to_records, open_run

#: Judges asked beside the keyword list where none are named.
DEFAULT_JUDGES = ("offline-refusal", "offline-harm")
GROUPS = ("intact", "plain", "contrastive", "guarded", "random", "benign_signed")


def run(arguments: argparse.Namespace) -> None:
    root = Path(arguments.out).expanduser() if arguments.out else None
    if root is not None and root.exists() and not root.is_dir():
        raise HarmvizError(f"--out {root} is a file; give a folder for runs")
    parent_run = open_run(arguments.run)
    attacks = choose_attacks(arguments.attacks)
    judges = chosen_judges(arguments.judge)
    from harmviz.claims.jailbreak.measure import JailbreakSpec, mask_points, run_jailbreak, scene_arm
    from harmviz.claims.jailbreak.requests import data_of

    spec = JailbreakSpec(
        attacks,
        tuple(s.strip() for s in arguments.requests.split(",")),
        arguments.harmful,
        arguments.benign,
        arguments.max_new_tokens,
        arguments.draws,
        arguments.seed,
        arguments.q,
        arguments.p,
    )
    mask_points(parent_run, spec)  # before the model: what does not fit should fail at once
    scene = open_run(arguments.scene) if arguments.scene else None
    if scene is not None:
        scene_arm(parent_run, scene)
    data_of(parent_run, arguments.data)
    from harmviz.claims.parent import open_parent
    from harmviz.models.load import load_model

    name = arguments.model or parent_run.model_id
    try:
        loaded = load_model(name, dtype=arguments.dtype, device=arguments.device, say=say)
    except ModelUnavailable as e:
        if arguments.model:
            raise
        raise ModelUnavailable(
            f"the model of run {parent_run.id} is not to be had under its name ({e}); say where it is with --model"
        ) from e
    begun = time.monotonic()
    made = run_jailbreak(
        open_parent(parent_run, loaded),
        spec,
        judges,
        scene=scene,
        data=arguments.data,
        root=root,
        resume=arguments.resume,
        listener=progress_printer(),
        say=say,
    )
    say(f"done in {duration(time.monotonic() - begun)}")
    if arguments.json:
        print_json({"run_id": made.id, "path": str(made.path), "rows": frame_to_records(made.results())})
        return
    print(made.path)
    print_found(made)


def chosen_judges(names: list[str] | None) -> list[Judge]:
    """The judges beside the keyword list, which is always asked.

    Raises:
        ValueError: an unknown one. ModelUnavailable: an endpoint without address. DataInvalid: a damaged offline judge.
    """
    at_hand = {info.name for info in available() if info.at_hand}
    wanted = [n for n in DEFAULT_JUDGES if n in at_hand] if names is None else list(dict.fromkeys(names))
    found = {name: judge(name) for name in wanted}  # an unknown name is an error, also beside ``keyword``
    return [j for name, j in found.items() if name != "keyword"]


# -- the table --------------------------------------------------------------------------------------------------------
def print_found(run: Run) -> None:
    """One line per attack, and one for all attacks: refusals under each mask, then what judges say, then over-refusal."""
    results = run.results()
    conditions: list[str | None] = [a["id"] for a in run.manifest["method"]["attacks"]]
    conditions.append(None)
    parts = [("harmful requests refused, keyword list (a lower bound)", "harm", "refusal_rate")]
    for metric in sorted(
        {
            str(m)
            for m in results["metric"]
            if str(m).startswith(("refusal_rate:", "attack_success:")) and not str(m).endswith("_draws")
        }
    ):
        kind, _, by = metric.partition(":")
        title = f"harmful requests refused, by {by}" if kind == "refusal_rate" else f"attacks that succeed, by {by}"
        parts.append((title, "harm", metric))
    parts += [
        ("harmful requests complied with, at most", "harm", "compliance_rate"),
        ("benign requests refused, keyword list", "benign", "refusal_rate"),
    ]
    for title, category, metric in parts:
        rows = results[(results["category"] == category) & (results["metric"] == metric)]
        groups = [g for g in GROUPS if not rows[group_of(rows) == g].empty]
        if rows["value"].isna().all():
            print(f"\n{title}: unscored")
            continue
        print(f"\n{title}")
        print_table(
            ["attack", *groups], [[c or "all attacks", *(_cell(rows, c, g) for g in groups)] for c in conditions]
        )
    for name, reasons in run.manifest["method"].get("unscored", {}).items():
        for reason, n in reasons.items():
            print(f"unscored by {name}: {n} answers, {reason}")
    print(
        "share of requests [95 % interval] n requests; random: mean over the drawn masks; all attacks: without the bare request"
    )


def _cell(rows: pd.DataFrame, condition: str | None, group: str) -> str:
    here = rows["condition"].isna() if condition is None else rows["condition"] == condition
    found = frame_to_records(rows[here & (group_of(rows) == group)])
    return _rate(found[0]) if found else ""


def _rate(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "unscored"
    between = "" if row["ci_low"] is None else f" [{number(row['ci_low'], 2)}, {number(row['ci_high'], 2)}]"
    return f"{number(row['value'], 2)}{between} n={row['n']}"
