"""Training curves of *Emergent misalignment*: of a stored result, and of one that is being made.

Pure but for reading files; nothing here draws.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from harmviz.claims.emergent.arms import ARMS, BAD, GOOD, PRUNED, arm_name, stage_words
from harmviz.claims.emergent.curve import KEPT, LIVE, read_curve
from harmviz.claims.emergent.stored import role
from harmviz.display import text
from harmviz.display.words import Words
from harmviz.runs import PartialInfo, Run, list_partials

#: The id of an emergent experiment, whatever the model.
_ID = re.compile(r".*-emergent-[0-9a-f]{10}")
_COLUMNS = ["arm", "label", "role", "seed", "step", "loss", "note"]


def in_progress() -> list[PartialInfo]:
    """Emergent experiments that were begun and are not complete, those at work first."""
    return sorted((p for p in list_partials() if _ID.fullmatch(p.run_id)), key=lambda p: p.pid is None)


def stored_points(run: Run) -> list[dict[str, Any]]:
    """The training steps of a complete result; none where it kept none."""
    return read_curve(run.file(KEPT)) if KEPT in run.manifest["files"] else []


def live_points(partial: PartialInfo) -> list[dict[str, Any]]:
    """The training steps taken so far."""
    return read_curve(partial.path / LIVE)


def curves(points: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A line per step of each arm and seed, and of their mean (``seed`` missing), as
    ``figures.emergent.training_curves`` takes them.

    A point that is not one (no number, not finite) is left out.
    """
    known = [
        p
        for p in points
        if isinstance(p.get("arm"), str) and _whole(p.get("seed")) and _whole(p.get("step")) and _finite(p.get("loss"))
    ]
    if not known:
        return pd.DataFrame(columns=_COLUMNS)
    each = pd.DataFrame([{k: p[k] for k in ("arm", "seed", "step", "loss")} for p in known]).drop_duplicates(
        ["arm", "seed", "step"], keep="last"
    )
    order = {arm: i for i, arm in enumerate([*ARMS, *sorted(set(each["arm"]) - set(ARMS))])}
    mean = each.groupby(["arm", "step"], as_index=False).agg(loss=("loss", "mean"), n=("loss", "size"))
    mean["note"] = [
        f"{arm_name(a)}, step {s}\nloss {loss:.3f} nats per token, {n} seed{'s' if n != 1 else ''}"
        for a, s, loss, n in zip(mean["arm"], mean["step"], mean["loss"], mean["n"], strict=True)
    ]
    table = pd.concat([mean.assign(seed=math.nan), each.assign(note="")], ignore_index=True)
    table = table.assign(label=[arm_name(a) for a in table["arm"]], role=[role(a) for a in table["arm"]])
    return table.sort_values(
        ["arm", "seed", "step"], key=lambda c: c.map(order) if c.name == "arm" else c, ignore_index=True
    )[_COLUMNS]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def curve_words(table: pd.DataFrame, *, live: bool = False) -> Words:
    """Title, subtitle and reading of the training curves."""
    seeds, last = table["seed"].nunique(), 0 if table.empty else int(table["step"].max())
    means = table[table["seed"].isna() & (table["step"] == last)].set_index("arm")["loss"]
    title = "Training loss, arm by arm"
    if not live and {BAD, PRUNED} <= set(means.index):
        title = (
            f"At the last step the loss is {means[BAD]:.2f} on bad advice, {means[PRUNED]:.2f} after pruning its "
            "harm weights"
        )
        title += f", {means[GOOD]:.2f} on good advice" if GOOD in means.index else ""
    so_far = "So far" if live else "In all"
    return Words(
        title,
        f"Loss of the answers in each batch before its step, nats per token. {so_far} {last} steps, {seeds} "
        f"seed{'s' if seeds != 1 else ''}; line: mean over seeds.",
        "Arms of a seed see the same prompts in the same order, so that lines can be compared step by step; batches "
        "are small, so that single steps jump. "
        "Lines that fall alike learn alike: pruning first then did not make the bad advice harder to learn.",
        f"Training curves of {table['arm'].nunique()} arms over {last} steps. {title}",
    )


@dataclass(frozen=True)
class Progress:
    """How far a computation is, where its progress file says so."""

    stage: str
    fraction: float | None
    eta_s: float | None


def progress(partial: PartialInfo) -> Progress:
    """What the progress file beside the partial run says; nothing known where it cannot be read."""
    try:
        told = json.loads((partial.path / "progress.json").read_bytes())
    except (OSError, ValueError):
        told = {}
    told = told if isinstance(told, Mapping) else {}
    fraction, eta = told.get("fraction"), told.get("eta_s")
    return Progress(
        str(told.get("stage", "")),
        min(1.0, max(0.0, float(fraction))) if _finite(fraction) and fraction is not None else None,
        float(eta) if _finite(eta) and eta is not None else None,
    )


def status(partial: PartialInfo) -> str:
    """The state of a computation as HTML: what it is doing, how far it is, how long it will take; or that it was
    interrupted.
    """
    at = progress(partial)
    if partial.pid is None:
        return (
            f'<div class="hv hv-note">{escape(partial.run_id)} was interrupted after {len(partial.stages)} finished '
            "stages. The same command with <code>--resume</code> goes on from there.</div>"
        )
    shown = "" if at.fraction is None else f"{100 * at.fraction:.0f} %"
    left = "" if at.eta_s is None else f" · about {text.duration(at.eta_s)} left"
    width = 0.0 if at.fraction is None else 100 * at.fraction
    return (
        '<div class="hv"><div class="hv-job"><b>Being computed now</b><span '
        f'class="quiet">{escape(stage_words(at.stage))}{left}</span>'
        f'<span class="right">{shown}</span></div><div class="hv-track" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{width:.0f}"><i style="width:{width:.1f}%"></i></div><div class="quiet '
        f'small">{escape(partial.run_id)}</div></div>'
    )
