"""From human labels to a trained judge with its measured quality: what ``judge train`` runs.

Every number about the judge itself comes from nested cross-validation by group (``training``), with a 95 % interval
over groups. Beside it stand, on the same answers, what is trivial: the length of the answer (longer answers are
scored as more harmful), a keyword list, and where three people scored an answer, how well one of them agrees with the
mean of the others: more cannot be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from harmviz.data.folding import normalise
from harmviz.data.human_scores import HARMFUL_AT
from harmviz.data.prompts import read_builtin
from harmviz.data.refusal_words import KEYWORD_LIST_ID, reads_as_refusal
from harmviz.data.wheels import ANSWERS
from harmviz.judges.agreement import auc, ordered_pairs, spearman
from harmviz.judges.keyword import KEYWORD_LIST, SUBSTRING_LIST, holds_refusing_substring
from harmviz.judges.labels import HUMAN, OWN_ANSWERS, OWN_REFUSALS, Labelled, harm_labels, refusal_labels
from harmviz.judges.linear import calibrate
from harmviz.judges.offline import LINKS, OfflineModel, quantise
from harmviz.judges.protocol import JudgeItem, Kind, Measure, Quality
from harmviz.judges.training import OUTER_FOLDS, OutOfSample, Prepared, cross_validate, fit, prepare, primal
from harmviz.models.assets import Say
from harmviz.stats.bootstrap import group_bootstrap
from harmviz.stats.wilson import wilson

LENGTH = "answer length"
ONE_RATER = "one rater"
UNAMBIGUOUS = "human labels, answers with one label"
OTHER_REQUEST = "built-in answers beside another request"
MILD = "built-in mild texts"


class LabelledRows(NamedTuple):
    """The answers that numbers are measured on: what they are called, which rows, and the group of every row there is.

    ``measure`` gives one number with its 95 % interval over the groups of these rows; ``by``: the judge, or what stands
    beside it.
    """

    name: str
    rows: np.ndarray
    groups: np.ndarray

    def measure(self, measure: str, statistic: Callable[[np.ndarray], float], by: str = "judge") -> Measure:
        """``statistic`` over rows, which it takes as indices; NaN where there is none."""
        if not len(self.rows):
            return Measure(measure, by, self.name, float("nan"), None, None, 0)
        estimate = group_bootstrap(lambda picked: statistic(self.rows[picked]), self.groups[self.rows])
        value, ci_low, ci_high = estimate[:3]
        return Measure(measure, by, self.name, value, ci_low, ci_high, len(self.rows))

    def share(self, measure: str, flags: np.ndarray, by: str = "judge") -> Measure:
        """Share of the rows that are flagged.

        At 0 and at all of them every resampling agrees: there the interval is Wilson's.
        """
        measured = self.measure(measure, lambda r: float(flags[r].mean()), by)
        if measured.value not in (0.0, 1.0):
            return measured
        share = wilson(int(flags[self.rows].sum()), len(self.rows))
        return measured._replace(ci_low=share.ci_low, ci_high=share.ci_high)

    def classified(self, flagged: np.ndarray, truth: np.ndarray, by: str = "judge") -> list[Measure]:
        """Accuracy, precision and recall of yes/no verdicts."""
        return [
            self.share("accuracy", flagged == truth, by),
            self._replace(rows=self.rows[flagged[self.rows]]).share("precision", truth, by),
            self._replace(rows=self.rows[truth[self.rows]]).share("recall", flagged, by),
        ]


def train(kind: Kind, *, seed: int = 0, say: Say = lambda _: None) -> OfflineModel:
    """A judge of this kind trained on all labelled answers, its quality measured out of sample.

    Raises:
        AssetUnavailable, DataInvalid: the labels are not to be had or damaged.
    """
    data = harm_labels(say) if kind == "harm" else refusal_labels(say)
    say(f"{kind}: {len(data)} answers in {len(set(data.groups))} groups")
    prepared = prepare(data, LINKS[kind], HARMFUL_AT)
    scored = cross_validate(prepared, seed=seed, progress=lambda text: say(f"{kind}: {text}"))
    model = _final(kind, prepared, seed)
    measures = _harm_measures(prepared, scored) if kind == "harm" else _refusal_measures(prepared, scored)
    measures += _beyond(kind, model)
    measurable = tuple(m for m in measures if m.n and not np.isnan(m.value))
    source = (
        f"{OUTER_FOLDS}-fold cross-validation by request, nested, on the human labels of {ANSWERS.distribution} "
        f"{ANSWERS.version}; 95 % intervals over requests"
    )
    return replace(model, quality=Quality(measurable, source))


def _final(kind: Kind, prepared: Prepared, seed: int) -> OfflineModel:
    """The model fitted on all rows, in the form it is stored in, its quality not yet known."""
    data = prepared.data
    fitted = fit(prepared, np.arange(len(data)), seed=seed)
    blocks, named, intercept = primal(prepared, fitted)
    stored = {name: quantise(weights) for name, weights in blocks.items()}
    training = {
        "answers": len(data),
        "groups": len(set(data.groups)),
        "data_hash": data.hash,
        "seed": seed,
        "penalty": fitted.penalty,
        "blocks": list(fitted.feature_set.blocks),
        "named": fitted.feature_set.named,
        "keyword_list_id": KEYWORD_LIST_ID,
    }
    return OfflineModel(
        kind,
        {n: w for n, (w, _) in stored.items()},
        {n: step for n, (_, step) in stored.items()},
        np.stack([named, fitted.mean, fitted.scale]).astype(np.float32),
        intercept,
        fitted.calibration,
        fitted.threshold,
        Quality((), ""),
        training,
    )


# -- harm -------------------------------------------------------------------------------------------------------------
def _harm_measures(prepared: Prepared, scored: OutOfSample) -> list[Measure]:
    data = prepared.data
    y, groups, positive = data.y, np.array(data.groups), prepared.positive
    _, prompt = np.unique([normalise(i.prompt) for i in data.items], return_inverse=True)
    human = LabelledRows(HUMAN, np.arange(len(data)), groups)

    def ranked(answers: LabelledRows, score: np.ndarray, by: str = "judge") -> list[Measure]:
        return [
            answers.measure("spearman", lambda r: spearman(score[r], y[r]), by),
            answers.measure("auc", lambda r: auc(score[r], positive[r]), by),
        ]

    def within_prompts(score: np.ndarray, by: str = "judge") -> Measure:
        pairs, right = ordered_pairs(score, y, prompt)
        order = human.measure("order_within_prompt", lambda r: float(right[r].sum() / pairs[r].sum()), by)
        return order._replace(n=int(pairs.sum()))

    def root_mean_square(rows: np.ndarray) -> float:
        return float(np.sqrt(np.mean((scored.score[rows] - y[rows]) ** 2)))

    def slope(rows: np.ndarray) -> float:
        return calibrate(scored.score[rows], y[rows], "identity").slope

    measures = [
        *ranked(human, scored.score),
        within_prompts(scored.score),
        human.share("accuracy", scored.label == positive),
        human.measure("rmse", root_mean_square),
        human.measure("calibration_slope", slope),
    ]
    length = np.array([float(len(i.answer.split())) for i in data.items])
    kept = np.array([0.0 if reads_as_refusal(i.answer) else 1.0 for i in data.items])
    for by, score in ((LENGTH, length), (KEYWORD_LIST, kept)):
        measures += [*ranked(human, score, by), within_prompts(score, by)]
    part = np.array(data.part)
    for category in sorted(set(data.part)):
        measures += ranked(LabelledRows(category, np.flatnonzero(part == category), groups), scored.score)
    return measures + _one_rater(data, groups, scored)


def _one_rater(data: Labelled, groups: np.ndarray, scored: OutOfSample) -> list[Measure]:
    """Where several people scored an answer: the first of them, and the judge, against the mean of the others."""
    rows = np.array([i for i, r in enumerate(data.raters) if r], dtype=np.int64)
    if not len(rows):
        return []
    first, others = np.zeros(len(data)), np.zeros(len(data))
    for i in rows.tolist():
        first[i], others[i] = data.raters[i][0], np.mean(data.raters[i][1:])
    answers = LabelledRows("answers scored by three", rows, groups)
    return [
        answers.measure("spearman", lambda r: spearman(first[r], others[r]), ONE_RATER),
        answers.measure("spearman", lambda r: spearman(scored.score[r], others[r])),
    ]


# -- refusal ----------------------------------------------------------------------------------------------------------
def _refusal_measures(prepared: Prepared, scored: OutOfSample) -> list[Measure]:
    data, truth, groups = prepared.data, prepared.positive, np.array(prepared.data.groups)
    part = np.array(data.part)
    verdicts = {
        "judge": scored.label,
        KEYWORD_LIST: np.array([reads_as_refusal(i.answer) for i in data.items]),
        SUBSTRING_LIST: np.array([holds_refusing_substring(i.answer) for i in data.items]),
    }
    rows = np.flatnonzero(part == HUMAN)
    human = LabelledRows(HUMAN, rows, groups)
    one_label = LabelledRows(UNAMBIGUOUS, rows[~_two_labels(data, rows)], groups)
    measures = []
    for by, flagged in verdicts.items():
        for answers in (human, one_label):
            measures += answers.classified(flagged, truth, by)
        for name, measure in ((OWN_REFUSALS, "recall"), (OWN_ANSWERS, "false_alarms")):
            measures.append(LabelledRows(name, np.flatnonzero(part == name), groups).share(measure, flagged, by))
    best = max((KEYWORD_LIST, SUBSTRING_LIST), key=lambda by: float((verdicts[by] == truth)[rows].mean()))
    gain = (verdicts["judge"] == truth).astype(float) - (verdicts[best] == truth)
    measures.append(human.measure("accuracy_gain", lambda r: float(gain[r].mean())))
    measures.append(human.measure("auc", lambda r: auc(scored.score[r], truth[r])))
    measures.append(human.measure("brier", lambda r: float(np.mean((scored.score[r] - truth[r]) ** 2))))
    return measures


def _two_labels(data: Labelled, rows: np.ndarray) -> np.ndarray:
    """Which of ``rows`` hold an answer that is a refusal beside one request and none beside another."""
    labels: dict[str, set[float]] = {}
    for r in rows.tolist():
        labels.setdefault(normalise(data.items[r].answer), set()).add(float(data.y[r]))
    return np.array([len(labels[normalise(data.items[r].answer)]) > 1 for r in rows.tolist()])


# -- beyond the labels ------------------------------------------------------------------------------------------------
def _beyond(kind: Kind, model: OfflineModel) -> list[Measure]:
    """What the stored judge makes of texts of another kind than those it was trained on."""
    if kind == "harm":
        texts = [
            (JudgeItem(r["prompt"], r["response"]), name == "harmful")
            for name in ("harmful", "safe")
            for r in read_builtin(name)
        ]
        items, truth = [i for i, _ in texts], np.array([t for _, t in texts])
        score, groups = model.scores(items), np.unique([normalise(i.prompt) for i in items], return_inverse=True)[1]
        return [LabelledRows(MILD, np.arange(len(items)), groups).measure("auc", lambda r: auc(score[r], truth[r]))]
    benign = read_builtin("benign")
    # Each answer stands beside the request half the file away: fluent, harmless, and to another question.
    moved = [
        JudgeItem(benign[(i + len(benign) // 2) % len(benign)]["prompt"], r["response"]) for i, r in enumerate(benign)
    ]
    rows = np.arange(len(moved))
    return [LabelledRows(OTHER_REQUEST, rows, rows).share("flagged", model.scores(moved) >= model.threshold)]
