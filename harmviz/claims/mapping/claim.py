"""What the map run is called, asked and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Page, option
from harmviz.claims.mapping.extent import PROMPT_TOKENS, RESPONSE_TOKENS, SAMPLES
from harmviz.claims.mapping.stage_words import PHASES, stage_words
from harmviz.claims.options import DATA_HELP, DATA_OPTIONS, MODEL_OPTIONS, RUN_OPTIONS

CLAIM = Claim(
    name="mapping",
    order=0,
    title="Harm map",
    question="Where do the weights sit that harmful generation hangs on, and what does zeroing them do?",
    paper="C1–C4",
    help="score a model, select masks, measure their effects: a stored run",
    experiments=("effect", "transfer", "overlap", "concentration", "causal"),
    options=(
        *MODEL_OPTIONS,
        option("--data", default="pyrit", metavar="D", help=f"{DATA_HELP} (pyrit)"),
        *DATA_OPTIONS,
        option(
            "--quick",
            action="store_true",
            help="a first look in 10 to 45 minutes: fewer prompts, grid points and draws, same controls; marked quick",
        ),
        option(
            "--twins",
            action="store_true",
            help="also measure on author-matched twins: minimal pairs that the embedded model answers",
        ),
        option(
            "--samples",
            type=int,
            default=None,
            metavar="N",
            help=f"responses scored per category at most ({SAMPLES[False]}; quick: {SAMPLES[True]})",
        ),
        option("--seed", type=int, default=0, metavar="K", help="of splits, choices, draws and intervals (0)"),
        option(
            "--q-max",
            type=float,
            default=None,
            metavar="Q",
            help="largest fraction selectable later (1e-4; less for models beyond 1B)",
        ),
        option("--skip-tokens", type=int, default=0, metavar="K", help="response openers left out of the loss: 0 or 8"),
        option(
            "--max-response-tokens",
            type=int,
            default=None,
            metavar="N",
            help=f"where responses are cut ({RESPONSE_TOKENS[False]}; quick: {RESPONSE_TOKENS[True]})",
        ),
        option(
            "--max-prompt-tokens",
            type=int,
            default=PROMPT_TOKENS,
            metavar="N",
            help=f"rows with a longer prompt are left out, and counted ({PROMPT_TOKENS})",
        ),
        *RUN_OPTIONS,
    ),
    pages=(
        Page("overview", "Overview", ":material/insights:", "Explore"),
        Page("harm_map", "Harm map", ":material/grid_on:", "Explore"),
        Page("overlap", "Overlap & transfer", ":material/join_inner:", "Explore"),
        Page("compare", "Compare runs", ":material/compare:", "Explore"),
    ),
    stage_words=stage_words,
    phases=PHASES,
    shares=True,
)
