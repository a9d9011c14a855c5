"""What a map run at work is doing, in plain words. Pure functions."""

from __future__ import annotations

from harmviz.display import text

#: The four parts of a run, and the stages (up to the first dot) that belong to each.
PHASES = {
    "Answers": ("answers",),
    "Scores": ("score",),
    "Selection": ("candidates", "maps", "halves", "structure"),
    "Measurements": ("measure", "behaviour", "comparison", "causal", "results"),
}
_WORDS = {
    "answers": "The model answers harmless prompts itself",
    "candidates": "Collecting the weights that masks are selected from",
    "maps": "Drawing where the weights sit",
    "halves": "Selecting from each scoring half alone",
    "structure": "Comparing the selections: overlap and concentration",
    "causal": "Checking the scores against a real change of the weights",
    "results": "Writing the results",
}
_SPLITS = {"validation": "on validation prompts", "report": "on report prompts", "controls": "beside a control"}
_HALVES = {"scoring_a": "first half", "scoring_b": "second half"}


def stage_words(stage: str) -> str:
    """``score.hate.scoring_a`` → Scoring hate, first half. A stage not known here reads as it is."""
    head, *rest = stage.split(".")
    if head in _WORDS:
        return _WORDS[head]
    if head == "score" and rest == ["utility"]:
        return "Scoring what harmless text needs"
    if head == "score" and len(rest) == 2:
        return f"Scoring {text.set_name(rest[0])}, {_HALVES.get(rest[1], rest[1])}"
    if head == "measure" and len(rest) == 2:
        what = "Losses of the intact model" if rest[0] == "intact" else "Losses under a mask"
        return f"{what}, {_SPLITS.get(rest[1], rest[1])}"
    if head == "behaviour" and rest:
        return f"Free answers: {'.'.join(rest).replace('headline-', '')}"
    if head == "comparison" and rest:
        return f"Another score for comparison: {rest[0]}"
    return stage
