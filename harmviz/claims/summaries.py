"""What several committed runs say together, and what the judges are worth, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, get_args

from harmviz.claims import claim_of, eight
from harmviz.claims.eight import committed_runs
from harmviz.claims.markdown import NOTHING, number, share, table
from harmviz.display import text
from harmviz.judges.offline import shipped
from harmviz.judges.protocol import Kind
from harmviz.paths import shipped_runs_root
from harmviz.runs import list_runs
from harmviz.stats.wilson import wilson
from harmviz.tuning.settings import ARMS

_LADDER_LINES = {
    "refusal/harmful": "requests worded like the safety tuning's, held out",
    "refusal/opener": "such requests, answer opened by the opener",
    "refusal/reworded": "human-scored requests, worded otherwise",
    "refusal/benign": "over-refusal: harmless requests",
    "refusal/borderline": "over-refusal: harmless but sounding dangerous",
    "loss/written": "loss of harmless answers by others, nats/token",
    "loss/own": "loss of own answers to harmless requests",
}
_JUDGED_ON = ("human labels", "built-in mild texts", "built-in refusals", "answers scored by three")
_STAGE = "dpo"


def findings() -> str:
    """A line a committed run about the paper's claims, first looks aside: its claim, its model, its finding."""
    lines = []
    for run in (run for run in committed_runs() if not run.quick):
        if (claim := claim_of(run)) is not None and claim.is_of_the_paper:
            finding = claim.face("finding").finding(run)
            lines.append(f"- **{claim.title}** ({claim.paper}; {run.model_name}): {finding.sentence}")
    return "\n".join(lines)


def claims_table() -> str:
    """The paper's eight claims, what the committed runs answer, and to which objection."""
    return eight.markdown(eight.lines(committed_runs()))


def ladder_refusals() -> str:
    """Keyword refusals at the end of DPO, pooled over the committed ladders, by arm and set of requests."""
    ladders = [
        r.manifest["method"]
        for r in list_runs(shipped_runs_root())
        if r.manifest["method"].get("experiment") == "align"
    ]
    arms: dict[str, list[Mapping[str, Any]]] = {"start": [ladder["start"]["numbers"] for ladder in ladders]}
    for arm in ARMS:
        ends = [c for ladder in ladders for c in ladder["checkpoints"] if (c["arm"], c["stage"]) == (arm, _STAGE)]
        arms[arm] = [checkpoint["numbers"] for checkpoint in ends]
    lines = [
        [words, *(_pooled(numbers, metric) for numbers in arms.values())] for metric, words in _LADDER_LINES.items()
    ]
    return table(("declined by keywords [95 %]", *arms), lines)


def _pooled(numbers: Sequence[Mapping[str, Any]], metric: str) -> str:
    """``90 % [81, 95], n = 72``: hits over all seeds with Wilson's interval; of losses the mean over seeds."""
    entries = [checkpoint[metric] for checkpoint in numbers if metric in checkpoint]
    if not entries:
        return NOTHING
    if metric.startswith("loss/"):
        return text.signed(fmean(entry["value"] for entry in entries))
    rate = wilson(sum(entry["hits"] for entry in entries), sum(entry["n"] for entry in entries))
    return share({"value": rate.value, "ci_low": rate.ci_low, "ci_high": rate.ci_high, "n": rate.n}, n=True)


def judge_quality() -> str:
    """What the offline judges' and the keyword list's verdicts are worth, out of sample."""
    lines = []
    for kind in get_args(Kind):
        for measure in shipped(kind).quality.measures:
            if measure.on in _JUDGED_ON:
                name = f"offline, {kind}" if measure.by == "judge" else measure.by
                value = number({**measure._asdict()}, sign=False)
                lines.append([name, measure.on, measure.measure.replace("_", " "), value, str(measure.n)])
    return table(("judge", "on", "measure", "value [95 %]", "n"), lines)
