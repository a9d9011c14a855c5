"""``show``: the headline numbers of a run, plain and contrastive side by side, each with n, interval and controls; of an
experiment, the table that its own command ends with."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from harmviz.claims import experiments
from harmviz.commands.output import estimate, number, print_json, print_table
from harmviz.runs import Run, frame_to_records, open_run

CONTROL_NAMES = {
    "random": "random*",
    "magnitude": "like |W|*",
    "utility": "like utility*",
    "benign_signed": "benign-signed",
    "safe_signed": "safe-signed",
    "unprotected": "unprotected (p = 0)",
}
SELECTION_NAMES = {"none": "plain, as in the paper", "both": "contrastive"}


def run(arguments: argparse.Namespace) -> None:
    found = open_run(arguments.run)
    if not arguments.json:
        show = print_headline if found.kind == "map" else _print_experiment
        show(found)
        return
    model = found.manifest["model"]
    print_json(
        {
            "run_id": found.id,
            "path": str(found.path),
            "model": model["name"],
            "n_scored_weights": model["n_scored_weights"],
            "n_parameters": model["n_parameters"],
            "categories": _categories(found),
            "headline": found.manifest["method"].get("headline", {}),
            "rows": frame_to_records(found.results()),
        }
    )


def _print_experiment(found: Run) -> None:
    model, name = found.manifest["model"], str(found.manifest["method"].get("experiment"))
    print(f"{found.id}\n{model['name']}, {model['dtype']}; data {found.manifest['data']['id']}")
    if name in experiments():
        experiments()[name].face("command").print_found(found)
    else:
        print(f"experiment {name!r} is not known to this version; see its rows with --json")


def _categories(found: Run) -> list[str]:
    others = {"benign", "benign_own", "safe"}
    return sorted(s for s in found.manifest["data"]["counts"] if s not in others and not s.startswith("safe:"))


def print_headline(found: Run) -> None:
    """What a reader needs first: who, how many, and the effects at the chosen and at the unchosen point."""
    model, frame = found.manifest["model"], found.results()
    print(f"{found.id}\n{model['name']}, {model['dtype']}; data {found.manifest['data']['id']}")
    print(f"N = {model['n_scored_weights']:,} scored weights of {model['n_parameters']:,} parameters")
    headline = found.manifest["method"].get("headline")
    if not headline:
        print("this run has no headline point; see its rows with --json")
        return
    effect = frame[(frame.experiment == "effect") & frame.condition.isna()]
    intact = effect[(effect.metric == "nll") & (effect.skip_tokens == found.manifest["parameters"]["skip_tokens"])]
    print("\nintact loss, nats/token: " + _line(intact, ("harm", "safe", "benign", "benign_own"), sign=False))
    fixed_q, fixed_p = found.manifest["parameters"]["fixed_point"]
    fixed = (fixed_q, fixed_p)
    for contrast in (c for c in SELECTION_NAMES if c in headline):
        point = headline[contrast]
        chosen = (point["q"], point["p"])
        kept = "" if point["within_benign_limit"] else " (no grid point kept the limit: least benign cost)"
        print(
            f"\n{SELECTION_NAMES[contrast]}: q = {point['q']:g}, p = {point['p']:g}, {point['n_weights']:,} weights; chosen on "
            f"validation prompts, benign ΔL ≤ {point['benign_limit']:g}{kept}"
        )
        _print_point(effect, contrast, chosen, found)
        if chosen != fixed:
            print(f"\n{SELECTION_NAMES[contrast]}, unchosen: q = {fixed[0]:g}, p = {fixed[1]:g}")
            _print_point(effect, contrast, fixed, found)
    causal = frame[frame.experiment == "causal"].set_index("metric")
    if "relative_error" in causal.index:
        row = causal.loc["relative_error"]
        print(
            f"\ncausal check: measured dL/dε {number(causal.loc['measured'].value, 4)} against ΣH "
            f"{number(causal.loc['predicted'].value, 4)} nats/token, relative error {row.value:.2%} (n={int(row.n)})"
        )


def _at(frame: pd.DataFrame, contrast: str, q: float, p: float, found: Run) -> pd.DataFrame:
    skip = found.manifest["parameters"]["skip_tokens"]
    here = (frame.contrast == contrast) & (frame.q == q) & (frame.p == p) & (frame["mask"] == "mean(all)")
    return frame[here & (frame.skip_tokens == skip)]


def _print_point(effect: pd.DataFrame, contrast: str, point: tuple[float, float], found: Run) -> None:
    here = _at(effect, contrast, *point, found)
    mine = here[here.control == "none"]
    delta = mine[mine.metric == "delta_nll"].set_index("category")
    rows = [
        [name, estimate(_record(delta.loc[name]))]
        for name in (*_categories(found), "harm", "safe", "benign", "benign_own")
        if name in delta.index
    ]
    specific = mine[mine.metric == "harm_specific"]
    rows += [["harm − safe", estimate(_record(r))] for _, r in specific.iterrows()]
    against = mine[mine.metric == "harm_minus_benign"]
    rows += [["harm − benign", estimate(_record(r))] for _, r in against.iterrows()]
    print_table(("set", "ΔL, nats/token [95 % interval] n prompts"), rows)
    controls = []
    for control, name in CONTROL_NAMES.items():
        theirs = here[(here.control == control) & (here.metric == "delta_nll")]
        if theirs.empty:
            continue
        excess = here[(here.control == control) & (here.metric == "excess_over_control") & (here.category == "harm")]
        beyond = estimate(_record(excess.iloc[0])) if len(excess) else ""
        controls.append([name, _line(theirs, ("harm", "benign"), n=True), beyond])
    if controls:
        print_table(("control", "harm · benign", "mask exceeds it by (harm)"), controls)
        print("* same count per matrix; mean of several draws on a fixed third of the report prompts")
    collapsed = mine[mine.metric == "collapsed"]
    if len(collapsed) and collapsed.iloc[0].value:
        print("COLLAPSED: this mask breaks the model; what it no longer says proves nothing about safety")


def _line(frame: pd.DataFrame, names: tuple[str, ...], *, sign: bool = True, n: bool = False) -> str:
    by_name = frame.set_index("category")
    parts = []
    for name in names:
        if name in by_name.index:
            row = _record(by_name.loc[name])
            parts.append(f"{name} {estimate(row, sign=sign) if n else number(row['value'], sign=sign)}")
    return " · ".join(parts)


def _record(row: pd.Series) -> dict[str, Any]:
    return {k: (None if pd.isna(v) else v) for k, v in row.items()}
