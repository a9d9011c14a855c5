"""What dissociation is called, asked and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Offer, Page, option
from harmviz.claims.options import EXPERIMENT_OPTIONS, MODEL_OPTIONS

CLAIM = Claim(
    name="dissociation",
    order=2,
    title="Dissociation",
    question="Does the pruned model still recognise, explain and refuse?",
    paper="C8",
    help="does the pruned model still recognise, explain and refuse?",
    experiments=("dissociation",),
    options=(
        option("run", metavar="RUN", help="the map run whose masks are tried: id, beginning of one, folder, or latest"),
        option(
            "--data",
            default=None,
            metavar="D",
            help="the run's data, where it was a file of your own (default: what the run names)",
        ),
        option(
            "--draws",
            type=int,
            default=2,
            metavar="N",
            help="random controls of each mask, measured on a third of the items (2)",
        ),
        option(
            "--pairs", type=int, default=None, metavar="N", help="harmful/harmless request pairs asked about (all 64)"
        ),
        option("--prompts", type=int, default=None, metavar="N", help="held-out prompts of each set at most (all)"),
        *MODEL_OPTIONS,
        *EXPERIMENT_OPTIONS,
    ),
    pages=(Page("dissociation", "Dissociation", ":material/call_split:"),),
    lecture=(("dissociation-picture-both", "contrastive"), ("dissociation-picture-none", "as in the paper")),
    offer=Offer("Does the pruned model still recognise, explain and refuse?"),
    shares=True,
)
