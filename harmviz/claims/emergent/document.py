"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

from harmviz.claims.markdown import number, one, share, table
from harmviz.display import text
from harmviz.runs import Run


def arms(run: Run) -> str:
    """Shift of the log-odds of misaligned answers by arm: broad, in the domain; loss of harmless answers."""
    frame = run.results()
    here = frame[frame["mask"] != "general"]
    lines = []
    for arm in run.manifest["method"]["arms"]:
        rows = here[here["condition"] == arm]
        broad = one(rows, metric="log_odds_shift", category="broad")
        if broad is None:
            continue
        size = "" if rows["n_weights"].isna().all() else f"{int(rows['n_weights'].max()):,}"
        lines.append(
            [
                arm,
                size,
                number(broad, 3),
                number(one(rows, metric="log_odds_shift", category="in_domain"), 3),
                number(one(rows, metric="delta_nll", category="benign"), 3),
                share(one(rows, metric="relative_reduction", category="broad")),
            ]
        )
    header = ("arm", "weights pruned first", "broad", "in the domain", "benign loss", "of the broad shift taken off")
    return f"Shift against the untuned model, nats per token [95 % over prompts and seeds].\n\n{table(header, lines)}"


def against_controls(run: Run) -> str:
    """What pruning harm weights first does beyond pruning others, on the broad questions."""
    frame = run.results()
    rows = frame[(frame["metric"] == "excess_over_control") & (frame["category"] == "broad")]
    lines = [[str(r["condition"]), str(r["control"]).replace("_", "-"), number(r, 3)] for r in rows.to_dict("records")]
    return table(("arm", "minus", "broad shift, nats/token"), lines)


def weight_change(run: Run) -> str:
    """How much of the tuning's change falls on the mask's weights, as a multiple of chance."""
    frame = run.results()
    metrics = ("change_share_times_chance", "top_0.01_share_times_chance", "top_0.001_share_times_chance")
    lines = []
    for arm in ("narrow-bad", "narrow-good"):
        for mask, control, words in (
            (run.manifest["parameters"]["domain"], "none", "the domain's harm weights"),
            (run.manifest["parameters"]["domain"], "benign_signed", "benign-signed weights"),
            ("general", "none", "the map run's general harm mask"),
        ):
            here = frame[(frame["condition"] == arm) & (frame["mask"] == mask) & (frame["control"] == control)]
            cells = [number(one(here, metric=m), sign=False) for m in metrics]
            if any(cells):
                lines.append([arm, words, *cells])
    header = (
        "arm",
        "weights",
        "share of the change",
        f"of the {text.percent(0.01)} that change most",
        f"of the {text.percent(0.001)}",
    )
    return f"Multiples of chance [95 % over seeds].\n\n{table(header, lines)}"


PARTS = {"arms": arms, "controls": against_controls, "weights": weight_change}
