"""What the comparison of rankings is called and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Offer, option
from harmviz.claims.options import DATA_HELP, DATA_OPTIONS, EXPERIMENT_OPTIONS, MODEL_OPTIONS

CLAIM = Claim(
    name="rankings",
    order=8,
    title="Rankings",
    question="Which ranking of weights finds harm at the least benign cost?",
    paper="method",
    help="the paper's ranking beside contrastive, graded and gradient-free ones, at equal benign cost",
    experiments=("rankings",),
    options=(
        option("--data", default="pyrit", metavar="D", help=f"{DATA_HELP} (pyrit)"),
        *DATA_OPTIONS,
        option("--samples", type=int, default=None, metavar="N", help="answers scored per category (16)"),
        option(
            "--held-out",
            type=int,
            default=None,
            metavar="N",
            help="answers measured per category, and as many same-topic safe ones (8)",
        ),
        option("--max-response-tokens", type=int, default=None, metavar="N", help="where responses are cut (64)"),
        option(
            "--penalties",
            default=None,
            metavar="L,L",
            help="factors of the utility score in the graded ranking (1,2,4)",
        ),
        *MODEL_OPTIONS,
        *EXPERIMENT_OPTIONS,
    ),
    offer=Offer("Which ranking of weights finds harm at the least benign cost?", own_form=True),
)
