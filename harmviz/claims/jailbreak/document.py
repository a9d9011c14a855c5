"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.markdown import one, share, table
from harmviz.runs import Run
from harmviz.runs.point import SELECTOR_WORDS

_BARE = "direct"


def _masks(run: Run) -> list[tuple[str, dict[str, object]]]:
    """(heading, what its rows carry) of the intact model and every mask, drawn ones once."""
    columns: list[tuple[str, dict[str, object]]] = [("intact", {"mask": None})]
    for arm in run.manifest["method"]["arms"][1:]:
        size = f"{arm['n_weights']:,}"
        if arm["control"] == "none":
            heading = f"{SELECTOR_WORDS[arm['contrast']].state}, {size}"
        else:
            heading = f"{arm['control'].replace('_', '-')}, {size}"
        key: dict[str, object] = {"mask": arm["mask"], "control": arm["control"], "contrast": arm["contrast"]}
        if (heading, key) not in columns:
            columns.append((heading, key))
    return columns


def _line(rows: pd.DataFrame, run: Run, metric: str) -> list[str]:
    return [share(one(rows, metric=metric, **key)) for _, key in _masks(run)]


def rates(run: Run) -> str:
    """Refusals bare and over all attacks, of harmful and of harmless requests; compliance at most."""
    frame = run.results()
    lines = []
    for category, words in (("harm", "harmful"), ("benign", "harmless")):
        for condition, how in ((_BARE, "asked directly"), (None, "all attacks")):
            here = frame[frame["category"] == category]
            here = here[here["condition"].isna() if condition is None else here["condition"] == condition]
            n = int(here.loc[here["metric"] == "refusal_rate", "n"].max())
            lines.append([f"{words}, {how}, n = {n}: declined", *_line(here, run, "refusal_rate")])
            if category == "harm" and condition is None:
                lines.append([f"{words}, {how}: complied with at most", *_line(here, run, "compliance_rate")])
    return table(("keywords [95 %]", *(heading for heading, _ in _masks(run))), lines)


def by_attack(run: Run) -> str:
    """Refusals of harmful · harmless requests, attack by attack."""
    frame = run.results()
    lines = []
    for attack in run.manifest["method"]["attacks"]:
        here = frame[(frame["condition"] == attack["id"]) & (frame["metric"] == "refusal_rate")]
        cells = []
        for _, key in _masks(run):
            pair = [one(here, category=category, **key) for category in ("harm", "benign")]
            cells.append(" · ".join(f"{100 * row['value']:.0f}" for row in pair if row is not None))
        lines.append([str(attack["name"]), *cells])
    return table(("declined, %: harmful · harmless", *(heading for heading, _ in _masks(run))), lines)


def selective(run: Run) -> str:
    """How much further from the random masks harmful requests move than harmless ones, attack by attack."""
    frame = run.results()
    frame = frame[frame["metric"] == "selective_refusal_rate"]
    if frame.empty:
        return "Not measured in this run."
    masks = [(heading, key) for heading, key in _masks(run) if key.get("control") not in (None, "random")]
    lines = []
    for name, condition in [*((str(a["name"]), a["id"]) for a in run.manifest["method"]["attacks"]), ("all", None)]:
        here = frame[frame["condition"].isna() if condition is None else frame["condition"] == condition]
        lines.append([name, *(share(one(here, **key), sign=True) for _, key in masks)])
    heading = "Declined by keywords: (mask − random masks) of harmful requests minus that of harmless ones [95 %]."
    return f"{heading}\n\n{table(('attack', *(heading for heading, _ in masks)), lines)}"


PARTS = {"rates": rates, "by_attack": by_attack, "selective": selective}
