"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

from harmviz.claims.markdown import one, share, table
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

#: (set, how it is asked, metric, what the line says)
_LINES = (
    ("advbench", "opener", "refusal_rate", "held-out AdvBench requests, answer opened"),
    ("advbench", "opener", "refusal_quoted", "the same, refusals in quotation marks counted"),
    ("advbench", "direct", "refusal_rate", "the same requests, asked directly"),
    ("mild", "opener", "refusal_rate", "mild built-in requests, answer opened"),
    ("mild", "direct", "refusal_rate", "the same requests, asked directly"),
    ("benign", "opener", "refusal_rate", "harmless requests, answer opened"),
    ("benign", "direct", "refusal_rate", "harmless requests, many of which only sound dangerous"),
)
_CONTROLS = ("random", "magnitude", "benign_signed")


def mask(run: Run) -> str:
    """Which mask was chosen, and whether it kept its limits."""
    chosen = run.manifest["method"]["chosen"]
    kept = (
        "it keeps every limit" if chosen["within_limits"] else f"it breaks the limits on {', '.join(chosen['broken'])}"
    )
    size = text.fraction_of(chosen["n_weights"], run.manifest["model"]["n_scored_weights"])
    return (
        f"The mask: {size}, q {chosen['q']:g}, p {chosen['p']:g}, {selector_words(chosen['contrast']).long}; chosen on "
        f"other requests among {chosen['n_points']} points: {kept}. Opener: “{run.manifest['parameters']['opener']}”."
    )


def refusals(run: Run) -> str:
    """Refusal rates under mask and controls, and the excess over random masks."""
    frame = run.results()
    rows = []
    for category, condition, metric, words in _LINES:
        here = frame[(frame["category"] == category) & (frame["condition"] == condition)]
        intact = one(here, metric=metric, mask=None)
        if intact is None:
            continue
        pruned = here[here["mask"].notna()]
        excess = {"refusal_rate": "refusal_excess", "refusal_quoted": "quoted_excess"}[metric]
        controls = [share(one(pruned, metric=metric, control=control)) for control in _CONTROLS]
        rows.append(
            [
                f"{words}, n = {int(intact['n'])}",
                share(intact),
                share(one(pruned, metric=metric, control="none")),
                *controls,
                share(one(pruned, metric=excess, control="none"), sign=True),
            ]
        )
    header = (
        "declined by keywords [95 %]",
        "intact",
        "mask",
        "random",
        "like |W|",
        "benign-signed",
        "mask − random, points",
    )
    return table(header, rows)


def dose(run: Run) -> str:
    """Refusals of the first set under the opener by strength."""
    frame = run.results()
    rows = []
    for strength in (0.25, 0.5, 0.75):
        here = frame[(frame["category"] == "advbench") & (frame["condition"] == f"opener@{strength:g}")]
        rows.append(
            [f"{strength:g}", *(share(one(here, metric="refusal_rate", control=c)) for c in ("none", "random"))]
        )
    return table(("strength", "mask", "random"), rows)


PARTS = {"mask": mask, "refusals": refusals, "dose": dose}
