"""What a reader must know to judge the result: the paper's claim, the test, what the checkpoints are."""

from __future__ import annotations

from harmviz.claims.compression.stored import StoredResult
from harmviz.claims.compression.swap_test import DRAWS, EXACT_PROMPTS
from harmviz.display.glossary import explained
from harmviz.runs import Run

_PAPER = (
    "In the paper (arXiv:2604.09544), aligned models show more separable sets than unaligned ones, and along the "
    "stages of OLMo-3-7B separability grows, most at preference optimisation. Its models have 7 to 32 billion "
    "weights, and its aligned ones are products of months of training."
)


def paper() -> str:
    """The paper's claim, as a note."""
    return f'<div class="hv hv-note">{explained(_PAPER)}</div>'


def notes_list(run: Run, result: StoredResult) -> str:
    """How the differences were tested and what they speak for, as HTML."""
    swaps = "all swappings" if result.n_prompts <= EXACT_PROMPTS else f"{DRAWS:,} random swappings"
    varied = "the splits and their tuning seeds" if len(result.seeds) > 1 else "the prompts"
    lines = [
        "The test: for every prompt, the shifts of the two checkpoints are swapped at random, all splits at once, and "
        f"everything is computed again, the choice of the fraction included ({swaps}, two-sided). p-values are "
        f"corrected by Holm's method over the {len(result.tests)} tests of this selection. They speak for these "
        f"checkpoints; the interval also varies {varied}.",
        "“More” or “less” is said only where the interval leaves out 0 and the corrected p-value is at most 0.05; "
        "“undecided” where only the p-value is.",
        *(f"Note: {note}." for note in run.manifest["method"].get("notes", [])),
        "Protection rests on benign answers written by others alone; the model's own would differ between checkpoints.",
    ]
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(str(line))}</li>" for line in lines)}</ul>'
