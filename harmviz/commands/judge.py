"""``judge``: ``train`` the offline judges from human labels; ``evaluate``: what each judge's verdicts are worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.commands.output import number, print_json, say
from harmviz.data.human_scores import HARMFUL_AT
from harmviz.errors import BadSetting
from harmviz.judges import Judge, JudgeItem, Kind, Measure, available, judge
from harmviz.judges.agreement import auc, spearman
from harmviz.judges.labels import HUMAN, harm_labels, refusal_labels
from harmviz.judges.measuring import LabelledRows, train
from harmviz.judges.offline import JUDGES, OfflineJudge, store
from harmviz.judges.protocol import Quality, Verdict

KINDS: tuple[Kind, ...] = ("harm", "refusal")
PIECE = 32  # answers judged between two lines of progress


def run(arguments: argparse.Namespace) -> None:
    if arguments.task == "train":
        _train(arguments)
    elif arguments.judge:
        _measure(arguments)
    else:
        _overview(arguments)


def _train(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.out) if arguments.out else JUDGES
    models = [train(kind, seed=arguments.seed, say=say) for kind in KINDS]
    # Only once both are trained: a cancelled run leaves the old ones.
    files = [store(model, folder) for model in models]
    if arguments.json:
        described = [_described(OfflineJudge(m)) | {"file": str(f)} for m, f in zip(models, files, strict=True)]
        print_json({"judges": described})
        return
    for model, file in zip(models, files, strict=True):
        _show(OfflineJudge(model).name, model.quality)
        print(f"  stored in {file}")


def _overview(arguments: argparse.Namespace) -> None:
    """What is stored about every judge; nothing is run."""
    listed = available()
    known = {i.name: judge(i.name) for i in listed if i.at_hand and i.tier in ("keyword", "offline")}
    if arguments.json:
        unknown = {"quality": None}
        of_each = [i._asdict() | (_described(known[i.name]) if i.name in known else unknown) for i in listed]
        print_json({"judges": of_each})
        return
    for info in listed:
        print(f"{info.name}  ({info.tier}, {info.kind}, {'at hand' if info.at_hand else f'needs {info.needs}'})")
        if info.name in known:
            _show(None, known[info.name].quality)


def _measure(arguments: argparse.Namespace) -> None:
    """Runs one judge on the human-labelled answers.

    Raises:
        ValueError: a limit below 1, or no such judge.
    """
    if arguments.limit is not None and arguments.limit < 1:
        raise BadSetting(f"--limit must be at least 1, got {arguments.limit}")
    chosen = judge(arguments.judge)
    if isinstance(chosen, OfflineJudge):
        # It was trained on these answers: what it says of them now proves nothing, its cross-validation does.
        say(f"{chosen.name} was trained on these labels; shown is what it reached on answers it had not seen")
        verdicts, measures = [], chosen.quality.measures
    else:
        data = harm_labels(say) if chosen.kind == "harm" else refusal_labels(say)
        rows = [i for i, part in enumerate(data.part) if chosen.kind == "harm" or part == HUMAN][: arguments.limit]
        verdicts = _judged(chosen, [data.items[i] for i in rows])
        measures = measured(verdicts, data.y[rows], np.array(data.groups)[rows], chosen.kind)
    unscored = [v.reason for v in verdicts if not v.scored]
    if arguments.json:
        document = {"judge": chosen.name, "kind": chosen.kind, "measures": [m._asdict() for m in measures]}
        print_json(document | {"n": len(verdicts), "unscored": unscored})
        return
    _show(chosen.name, Quality(measures, chosen.quality.source))
    if unscored:
        print(f"  unscored {len(unscored)} of {len(verdicts)}: {max(set(unscored), key=unscored.count)}")


def _judged(chosen: Judge, items: list[JudgeItem]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for start in range(0, len(items), PIECE):
        verdicts += chosen.score(items[start : start + PIECE])
        say(f"{chosen.name}: {len(verdicts)} of {len(items)} answers")
    return verdicts


def measured(verdicts: list[Verdict], y: np.ndarray, groups: np.ndarray, kind: Kind) -> tuple[Measure, ...]:
    """Agreement of the scored verdicts with human labels, with intervals over groups."""
    kept = np.flatnonzero([v.scored for v in verdicts])
    if not len(kept):
        return ()
    value = np.array([verdicts[i].value for i in kept], dtype=np.float64)
    label = np.array([verdicts[i].label for i in kept], dtype=bool)
    y, groups = y[kept], groups[kept]
    truth, human = y >= HARMFUL_AT, LabelledRows(HUMAN, np.arange(len(kept)), groups)
    measures = human.classified(label, truth)
    measures.append(human.measure("auc", lambda r: auc(value[r], truth[r])))
    if kind == "harm":
        measures.append(human.measure("spearman", lambda r: spearman(value[r], y[r])))
    return tuple(m for m in measures if m.n and not np.isnan(m.value))


def _described(known: Judge) -> dict[str, Any]:
    quality = {"source": known.quality.source, "measures": [m._asdict() for m in known.quality.measures]}
    return {"name": known.name, "kind": known.kind, "quality": quality}


def _show(title: str | None, quality: Quality) -> None:
    if title:
        print(title)
    print(f"  {quality.source}")
    for m in quality.measures:
        between = "" if m.ci_low is None or m.ci_high is None else f" [{number(m.ci_low)}, {number(m.ci_high)}]"
        print(f"  {m.measure:20} {m.by:16} {number(m.value)}{between}  n={m.n}  {m.on}")
