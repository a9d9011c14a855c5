"""What the claim about jailbreaks is called, asked and offered as."""

from __future__ import annotations

from harmviz.claims.claim import Claim, Offer, Page, option
from harmviz.claims.options import DATA_OPTIONS, EXPERIMENT_OPTIONS, MODEL_OPTIONS, REQUESTS_HELP

CLAIM = Claim(
    name="jailbreak",
    order=3,
    title="Jailbreaks",
    question="Do jailbreaks still get through?",
    paper="C6",
    help="attacks against masks: what gets through, and what it costs",
    experiments=("jailbreak",),
    options=(
        option("run", metavar="RUN", help="the map run whose masks are tried: id, beginning of one, folder, or latest"),
        option(
            "--attacks",
            default=None,
            metavar="a,b",
            help="ids of built-in attacks, or a .jsonl file of your own (all built-in ones)",
        ),
        option(
            "--requests",
            default="builtin",
            metavar="S",
            help="harmful requests: builtin (mild), report (of the run's own data), a file of your own "
            f"({REQUESTS_HELP}), or several: builtin,report",
        ),
        *DATA_OPTIONS,
        option(
            "--data",
            default=None,
            metavar="D",
            help="the data that the run was made on, where it was of your own",
        ),
        option("--harmful", type=int, default=64, metavar="N", help="harmful requests at most (64)"),
        option("--benign", type=int, default=32, metavar="N", help="benign requests at most (32)"),
        option("--max-new-tokens", type=int, default=64, metavar="N", help="length of an answer at most (64)"),
        option(
            "--scene",
            default=None,
            metavar="RUN",
            help="a stage scene of that run: its mask is tried as well, and the random ones are as large as it",
        ),
        option("--draws", type=int, default=2, metavar="N", help="random masks (2)"),
        option(
            "--q", type=float, default=None, help="fraction of scored weights to prune (default: the run's own choice)"
        ),
        option("--p", type=float, default=None, help="fraction of weights protected by utility; belongs to --q"),
        option(
            "--judge",
            action="append",
            default=None,
            metavar="NAME",
            help="beside the keyword list: offline-refusal, offline-harm (both by default), endpoint, "
            "endpoint-refusal, hub-llama-guard and others (`judge evaluate` lists them); keyword: none beside it; may "
            "be given several times",
        ),
        *MODEL_OPTIONS,
        *EXPERIMENT_OPTIONS,
    ),
    pages=(Page("jailbreaks", "Jailbreaks", ":material/lock_open:"),),
    lecture=(("jailbreak-pooled", "all together"), ("jailbreak-grid", "attack by attack")),
    offer=Offer("What gets through, attack by attack, with and without the masks?"),
    shares=True,
)
