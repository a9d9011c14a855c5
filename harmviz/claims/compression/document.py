"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

from harmviz.claims.compression.comparisons import difference_name, seed_name
from harmviz.claims.markdown import number, one, pick, share, table
from harmviz.display import text
from harmviz.runs import Run
from harmviz.runs.point import SELECTOR_WORDS

START = "start"


def separability(run: Run, contrast: str) -> str:
    """A line a checkpoint: separability, by seed, against the start, and how often requests are declined."""
    frame, method = run.results(), run.manifest["method"]
    selected = frame[frame["contrast"] == contrast]
    rows = []
    for checkpoint in method["checkpoints"]:
        name, arm = checkpoint["name"], checkpoint["arm"]
        seeds = [
            number(one(selected, metric="separability", condition=seed_name(name, seed), category="harm"), 3)
            for seed in method["split_seeds"]
        ]
        against = difference_name(name, START)
        p = one(selected, metric="p_holm", condition=against)
        rows.append(
            [
                START if arm is None else f"{arm}, {checkpoint['label']}",
                number(one(selected, metric="separability", condition=name, category="harm"), 3),
                ", ".join(seeds),
                number(one(selected, metric="separability_difference", condition=against), 3),
                "" if p is None else f"{p['value']:.2g}",
                " · ".join(share(one(frame, metric=f"refusal/{s}", condition=name)) for s in ("harmful", "benign")),
            ]
        )
    limit = run.manifest["parameters"]["benign_limit"][contrast]
    heading = (
        f"Weights ranked {SELECTOR_WORDS[contrast].long}. Separability: the largest harm-specific ΔL over the grid "
        f"with benign ΔL at most {limit:g}, nats per token [95 %]; p: swaps of prompts, corrected by Holm."
    )
    header = ("checkpoint", "separability", "each seed", "against the start", "p", "declined: harmful · harmless")
    return f"{heading}\n\n{table(header, rows)}"


def against_controls(run: Run) -> str:
    """The planned comparisons with the control tunings."""
    results = run.results()
    rows = []
    for test in run.manifest["method"]["tests"]:
        if test["kind"] != "control":
            continue
        name = difference_name(test["a"], test["b"])
        for contrast in ("none", "both"):
            difference = one(results, metric="separability_difference", condition=name, contrast=contrast)
            p = one(results, metric="p_holm", condition=name, contrast=contrast)
            rows.append(
                [name, SELECTOR_WORDS[contrast].short, number(difference, 3), "" if p is None else f"{p['value']:.2g}"]
            )
    return table(("comparison", "selection", "separability, nats/token", "p"), rows)


def fixed_fraction(run: Run) -> str:
    """Harm-specific and benign ΔL at the largest fraction of each selection, limit or not."""
    results = run.results()
    rows = []
    for contrast, q in (
        ("none", run.manifest["parameters"]["q_plain"][-1]),
        ("both", run.manifest["parameters"]["q_contrastive"][-1]),
    ):
        for checkpoint in run.manifest["method"]["checkpoints"]:
            at_fraction = pick(results, contrast=contrast, q=q, condition=checkpoint["name"])
            rows.append(
                [
                    f"{SELECTOR_WORDS[contrast].short}, {text.percent(q)}",
                    checkpoint["name"],
                    number(one(at_fraction, metric="harm_specific", category="harm"), 3),
                    number(one(at_fraction, metric="delta_nll", category="benign"), 3),
                ]
            )
    return table(("selection, fraction pruned", "checkpoint", "harm − safe, nats/token", "benign ΔL"), rows)


PARTS = {
    "contrastive": lambda run: separability(run, "both"),
    "plain": lambda run: separability(run, "none"),
    "controls": against_controls,
    "fixed": fixed_fraction,
}
