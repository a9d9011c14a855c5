"""What a reader must know before any number of a map run: that it is a quick one, that a mask is empty, that the model
wrote nothing to judge, that rows or whole types were left out. Stored with the run; said by the command, the card and
the Overview.
"""

from __future__ import annotations

import pandas as pd

from harmviz.display import text
from harmviz.files import printable
from harmviz.runs import Run


def remarks(run: Run, results: pd.DataFrame, *, least_left_out: float = 0.0) -> list[str]:
    """One plain sentence each, the weightiest first; none for a full run that left nothing out.

    ``least_left_out``: the share of rows from which on it is a remark that some were left out.
    """
    said = []
    if empty := [str(name) for name in run.manifest["method"].get("empty_masks", [])]:
        listed = "; ".join(empty[:6]) + (f" and {len(empty) - 6} more" if len(empty) > 6 else "")
        said.append(
            f"MASKS OF 0 WEIGHTS: {listed}. No weight with a positive score was eligible: nothing was pruned there, "
            "and every change beside it is 0 because of that."
        )
    if run.quick:
        said.append(_quick(run))
    if unjudged := _unjudged(results):
        said.append(
            f"No answer to judge (n = 0): {unjudged}. The model wrote nothing, which is neither a refusal nor none."
        )
    kept = sum(n for counts in run.manifest["data"]["counts"].values() for n in counts.values())
    n = sum(n for _, _, n in run.dropped)
    if n and n >= least_left_out * (kept + n):
        reasons = dict.fromkeys(reason for _, reason, _ in run.dropped)
        said.append(f"{text.count(n)} rows were left out: {'; '.join(reasons)}.")
    left_out = run.manifest["data"]["left_out"]
    said += [f"The harm type {printable(text.set_name(name))} was left out: {why}." for name, why in left_out.items()]
    said += [f"The model: {note}." for note in run.manifest["model"].get("notes", ())]
    return said


def _quick(run: Run) -> str:
    draws = run.manifest["parameters"].get("control_draws", "?")
    prompts = run.manifest["data"]["counts"]
    report = [counts.get("report", 0) for name, counts in prompts.items() if text.is_harm(name)]
    most = f"at most {max(report)} report prompts a harm type, " if report else ""
    return (
        f"QUICK run, a first look: {most}{draws} draws a control, fewer grid points, shorter answers. "
        "Intervals are wide; a run without --quick settles more."
    )


def _unjudged(results: pd.DataFrame) -> str:
    """The models whose free answers were all blank, in words; empty where none were."""
    rates = results[(results["metric"] == "refusal_rate") & (results["n"] == 0)]
    names = [
        "the intact model" if pd.isna(row["mask"]) else f"{row['mask']} ({row['control']})"
        for row in rates.to_dict("records")
    ]
    return ", ".join(dict.fromkeys(names))
