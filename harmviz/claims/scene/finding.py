"""The numbers and words of a stage scene, from its stored rows. Pure functions; nothing here draws.

Counts stand as "40 of 64": requests that the model declined, by keywords, which is a lower bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from harmviz.claims.scene.settings import SELECTIONS
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.runs import Run

_SETS = {"advbench": "held-out AdvBench requests", "mild": "mild built-in requests"}
_BARS = {"intact": "currentColor", "mask": "var(--hv-harm)", "random": "var(--hv-control)"}


@dataclass(frozen=True)
class Rate:
    """How often one model declined: ``hits`` of ``n``, with the interval of the share. ``hits`` is a mean over draws for a control."""

    share: float
    low: float
    high: float
    n: int

    @property
    def count(self) -> str:
        """``40 of 64``; ``4.3 of 64`` for a mean over draws."""
        hits = self.share * self.n
        whole = round(hits)
        return f"{whole if abs(hits - whole) < 0.05 else f'{hits:.1f}'} of {self.n}"

    @property
    def interval(self) -> str:
        """``50 … 73 %``"""
        return f"{100 * self.low:.0f} … {100 * self.high:.0f} %"


@dataclass(frozen=True)
class Numbers:
    """What a scene is summed up by: the set asked, and rates by who answers; None where not measured.

    ``quoted``: the rates of intact, mask and random control where refusals in quotation marks count; empty where not measured.
    """

    asked: str
    strength: float
    intact: Rate | None
    mask: Rate | None
    random: Rate | None
    direct: Rate | None
    direct_mask: Rate | None
    benign: Rate | None
    benign_mask: Rate | None
    quoted: tuple[Rate, ...] = ()


def numbers(run: Run, results: pd.DataFrame, strength: float = 1.0) -> Numbers:
    """The rates of the scene's first set, with the mask at this strength; strength 0 is the intact model."""
    source = str(run.manifest["parameters"]["sources"][0])
    rows = results[(results["experiment"] == "scene") & results["value"].notna()]

    def rate(category: str, condition: str, control: str | None, metric: str = "refusal_rate") -> Rate | None:
        found = rows[(rows["category"] == category) & (rows["condition"] == condition) & (rows["metric"] == metric)]
        found = (
            found[found["mask"].isna()]
            if control is None
            else found[found["mask"].notna() & (found["control"] == control)]
        )
        if found.empty or pd.isna(found.iloc[0]["ci_low"]):
            return None
        row = found.iloc[0]
        return Rate(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]), int(row["n"]))

    at = "opener" if strength == 1 else f"opener@{strength:g}"
    intact = rate(source, "opener", None)
    quoted = (
        [rate(source, where, who, "refusal_quoted") for where, who in (("opener", None), (at, "none"), (at, "random"))]
        if strength
        else []
    )
    return Numbers(
        source,
        strength,
        intact,
        rate(source, at, "none") if strength else intact,
        rate(source, at, "random") if strength else intact,
        rate(source, "direct", None),
        rate(source, "direct", "none"),
        rate("benign", "direct", None),
        rate("benign", "direct", "none"),
        tuple(q for q in quoted if q is not None) if None not in quoted else (),
    )


def shows(run: Run) -> bool:
    """Whether refusals under the opener were at least doubled, clear of the random control."""
    found: Mapping[str, Any] = run.manifest["method"]["shows"].get(str(run.manifest["parameters"]["sources"][0]), {})
    return bool(found.get("doubled")) and bool(found.get("clear_of_random"))


def story(run: Run, found: Numbers) -> str:
    """The scene in three sentences, as HTML; what it claims is only what was measured."""
    n = int(run.manifest["method"]["chosen"]["n_weights"])
    opener, size = str(run.manifest["parameters"]["opener"]), f"{text.count(n)} weights ({_share(run, n)})"
    direct = (
        f"Asked directly, this aligned model declines {found.direct.count} harmful requests. " if found.direct else ""
    )
    talked = f"Put “{opener}” into its mouth, and it answers. "
    after = (
        f"Set {size} to zero, and it declines again{f' {found.mask.count}' if found.mask else ''}; as many random weights change nothing of that."
        if shows(run)
        else f"With {size} set to zero it was to decline again; in this measurement that did not stand out clearly."
    )
    return explained(direct + talked + after)


def weights(run: Run) -> str:
    """``0.004 % · 4,246 weights · guarded`` of the scene's mask, as HTML: how many, and by which selection."""
    chosen = run.manifest["method"]["chosen"]
    size = text.fraction_of(int(chosen["n_weights"]), int(run.manifest["model"]["n_scored_weights"]))
    selection = SELECTIONS.get(str(chosen.get("contrast")))
    return explained(" · ".join([size, *([selection] if selection else [])]))


def _share(run: Run, n: int) -> str:
    return text.percent(n / int(run.manifest["model"]["n_scored_weights"])).replace(" ", "\N{NO-BREAK SPACE}")


def rates_markup(found: Numbers) -> str:
    """Three lines, intact, mask and random control, each with its count, interval and place on one scale."""
    lines = []
    for kind, name, rate in (
        ("intact", "intact", found.intact),
        ("mask", "without these weights", found.mask),
        ("random", "random control", found.random),
    ):
        if rate is None:
            lines.append(f'<tr><td>{name}</td><td class="plot"></td><td colspan="2">{text.NOT_MEASURED}</td></tr>')
            continue
        lines.append(
            f'<tr><td>{explained(name) if kind == "random" else name}</td><td class="plot">{_plot(kind, rate)}</td>'
            f'<td class="value">{escape(rate.count)}</td><td>{escape(rate.interval)}</td></tr>'
        )
    return (
        '<div class="hv hv-scene-rates"><table class="hv-rows"><thead><tr><th>declines, after the opener</th><th class="plot"></th>'
        f"<th>requests</th><th>95 % interval</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _plot(kind: str, rate: Rate) -> str:
    left, width = 100 * rate.low, 100 * (rate.high - rate.low)
    colour = _BARS[kind]
    return (
        '<div class="hv-plot"><i class="zero" style="left:0"></i>'
        f'<i class="whisker" style="left:{left:.1f}%;width:{width:.1f}%;background:{colour}"></i>'
        f'<i class="dot" style="left:{100 * rate.share:.1f}%;background:{colour}"></i></div>'
    )


def footing(run: Run, found: Numbers) -> str:
    """What the numbers rest on and what stayed as it was, as HTML: one quiet line."""
    parts = [
        f"{_SETS.get(found.asked, found.asked)}, none of which chose the weights",
        "counted by keywords, a lower bound that leaves out words in quotation marks",
    ]
    if found.quoted:
        intact, mask, random = (q.count for q in found.quoted)
        parts.append(
            f"with refusals in quotation marks counted: intact {intact}, without these weights {mask}, random control {random}"
        )
    if found.direct and found.direct_mask:
        parts.append(f"asked directly {found.direct.count}, without these weights {found.direct_mask.count}")
    if found.benign and found.benign_mask:
        parts.append(
            f"harmless requests declined {found.benign.count}, without these weights {found.benign_mask.count}"
        )
    return f'<div class="hv quiet small">{explained(" · ".join(parts))}</div>'


def made(run: Run) -> str:
    """When a scene was recorded, in words."""
    return text.date(run.created)
