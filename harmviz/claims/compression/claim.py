"""What compression is called, asked and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Offer, Page, option
from harmviz.claims.options import DATA_HELP, DATA_OPTIONS, EXPERIMENT_OPTIONS, MODEL_OPTIONS

CLAIM = Claim(
    name="compression",
    order=1,
    title="Compression",
    question="Does alignment concentrate the harm weights?",
    paper="C5",
    help="does alignment concentrate the harm weights? along checkpoints of one model",
    experiments=("compression",),
    options=(
        option(
            "checkpoints",
            nargs="*",
            metavar="CHECKPOINT",
            help="models by name, first to last in training; all are compared with the first",
        ),
        option(
            "--ladder",
            nargs="+",
            action="extend",
            default=[],
            metavar="L",
            help="ladders of `align`, one per tuning seed (six give an interval over seeds): folders or ids",
        ),
        option(
            "--preset",
            default=None,
            metavar="NAME",
            help="published series: olmo3-7b, llama-3.1-8b, qwen2.5-14b, qwen2.5-32b",
        ),
        option(
            "--at",
            default="ends",
            metavar="A",
            help="checkpoints of each arm: ends (default), all, or names such as sft-30,safety-dpo-20",
        ),
        option(
            "--splits", type=int, default=None, metavar="N", help="scoring splits (one a ladder; 3 without ladders)"
        ),
        option(
            "--with",
            dest="earlier",
            nargs="+",
            action="extend",
            default=[],
            metavar="RUN",
            help="results that hold some of it: what they measured alike is taken over, so that seeds can be added",
        ),
        option("--data", default="pyrit", metavar="D", help=f"{DATA_HELP} (pyrit)"),
        *DATA_OPTIONS,
        option("--samples", type=int, default=None, metavar="N", help="answers scored per category and split (8)"),
        option(
            "--held-out",
            type=int,
            default=None,
            metavar="N",
            help="answers measured per category and split (6), and as many same-topic safe ones",
        ),
        option("--max-response-tokens", type=int, default=None, metavar="N", help="where responses are cut (64)"),
        option(
            "--q",
            default=None,
            metavar="Q,Q",
            help="fractions pruned beside the fixed ones, 1e-5 and contrastive 2e-5,5e-5 (1e-6,5e-6; contrastive 1e-5)",
        ),
        option(
            "--set-q",
            type=float,
            default=None,
            metavar="Q",
            help="fraction at which the categories' own masks are compared (1e-4)",
        ),
        *MODEL_OPTIONS,
        *EXPERIMENT_OPTIONS,
    ),
    pages=(Page("compression", "Compression", ":material/compress:"),),
    lecture=(("compression-fixed-both", "contrastive"), ("compression-fixed-none", "as in the paper")),
    offer=Offer("Does alignment make harm weights more separable? Needs two checkpoints or more.", own_form=True),
)
