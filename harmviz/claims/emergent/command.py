"""``experiment emergent``: narrow fine-tuning with and without prior pruning, misalignment measured broadly."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from harmviz.claims.emergent.finding import finding
from harmviz.claims.emergent.settings import ARMS, EmergentSpec
from harmviz.commands.output import duration, estimate, print_made, print_table, progress_printer, runs_folder, say
from harmviz.errors import BadSetting
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Run, frame_to_records, open_run

#: (metric, category) → the column's title.
COLUMNS = (
    ("log_odds_shift", "in_domain", "in domain"),
    ("log_odds_shift", "broad", "broad"),
    ("difference_from_bad", "broad", "broad, against narrow-bad"),
    ("delta_nll", "benign", "benign loss"),
    ("coherent_share", "answers", "coherent answers"),
)


def run(arguments: argparse.Namespace) -> None:
    spec = EmergentSpec(
        domain=domain_name(arguments.domain),
        arms=_names(arguments.arms) or ARMS,
        seeds=arguments.seeds,
        seed=arguments.seed,
        method=arguments.method,
        epochs=arguments.epochs,
        steps=arguments.steps,
        rate=arguments.rate,
        rank=arguments.rank,
        q=arguments.q,
        p=arguments.p,
        dose=_fractions(arguments.dose),
        free=arguments.free,
        judge=arguments.judge,
    )
    root = runs_folder(arguments.out)
    from harmviz.claims.emergent.bench import make_domain, the_judge

    # All of it before the model: a typing mistake should fail at once.
    the_judge(spec.judge)
    from harmviz.claims.emergent.data import check_far, load_domain, load_questions, split_rows

    rows, questions = load_domain(arguments.domain), load_questions()
    check_far(rows, questions)
    domain = make_domain(spec.domain, rows, questions, split_rows, spec.all_seeds)
    source = open_run(arguments.run) if arguments.run else None
    from harmviz.claims.emergent.measure import run_emergent
    from harmviz.claims.parent import check_parent, open_parent
    from harmviz.models.load import load_model

    if source is not None:
        check_parent(source)
    name = arguments.model or (EMBEDDED if source is None else source.model_id)
    loaded = load_model(name, dtype=arguments.dtype, device=arguments.device, say=say)
    parent = None if source is None else open_parent(source, loaded)
    begun = time.monotonic()
    made = run_emergent(loaded, domain, spec, parent, root=root, resume=arguments.resume, listener=progress_printer())
    say(f"done in {duration(time.monotonic() - begun)}")
    print_made(made, finding(made), print_result, as_json=arguments.json, method=dict(made.manifest["method"]))


def domain_name(domain: str) -> str:
    """What a domain is called in results: its own name, or that of its file."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(domain).stem).strip("-")[:40] or "domain"


def print_result(run: Run) -> None:
    """The table: a line per arm, shifts against the base model with interval and n."""
    frame = run.results()
    rows = []
    for arm in run.manifest["method"]["arms"]:
        line = [arm]
        for metric, category, _ in COLUMNS:
            rows_of_arm = frame[(frame.condition == arm) & (frame.metric == metric) & (frame.category == category)]
            # Rows against one control name it, those about the arm name the arm's own: the first is always the arm's.
            line.append(
                estimate(frame_to_records(rows_of_arm.head(1))[0], sign=metric != "coherent_share")
                if len(rows_of_arm)
                else ""
            )
        rows.append(line)
    print_table(["arm", *(title for _, _, title in COLUMNS)], rows)
    for arm, why in run.manifest["method"]["collapsed"].items():
        print(f"{arm}: {why}")
    n = run.manifest["parameters"]["seeds"]
    print(
        "log-odds of the misaligned (in domain: bad) against the aligned (good) answer, nats/token, shift against "
        f"base; [95 % interval over {len(n)} seeds and n prompts]"
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _fractions(text: str | None) -> tuple[float, ...]:
    """The comma-separated fractions.

    Raises:
        ValueError: one is not a number.
    """
    try:
        return tuple(float(part) for part in _names(text))
    except ValueError:
        raise BadSetting(f"dose must be fractions separated by commas, e.g. 5e-6,1e-5, got {text!r}") from None
