"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

from harmviz.claims.markdown import one, share, table
from harmviz.claims.scene.finding import MIRRORS, SETS, set_name
from harmviz.claims.scene.reading import reading_of
from harmviz.claims.scene.sets import BENIGN, TWIN_HARMFUL, TWIN_HARMLESS
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import selector_words

#: (how it is asked, metric, what the line says after the set's name)
_WAYS = (
    ("opener", "refusal_rate", "answer opened"),
    ("opener", "refusal_quoted", "the same, in quotation marks too"),
    ("opener", "refusal_judged", "the same, by keywords or judge"),
    ("opener", "turned_away_rate", "answer opened, turned away: declined or something else answered"),
    ("direct", "refusal_rate", "asked directly"),
    ("direct", "turned_away_rate", "asked directly, turned away"),
)
_EXCESS = {
    "refusal_rate": "refusal_excess",
    "refusal_quoted": "quoted_excess",
    "refusal_judged": "judged_excess",
    "turned_away_rate": "turned_away_excess",
}


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
    for category in _asked(run):
        for condition, metric, words in _WAYS:
            here = frame[(frame["category"] == category) & (frame["condition"] == condition)]
            intact = one(here, metric=metric, mask=None)
            if intact is None:
                continue
            pruned = here[here["mask"].notna()]
            signed = next((c for c in MIRRORS if (pruned["control"] == c).any()), MIRRORS[0])
            controls = [share(one(pruned, metric=metric, control=c)) for c in ("random", "magnitude", signed)]
            rows.append(
                [
                    f"{set_name(run, category)}, {words}, n = {int(intact['n'])}",
                    share(intact),
                    share(one(pruned, metric=metric, control="none")),
                    *controls,
                    share(one(pruned, metric=_EXCESS[metric], control="none"), sign=True),
                ]
            )
    header = (
        "declined by keywords [95 %]",
        "intact",
        "mask",
        "random",
        "like |W|",
        "turned round",
        "mask − random, points",
    )
    return table(header, rows)


def _asked(run: Run) -> tuple[str, ...]:
    """The sets in the order of the tables."""
    return (*run.manifest["parameters"]["sources"], TWIN_HARMFUL, TWIN_HARMLESS, BENIGN)


def selective(run: Run) -> str:
    """How much further refusals of harmful requests rise beyond random masks than those of harmless ones."""
    frame = run.results()
    here = frame[(frame["condition"] == "opener") & (frame["control"] == "none")]
    against = {TWIN_HARMFUL: SETS[TWIN_HARMLESS]}
    rows = []
    for category in _asked(run):
        of = here[here["category"] == category]
        cells = [one(of, metric=f"selective_{name}") for name in ("refusal", "quoted", "judged", "turned_away")]
        if any(cell is not None for cell in cells):
            name = f"{SETS.get(category, category)} minus {against.get(category, SETS[BENIGN])}"
            rows.append([name, *(share(cell, sign=True, n=True) for cell in cells)])
    header = ("points beyond random [95 %]", "keywords", "in quotation marks too", "keywords or judge", "turned away")
    return table(header, rows) if rows else "Not measured in this run."


def dose(run: Run) -> str:
    """Rates of the first set under the opener by strength."""
    frame = run.results()
    rows = []
    for strength in (0.25, 0.5, 0.75):
        here = frame[(frame["category"] == _asked(run)[0]) & (frame["condition"] == f"opener@{strength:g}")]
        rows.append(
            [f"{strength:g}", *(share(one(here, metric=reading_of(frame).rate, control=c)) for c in ("none", "random"))]
        )
    return table(("strength", "mask", "random"), rows)


PARTS = {"mask": mask, "refusals": refusals, "selective": selective, "dose": dose}
