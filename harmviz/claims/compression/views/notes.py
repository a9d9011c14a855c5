"""What a reader must know to judge the result: the paper's claim, the test, what the checkpoints are."""

from __future__ import annotations

from harmviz.claims.compression.fixed_difference import FixedResult
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


def notes_list(run: Run, fixed: FixedResult) -> str:
    """How the differences were tested and what they speak for, as HTML."""
    result = fixed.result
    swaps = "all swappings" if result.n_prompts <= EXACT_PROMPTS else f"{DRAWS:,} random swappings"
    varied = "the splits and their tuning seeds" if len(result.seeds) > 1 else "the prompts"
    tests = len(result.tests) * len(fixed.fractions)
    lines = [
        "The test: for every prompt, the shifts of the two checkpoints are swapped at random, all splits at once, and "
        f"everything is computed again ({swaps}, two-sided). p-values are corrected by Holm's method over the {tests} "
        f"tests of this selection. They speak for these checkpoints; the interval also varies {varied}, and is widened "
        "for how few they are.",
        "“Larger” or “smaller” is said only where the interval leaves out 0 and the corrected p-value is at most 0.05; "
        "“undecided” where only the p-value is.",
        "The ratio is harm-specific over benign ΔL. Where the interval of benign ΔL does not lie above 0, it is not "
        "defined: a small denominator would make it any number.",
        *(f"Note: {note}." for note in run.manifest["method"].get("notes", [])),
        "Protection rests on benign answers written by others alone; the model's own would differ between checkpoints.",
    ]
    if not fixed.tested:
        lines.insert(
            0,
            "This result was made before the stable index. It keeps each checkpoint's shift at the fixed fractions, "
            "but not the losses of single samples, so that paired differences have no interval and no test here. "
            "Computed again, it has them.",
        )
    return f'<ul class="hv hv-list">{"".join(f"<li>{explained(str(line))}</li>" for line in lines)}</ul>'
