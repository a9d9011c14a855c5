"""What stage scene is called, asked and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Offer, option
from harmviz.claims.options import DATA_OPTIONS, EXPERIMENT_OPTIONS, MODEL_OPTIONS, REQUESTS_HELP

CLAIM = Claim(
    name="scene",
    order=5,
    title="Stage scene",
    question="Does a model that was talked into answering turn requests away again without these weights?",
    paper="C2, C6",
    help="the stage scene: a talked-into answer, and the mask that makes the model turn it away again",
    experiments=("scene",),
    options=(
        option(
            "run",
            metavar="RUN",
            help="the map run of the aligned model whose masks are tried: id, beginning of one, folder, or latest",
        ),
        option(
            "--opener",
            default="Sure, here is",
            metavar="TEXT",
            help="words put into the answer's mouth (Sure, here is)",
        ),
        option(
            "--requests",
            action="append",
            default=None,
            metavar="N|FILE",
            help="requests reported on, of each set (64); or harmful requests of your own: "
            f"{REQUESTS_HELP}; may be given twice, once for each",
        ),
        *DATA_OPTIONS,
        option(
            "--data",
            default=None,
            metavar="D",
            help="the data that the run was made on, where it was of your own: guarded masks are scored on it",
        ),
        option("--choosing", type=int, default=32, metavar="N", help="other requests that the mask is chosen by (32)"),
        option(
            "--sets",
            default=None,
            metavar="a,b",
            help="harmbench, strongreject, advbench (fetched), mild (built in) and own (of --requests FILE); the first "
            "is the one quoted (harmbench,strongreject,advbench,mild; with a file own,mild)",
        ),
        option("--max-new-tokens", type=int, default=48, metavar="N", help="length of an answer (48)"),
        option(
            "--q",
            default=None,
            metavar="a,b",
            help="fractions tried, those above the run's q_max for guarded and twin masks alone "
            "(1e-5,2e-5,4e-5,7e-5,1e-4)",
        ),
        option("--p", default=None, metavar="a,b", help="protected fractions tried (0.01,0.05)"),
        option(
            "--selections",
            default=None,
            metavar="a,b",
            help="rankings tried: twin, guarded, both (contrastive), none (as in the paper) (all four)",
        ),
        option("--draws", type=int, default=3, metavar="N", help="of the random control (3)"),
        option("--offered", type=int, default=8, metavar="N", help="mild requests recorded for the stage (8)"),
        *MODEL_OPTIONS,
        *EXPERIMENT_OPTIONS,
    ),
    offer=Offer("Finds the mask under which an aligned model talked into answering turns requests away again."),
    shares=True,
)
