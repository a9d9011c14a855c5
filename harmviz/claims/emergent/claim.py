"""What emergent misalignment is called, asked and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Offer, Page, option
from harmviz.claims.emergent.arms import stage_words
from harmviz.claims.options import EXPERIMENT_OPTIONS, MODEL_OPTIONS

CLAIM = Claim(
    name="emergent",
    order=4,
    title="Emergent misalignment",
    question="Does narrow tuning misalign broadly, and does pruning first prevent it?",
    paper="C7",
    help="narrow fine-tuning with and without prior pruning, measured broadly",
    experiments=("emergent",),
    options=(
        option(
            "run",
            nargs="?",
            default=None,
            metavar="RUN",
            help="a map run of the model: adds its general harm mask to the weight-change part",
        ),
        *MODEL_OPTIONS,
        option(
            "--domain",
            default="money",
            metavar="D",
            help="narrow domain: money (default), car, kitchen, or a .jsonl file",
        ),
        option("--arms", default=None, metavar="a,b", help="besides base and narrow-bad; default: all"),
        option("--seeds", type=int, default=3, metavar="N", help="whole repetitions, counted from --seed (3)"),
        option("--method", default="lora", metavar="M", help="lora (default) or full"),
        option("--epochs", type=int, default=1, metavar="N", help="passes over the tuning rows (1)"),
        option("--steps", type=int, default=None, metavar="N", help="optimiser steps of 8 rows, instead of --epochs"),
        option(
            "--rate", type=float, default=None, metavar="R", help="peak learning rate (default: that of the method)"
        ),
        option("--rank", type=int, default=8, metavar="R", help="of the adapters (8)"),
        option("--q", type=float, default=2e-05, help="fraction of scored weights to prune (2e-5)"),
        option("--p", type=float, default=0.01, help="fraction of weights protected by utility (0.01)"),
        option("--dose", default=None, metavar="q,q", help="further fractions for pruned-held"),
        option("--free", type=int, default=12, metavar="N", help="questions answered freely (12)"),
        option(
            "--judge",
            default="offline-harm",
            metavar="J",
            help="of free answers: offline-harm (default), endpoint or none",
        ),
        *EXPERIMENT_OPTIONS,
    ),
    pages=(Page("emergent", "Emergent misalignment", ":material/bubble_chart:"),),
    lecture=(("emergent-arms-broad", "far from the domain"), ("emergent-arms-in_domain", "in the domain")),
    offer=Offer("Does narrow tuning misalign broadly, and does pruning first prevent it?", own_form=True),
    stage_words=stage_words,
)
