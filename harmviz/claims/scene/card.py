"""A stage scene as HTML: the story, the rates as three lines on one scale, what they rest on. Pure functions."""

from __future__ import annotations

from html import escape

from harmviz.claims.scene.finding import SETS, Numbers, count, mirrored, shows
from harmviz.claims.scene.reading import DECLINED
from harmviz.display import text
from harmviz.display.glossary import explained
from harmviz.runs import Run
from harmviz.runs.point import selector_words
from harmviz.stats.estimate import Estimate

_BARS = {"intact": "currentColor", "mask": "var(--hv-harm)", "random": "var(--hv-control)"}


def story(run: Run, numbers: Numbers) -> str:
    """The scene in three sentences, as HTML; what it claims is only what was measured."""
    n = int(run.manifest["method"]["chosen"]["n_weights"])
    verb = numbers.reading.verb
    opener, size = str(run.manifest["parameters"]["opener"]), f"{text.count(n)} weights ({_share(run, n)})"
    direct = ""
    if numbers.direct:
        direct = f"Asked directly, this aligned model {verb} {count(numbers.direct)} harmful requests. "
    talked = f"Put “{opener}” into its mouth, and it answers. "
    if shows(run):
        again = f" {count(numbers.mask)}" if numbers.mask else ""
        beside = f": {count(numbers.random)}" if numbers.random else " were not tried"
        after = f"Set {size} to zero, and it {verb} again{again}; as many random weights{beside}."
    else:
        after = f"With {size} set to zero this was to end; in this measurement that did not stand out clearly."
    if numbers.signed is not None:
        close = ", and this mask does not stand out from it" if mirrored(numbers) else ""
        after += f" A mask made alike from harmless answers: {count(numbers.signed)}{close}."
    return explained(direct + talked + after)


def weights(run: Run) -> str:
    """``0.004 % · 4,246 weights · guarded`` of the scene's mask, as HTML: how many, and by which selection."""
    chosen = run.manifest["method"]["chosen"]
    size = text.fraction_of(int(chosen["n_weights"]), int(run.manifest["model"]["n_scored_weights"]))
    return explained(f"{size} · {selector_words(str(chosen['contrast'])).short}")


def _share(run: Run, n: int) -> str:
    share = text.percent(n / int(run.manifest["model"]["n_scored_weights"]))
    return share.replace(" ", "\N{NO-BREAK SPACE}")


def rates_markup(numbers: Numbers) -> str:
    """Three lines, intact, mask and random control, each with its count, interval and place on one scale."""
    lines = []
    for kind, name, rate in (
        ("intact", "intact", numbers.intact),
        ("mask", "without these weights", numbers.mask),
        ("random", "random control", numbers.random),
    ):
        if rate is None:
            lines.append(f'<tr><td>{name}</td><td class="plot"></td><td colspan="2">{text.NOT_MEASURED}</td></tr>')
            continue
        lines.append(
            f'<tr><td>{explained(name) if kind == "random" else name}</td><td class="plot">{_plot(kind, rate)}</td>'
            f'<td class="value">{escape(count(rate))}</td><td>{escape(_ends(rate))}</td></tr>'
        )
    return (
        '<div class="hv hv-scene-rates"><table class="hv-rows"><thead><tr>'
        f'<th>{explained(numbers.reading.past)}, after the opener</th><th class="plot"></th>'
        f"<th>requests</th><th>95 % interval</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _change(before: Estimate, after: Estimate) -> str:
    """``5 → 20 of 64``, or both with their own number of requests."""
    first = count(before)
    return f"{first.removesuffix(f' of {before.n}') if before.n == after.n else first} → {count(after)}"


def _ends(rate: Estimate) -> str:
    """``50 … 73 %``"""
    assert rate.ci_low is not None
    assert rate.ci_high is not None
    return f"{100 * rate.ci_low:.0f} … {100 * rate.ci_high:.0f} %"


def _plot(kind: str, rate: Estimate) -> str:
    assert rate.ci_low is not None
    assert rate.ci_high is not None
    left, width = 100 * rate.ci_low, 100 * (rate.ci_high - rate.ci_low)
    colour = _BARS[kind]
    return (
        '<div class="hv-plot"><i class="zero" style="left:0"></i>'
        f'<i class="whisker" style="left:{left:.1f}%;width:{width:.1f}%;background:{colour}"></i>'
        f'<i class="dot" style="left:{100 * rate.value:.1f}%;background:{colour}"></i></div>'
    )


def footing(run: Run, numbers: Numbers) -> str:
    """What the numbers rest on and what stayed as it was, as HTML: one quiet line."""
    parts = [
        f"{SETS.get(numbers.asked, numbers.asked)}, none chose the weights",
        numbers.reading.how,
    ]
    if numbers.quoted:
        intact, mask, random = numbers.quoted
        alone = "with those inside" if numbers.reading is DECLINED else "told no"
        parts.append(f"{alone}: {_change(intact, mask)}, random {count(random)}")
    if numbers.direct and numbers.direct_mask:
        plainly = numbers.plainly if numbers.reading is not DECLINED else None
        said = "" if plainly is None else f", told no {_change(*plainly)}"
        parts.append(f"asked directly: {_change(numbers.direct, numbers.direct_mask)}{said}")
    if numbers.benign and numbers.benign_mask:
        parts.append(f"harmless ones asked directly: {_change(numbers.benign, numbers.benign_mask)}")
    return f'<div class="hv quiet small">{explained(" · ".join(parts))}</div>'
