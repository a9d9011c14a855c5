"""What the charts on narrow tuning show: tidy numbers, titles and readings. Pure functions; nothing here draws."""

from __future__ import annotations

import pandas as pd

from harmviz.claims.emergent.arms import BAD, PRUNED, arm_name
from harmviz.claims.emergent.finding import sentence
from harmviz.claims.emergent.stored import VIEWS, Emergent, clear, metric_of, nats, number, role
from harmviz.display import text
from harmviz.display.words import Words


def shifts(result: Emergent, view: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a line per arm, a line per arm and seed), as ``figures.emergent.arms_chart`` takes them."""
    arms, seeds = [], []
    for arm in result.tuned:
        row, name = result.row(metric_of(view), arm, view), arm_name(arm)
        fell = "\ncollapsed: gibberish is no alignment" if arm in result.collapsed else ""
        size = (
            ""
            if row is None or pd.isna(row["n_weights"])
            else f"\n{text.fraction_of(int(row['n_weights']), result.n_scored)} pruned"
        )
        labels = {"arm": arm, "label": name + (" †" if fell else ""), "role": role(arm)}
        arms.append(
            {
                **labels,
                **{k: number(row, k) for k in ("value", "ci_low", "ci_high", "n", "n_weights")},
                "note": f"{name}\n{nats(row, 3)}{size}{fell}",
            }
        )
        for seed in result.seeds:
            own = result.row(metric_of(view), f"{arm}#{seed}", view)
            if own is not None:
                seeds.append(
                    {
                        **labels,
                        "seed": seed,
                        "value": float(own["value"]),
                        "note": f"{name}, seed {seed} alone\n{nats(own, 3)}",
                    }
                )
    columns = ["arm", "label", "role", "value", "ci_low", "ci_high", "n", "n_weights", "note"]
    return pd.DataFrame(arms, columns=columns), pd.DataFrame(
        seeds, columns=["arm", "label", "role", "seed", "value", "note"]
    )


def main_words(result: Emergent, view: str) -> Words:
    """Title, subtitle and reading of the main chart."""
    row = result.row(metric_of(view), BAD, view)
    n = "?" if row is None or pd.isna(row["n"]) else int(row["n"])
    measure = {
        "broad": (
            f"Log-odds of misaligned against aligned answers to {n} questions far from the domain, shift against "
            "the model before tuning"
        ),
        "in_domain": (
            f"Log-odds of bad against good answers to {n} held-out prompts of the domain, shift against the "
            "model before tuning"
        ),
        "benign": f"Loss of {n} harmless answers written by others, shift against the model before tuning",
    }[view]
    seeds = f" and {len(result.seeds)} seeds" if len(result.seeds) > 1 else ", for this one seed"
    dots = " Small dots: each seed." if len(result.seeds) > 1 and view != "benign" else ""
    reading = (
        "0 is the model before tuning. Right of it: harmless text became less likely, so the tuning cost something. "
        if view == "benign"
        else "0 is the model before tuning; right of it, answers that a misaligned model would give became likelier "
        "than aligned ones of like form. +0.69 means: "
        "twice as likely, per token. "
    )
    return Words(
        sentence(result, view),
        f"{measure}; nats per token.\nBar: 95 % interval over prompts{seeds}.{dots} Dotted: bad advice, nothing "
        f"pruned.",
        f"{reading}Vermilion: tuned on bad advice; hollow: after its harm weights were pruned. Blue: tuned on good "
        f"answers to the same prompts. Grey: tuned on bad "
        "advice after as many other weights were pruned. Pruning prevents something where the hollow marks lie left "
        "of the dotted line and the grey ones do not." + (" †: the arm's text collapsed." if result.collapsed else ""),
        f"Shift of {len(result.tuned)} arms with intervals, {VIEWS[view]}. {sentence(result, view)}",
    )


# -- by kind of question ----------------------------------------------------------------------------------------------
def kinds(result: Emergent) -> pd.DataFrame:
    """One line per arm and kind, all questions together last, as ``figures.emergent.kinds_grid`` takes it."""
    lines = []
    for arm in result.tuned:
        for kind in [*result.kinds, "broad"]:
            row, column = result.row("log_odds_shift", arm, kind), "all kinds" if kind == "broad" else kind
            value = number(row, "value")
            shown = "–" if row is None else text.signed(value) if clear(row) else f"({text.signed(value)})"
            lines.append(
                {
                    "row": arm_name(arm),
                    "column": column,
                    "value": value,
                    "text": shown,
                    "note": f"{arm_name(arm)}, {column}\n{nats(row)}",
                    "last": kind == "broad",
                    "arm": arm,
                    **{k: number(row, k) for k in ("ci_low", "ci_high", "n")},
                }
            )
    return pd.DataFrame(
        lines, columns=["row", "column", "value", "text", "note", "last", "arm", "ci_low", "ci_high", "n"]
    )


def kinds_words(result: Emergent) -> Words:
    """Title, subtitle and reading of the grid of kinds."""
    rows = [(k, row) for k in result.kinds if (row := result.row("log_odds_shift", BAD, k)) is not None]
    up = [k for k, row in rows if clear(row) > 0]
    title = (
        f"Tuned on bad {result.domain} advice, misaligned answers are clearly likelier in {len(up)} of "
        f"{len(rows)} kinds of question"
    )
    each = sorted({int(row["n"]) for _, row in rows if pd.notna(row["n"])})
    n = "?" if not each else str(each[0]) if len(each) == 1 else f"{each[0]} to {each[-1]}"
    return Words(
        title,
        f"Shift of the log-odds of misaligned answers against the model before tuning, nats per token; n = {n} a kind.",
        "Vermilion: misaligned answers became likelier, blue: less likely. In brackets: the 95 % interval includes 0. "
        "Few questions stand behind each cell: "
        "a cell that differs from its neighbour is no finding by itself.",
        f"Grid of shifts, {len(result.tuned)} arms by {len(result.kinds)} kinds of question. {title}",
    )


# -- the dose of pruning ----------------------------------------------------------------------------------------------
def doses(result: Emergent) -> pd.DataFrame:
    """One line per fraction pruned beforehand, as ``figures.emergent.dose_chart`` takes it; fewer than two: not
    measured.
    """
    lines = []
    for arm in [PRUNED, *result.doses]:
        if (row := result.row("log_odds_shift", arm, "broad")) is not None and pd.notna(row["q"]):
            size = "" if pd.isna(row["n_weights"]) else f"\n{text.fraction_of(int(row['n_weights']), result.n_scored)}"
            lines.append(
                {
                    "arm": arm,
                    "q": float(row["q"]),
                    **{k: number(row, k) for k in ("value", "ci_low", "ci_high", "n", "n_weights")},
                    "note": f"pruned before tuning{size}\n{nats(row, 3)}",
                }
            )
    return pd.DataFrame(
        lines, columns=["arm", "q", "value", "ci_low", "ci_high", "n", "n_weights", "note"]
    ).sort_values("q", ignore_index=True)


def unpruned(result: Emergent) -> tuple[float, float, float] | None:
    """The broad shift without pruning and its interval."""
    row = result.row("log_odds_shift", BAD, "broad")
    return None if row is None else (number(row, "value"), number(row, "ci_low"), number(row, "ci_high"))


def dose_words(result: Emergent) -> Words:
    """Title, subtitle and reading of the dose chart."""
    arms = [a for a in (PRUNED, *result.doses) if result.row("log_odds_shift", a, "broad") is not None]
    less = [a for a in arms if clear(result.row("difference_from_bad", a, "broad")) < 0]
    title = (
        f"Pruning more beforehand: at {len(less)} of {len(arms)} fractions the broad shift is clearly smaller "
        f"than without pruning"
    )
    return Words(
        title,
        "Broad shift of the log-odds after tuning on bad advice, nats per token. Band: 95 % interval of tuning "
        "without pruning.",
        "Each mark is a model whose harm weights, as many as q says, were set to zero before tuning and held there. "
        "If the domain's harm weights carried the "
        "misalignment, the marks would fall with q. Only the fraction of the main chart has controls of its own size.",
        f"Broad shift at {len(arms)} fractions pruned. {title}",
    )
