"""From human labels to a trained judge with its measured quality: what ``judge train`` runs.

Every number about the judge itself comes from nested cross-validation by group (``training``), with a 95 % interval over groups.
Beside it stand, on the same answers, what is trivial: the length of the answer (longer answers are scored as more harmful), a keyword list,
and where three people scored an answer, how well one of them agrees with the mean of the others: more cannot be asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harmviz.data.prompts import HARMFUL_AT, normalise, read_builtin
from harmviz.data.refusal import KEYWORD_LIST_ID, reads_as_refusal
from harmviz.judges.agreement import auc, interval, ordered_pairs, spearman
from harmviz.judges.keyword import KEYWORD_LIST, SUBSTRING_LIST, holds_refusing_substring
from harmviz.judges.labels import HUMAN, OWN_ANSWERS, OWN_REFUSALS, Labelled, harm_labels, refusal_labels
from harmviz.judges.linear import calibrate
from harmviz.judges.offline import LINKS, OfflineModel, quantise
from harmviz.judges.protocol import JudgeItem, Kind, Measure, Quality
from harmviz.judges.training import OUTER_FOLDS, OutOfSample, Prepared, cross_validate, fit, prepare, primal
from harmviz.models.assets import DATA_WHEEL, Say
from harmviz.stats.wilson import wilson

LENGTH = "answer length"
ONE_RATER = "one rater"
UNAMBIGUOUS = "human labels, answers with one label"
OTHER_REQUEST = "built-in answers beside another request"
MILD = "built-in mild texts"


def train(kind: Kind, *, seed: int = 0, say: Say = lambda _: None) -> OfflineModel:
    """A judge of this kind trained on all labelled answers, its quality measured out of sample.

    Raises:
        AssetUnavailable, DataInvalid: the labels are not to be had or damaged.
    """
    data = harm_labels(say) if kind == "harm" else refusal_labels(say)
    say(f"{kind}: {len(data)} answers in {len(set(data.groups))} groups")
    prepared = prepare(data, LINKS[kind], HARMFUL_AT)
    found = cross_validate(prepared, seed=seed, progress=lambda text: say(f"{kind}: {text}"))
    model = _final(kind, prepared, seed)
    measures = _harm_measures(prepared, found) if kind == "harm" else _refusal_measures(prepared, found)
    measures = [
        m for m in measures + _beyond(kind, model) if m.n and not np.isnan(m.value)
    ]  # the rest was not measurable
    source = (
        f"{OUTER_FOLDS}-fold cross-validation by request, nested, on the human labels of {DATA_WHEEL.distribution} "
        f"{DATA_WHEEL.version}; 95 % intervals over requests"
    )
    return OfflineModel(
        kind,
        model.blocks,
        model.steps,
        model.named,
        model.intercept,
        model.calibration,
        model.threshold,
        Quality(tuple(measures), source),
        model.training,
    )


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
def _harm_measures(prepared: Prepared, found: OutOfSample) -> list[Measure]:
    data = prepared.data
    y, groups, positive = data.y, np.array(data.groups), prepared.positive
    _, prompt = np.unique([normalise(i.prompt) for i in data.items], return_inverse=True)
    everything = np.arange(len(data))

    def three(score: np.ndarray, by: str, rows: np.ndarray, on: str) -> list[Measure]:
        out = [
            measure_of("spearman", by, on, rows, groups, lambda r: spearman(score[r], y[r])),
            measure_of("auc", by, on, rows, groups, lambda r: auc(score[r], positive[r])),
        ]
        if on == HUMAN:
            pairs, right = ordered_pairs(score, y, prompt)
            within = measure_of(
                "order_within_prompt", by, on, rows, groups, lambda r: float(right[r].sum() / pairs[r].sum())
            )
            out.append(within._replace(n=int(pairs.sum())))
        return out

    measures = three(found.score, "judge", everything, HUMAN)
    measures.append(share_of("accuracy", "judge", HUMAN, everything, groups, found.label == positive))
    measures.append(
        measure_of(
            "rmse", "judge", HUMAN, everything, groups, lambda r: float(np.sqrt(np.mean((found.score[r] - y[r]) ** 2)))
        )
    )
    measures.append(
        measure_of(
            "calibration_slope",
            "judge",
            HUMAN,
            everything,
            groups,
            lambda r: calibrate(found.score[r], y[r], "identity").slope,
        )
    )
    length = np.array([float(len(i.answer.split())) for i in data.items])
    measures += three(length, LENGTH, everything, HUMAN)
    kept = np.array([0.0 if reads_as_refusal(i.answer) else 1.0 for i in data.items])
    measures += three(kept, KEYWORD_LIST, everything, HUMAN)
    for category in sorted(set(data.part)):
        measures += three(found.score, "judge", np.flatnonzero(np.array(data.part) == category), category)
    return measures + _one_rater(data, groups, found)


def _one_rater(data: Labelled, groups: np.ndarray, found: OutOfSample) -> list[Measure]:
    """Where several people scored an answer: the first of them against the mean of the others, and the judge against the same."""
    rows = np.array([i for i, r in enumerate(data.raters) if r], dtype=np.int64)
    if not len(rows):
        return []
    first, others = np.zeros(len(data)), np.zeros(len(data))
    for i in rows.tolist():
        first[i], others[i] = data.raters[i][0], np.mean(data.raters[i][1:])
    on = "answers scored by three"
    return [
        measure_of("spearman", ONE_RATER, on, rows, groups, lambda r: spearman(first[r], others[r])),
        measure_of("spearman", "judge", on, rows, groups, lambda r: spearman(found.score[r], others[r])),
    ]


# -- refusal ----------------------------------------------------------------------------------------------------------
def _refusal_measures(prepared: Prepared, found: OutOfSample) -> list[Measure]:
    data, truth, groups = prepared.data, prepared.positive, np.array(prepared.data.groups)
    part = np.array(data.part)
    says = {
        "judge": found.label,
        KEYWORD_LIST: np.array([reads_as_refusal(i.answer) for i in data.items]),
        SUBSTRING_LIST: np.array([holds_refusing_substring(i.answer) for i in data.items]),
    }
    human = np.flatnonzero(part == HUMAN)
    one_label = human[~_two_labels(data, human)]
    measures = []
    for by, flagged in says.items():
        for on, rows in ((HUMAN, human), (UNAMBIGUOUS, one_label)):
            measures += classified(flagged, truth, by, on, rows, groups)
        for on, measure in ((OWN_REFUSALS, "recall"), (OWN_ANSWERS, "false_alarms")):
            measures.append(share_of(measure, by, on, np.flatnonzero(part == on), groups, flagged))
    best = max((KEYWORD_LIST, SUBSTRING_LIST), key=lambda by: float((says[by] == truth)[human].mean()))
    gain = (says["judge"] == truth).astype(float) - (says[best] == truth)
    measures.append(measure_of("accuracy_gain", "judge", HUMAN, human, groups, lambda r: float(gain[r].mean())))
    measures.append(measure_of("auc", "judge", HUMAN, human, groups, lambda r: auc(found.score[r], truth[r])))
    measures.append(
        measure_of("brier", "judge", HUMAN, human, groups, lambda r: float(np.mean((found.score[r] - truth[r]) ** 2)))
    )
    return measures


def _two_labels(data: Labelled, rows: np.ndarray) -> np.ndarray:
    """Which of ``rows`` hold an answer that is a refusal beside one request and none beside another."""
    labels: dict[str, set[float]] = {}
    for r in rows.tolist():
        labels.setdefault(normalise(data.items[r].answer), set()).add(float(data.y[r]))
    return np.array([len(labels[normalise(data.items[r].answer)]) > 1 for r in rows.tolist()])


def classified(
    flagged: np.ndarray, truth: np.ndarray, by: str, on: str, rows: np.ndarray, groups: np.ndarray
) -> list[Measure]:
    """Accuracy, precision and recall of yes/no verdicts on ``rows``."""
    right = flagged == truth
    return [
        share_of("accuracy", by, on, rows, groups, right),
        share_of("precision", by, on, rows[flagged[rows]], groups, truth),
        share_of("recall", by, on, rows[truth[rows]], groups, flagged),
    ]


def share_of(measure: str, by: str, on: str, rows: np.ndarray, groups: np.ndarray, flags: np.ndarray) -> Measure:
    """Share of ``rows`` that are flagged. At 0 and at all of them every resampling agrees: there the interval is Wilson's."""
    found = measure_of(measure, by, on, rows, groups, lambda r: float(flags[r].mean()))
    if found.value not in (0.0, 1.0):
        return found
    share = wilson(int(flags[rows].sum()), len(rows))
    return found._replace(ci_low=share.ci_low, ci_high=share.ci_high)


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
        return [measure_of("auc", "judge", MILD, np.arange(len(items)), groups, lambda r: auc(score[r], truth[r]))]
    benign = read_builtin("benign")
    # Each answer stands beside the request half the file away: fluent, harmless, and to another question.
    moved = [
        JudgeItem(benign[(i + len(benign) // 2) % len(benign)]["prompt"], r["response"]) for i, r in enumerate(benign)
    ]
    flagged = model.scores(moved) >= model.threshold
    return [share_of("flagged", "judge", OTHER_REQUEST, np.arange(len(moved)), np.arange(len(moved)), flagged)]


def measure_of(
    measure: str, by: str, on: str, rows: np.ndarray, groups: np.ndarray, statistic: Callable[[np.ndarray], float]
) -> Measure:
    """``statistic`` over ``rows`` with its interval over their groups."""
    if not len(rows):
        return Measure(measure, by, on, float("nan"), None, None, 0)
    found = interval(lambda picked: statistic(rows[picked]), groups[rows])
    return Measure(measure, by, on, *found, len(rows))
