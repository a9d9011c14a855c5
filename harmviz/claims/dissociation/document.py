"""The tables of the documentation that the stored result makes."""

from __future__ import annotations

from harmviz.claims.markdown import number, one, table
from harmviz.runs import Run

#: (ability, metric, set, what the line says)
_LINES = (
    ("generation", "delta_nll", "harm", "loss of harmful answers"),
    ("generation", "harm_specific", "harm", "harm minus same-topic safe"),
    ("generation", "delta_nll", "benign", "loss of harmless answers"),
    ("recognition", "delta_auc", "all", "recognition, AUC"),
    ("refusal", "delta_refusal_log_odds", "harmful", "log-odds of declining"),
    ("explanation", "delta_nll", "harmful", "loss of reasons why a request is harmful"),
)
_COLUMNS = (
    ("harm mask", "mean(all)", "none"),
    ("the same at matched strength", "matched(mean(all))", "none"),
    ("refusal mask", "refusal", "none"),
    ("benign-signed", "mean(all)", "benign_signed"),
    ("random", "mean(all)", "random"),
)


def abilities(run: Run, contrast: str) -> str:
    """Change of every ability under every mask of one selection."""
    frame = run.results()
    here = frame[frame["contrast"] == contrast]
    lines = []
    for condition, metric, category, words in _LINES:
        rows = here[(here["condition"] == condition) & (here["metric"] == metric) & (here["category"] == category)]
        cells = [one(rows, mask=mask, control=control) for _, mask, control in _COLUMNS]
        n = next((int(c["n"]) for c in cells if c is not None), None)
        lines.append([words + ("" if n is None else f", n = {n}"), *(number(c) for c in cells)])
    weights = run.manifest["method"]["masks"][contrast]["n_weights"]
    return table((f"change against intact [95 %], masks of {weights:,} weights", *(c[0] for c in _COLUMNS)), lines)


def intact(run: Run) -> str:
    """What the intact model can do, and what is not testable on it."""
    frame = run.results()
    here = frame[frame["mask"].isna()]
    auc = one(here, metric="auc", condition="recognition", category="all")
    recall = one(here, metric="keyword_recall")
    floor = here[(here["metric"] == "testable") & (here["value"] == 0)]["category"].tolist()
    words = (
        f"Intact: recognition AUC {number(auc, 3, sign=False, n=True)}; recall of the keyword list "
        f"{number(recall, sign=False)}."
    )
    return words + (f" Not testable on this model: {', '.join(c.replace('_', ' ') for c in floor)}." if floor else "")


PARTS = {
    "contrastive": lambda run: abilities(run, "both"),
    "plain": lambda run: abilities(run, "none"),
    "intact": intact,
}
