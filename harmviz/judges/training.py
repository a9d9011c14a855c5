"""Trains an offline judge from labelled answers, and says how good it is on answers it has not seen.

1. **Features** of every answer (``text_features``); one kernel per block of n-grams, and the named features,
   standardised on the rows trained on.
2. **Fit** on a set of rows: 5 folds by group choose the feature set and the penalty (lowest loss), and their
   out-of-fold scores give calibration and threshold (highest accuracy); then all rows together give the weights.
3. **Nested cross-validation**: 10 folds by group, each scored by a *fit* on the other nine. Nothing about a fold enters
   the model that scores it: no weight, feature set, penalty, calibration or threshold. These scores are what is
   reported.
4. The judge that is stored is one fit on all rows.

Folds come from a seed and NumPy's generator; everything else is deterministic. The feature sets were thought of with
these labels at hand, which nesting cannot undo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harmviz.judges.labels import Labelled
from harmviz.judges.linear import Calibration, Link, apply, best_threshold, calibrate, loss, offset, solve
from harmviz.judges.text_features import BLOCK_SIZE, BLOCKS, Features, featurise

OUTER_FOLDS, INNER_FOLDS = 10, 5
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
#: Standardised named features are cut here and scaled by ``NAMED_SCALE``, so that all of them weigh about as much as a
#: block.
NAMED_LIMIT, NAMED_SCALE = 3.0, 0.2


class FeatureSet(NamedTuple):
    """Which blocks of n-grams a model uses, and whether the named features."""

    blocks: tuple[str, ...]
    named: bool


#: Tried in the inner folds, by link: harm is in what an answer says, refusal in how it opens.
CANDIDATES: dict[Link, tuple[FeatureSet, ...]] = {
    "identity": (FeatureSet(("words", "chars"), False), FeatureSet((), True), FeatureSet(("words", "chars"), True)),
    "logistic": (FeatureSet((), True), FeatureSet(("opening_words", "opening_chars"), True)),
}


@dataclass(frozen=True)
class Prepared:
    """Labelled answers with their kernels: what all folds share."""

    data: Labelled
    features: tuple[Features, ...]
    kernels: dict[str, np.ndarray]
    named: np.ndarray
    positive: np.ndarray
    link: Link


@dataclass(frozen=True)
class Fitted:
    """A model in dual form: coefficients over ``rows``, and what the inner folds chose."""

    rows: np.ndarray
    dual: np.ndarray
    offset: float
    feature_set: FeatureSet
    penalty: float
    mean: np.ndarray
    scale: np.ndarray
    calibration: Calibration
    threshold: float


class OutOfSample(NamedTuple):
    """Calibrated score and label of every row by a model that has not seen its group; ``raw`` before calibration."""

    score: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    chosen: tuple[Fitted, ...]


def prepare(data: Labelled, link: Link, positive_at: float) -> Prepared:
    """Features and kernels of all answers; a label of at least ``positive_at`` counts as positive."""
    features = tuple(featurise(i.prompt, i.answer) for i in data.items)
    used = {b for candidate in CANDIDATES[link] for b in candidate.blocks}
    kernels = {b: _kernel([f.blocks[b] for f in features]) for b in BLOCKS if b in used}
    return Prepared(data, features, kernels, np.stack([f.named for f in features]), data.y >= positive_at, link)


def folds(groups: Sequence[int] | np.ndarray, k: int, seed: int) -> np.ndarray:
    """Number of each row's fold. Groups stay whole and go, shuffled and largest first, to the fold with fewest rows."""
    names, size = np.unique(np.asarray(groups), return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-size[order], kind="stable")]
    load, fold_of = np.zeros(k, dtype=np.int64), {}
    for g in order.tolist():
        fold_of[int(names[g])] = target = int(np.argmin(load))
        load[target] += size[g]
    return np.array([fold_of[int(g)] for g in groups], dtype=np.int64)


def fit(prepared: Prepared, rows: np.ndarray, *, seed: int) -> Fitted:
    """A model of ``rows``: settings, calibration and threshold from inner folds, weights from all of them."""
    y, link = prepared.data.y[rows], prepared.link
    fold = folds([prepared.data.groups[r] for r in rows], INNER_FOLDS, seed)
    best: tuple[float, FeatureSet, float, np.ndarray] | None = None
    for candidate in CANDIDATES[link]:
        raw = np.zeros((len(PENALTIES), len(rows)))
        for i in range(INNER_FOLDS):
            train, test = rows[fold != i], rows[fold == i]
            standard = _standard(prepared, train)
            duals = solve(
                _between(prepared, candidate, standard, train, train), prepared.data.y[train], PENALTIES, link
            )
            across = _between(prepared, candidate, standard, test, train) + 1.0
            raw[:, fold == i] = [across @ a + offset(prepared.data.y[train], link) for a in duals]
        for penalty, scores in zip(PENALTIES, raw, strict=True):
            cost = loss(scores, y, link)
            if best is None or cost < best[0]:
                best = (cost, candidate, penalty, scores)
    assert best is not None
    _, feature_set, penalty, scores = best
    calibration = calibrate(scores, y, link)
    threshold = best_threshold(apply(calibration, scores, link), prepared.positive[rows])
    mean, scale = _standard(prepared, rows)
    (dual,) = solve(_between(prepared, feature_set, (mean, scale), rows, rows), y, [penalty], link)
    return Fitted(rows, dual, offset(y, link), feature_set, penalty, mean, scale, calibration, threshold)


def predict(prepared: Prepared, model: Fitted, rows: np.ndarray) -> np.ndarray:
    """Calibrated scores of ``rows`` by a model in dual form."""
    across = _between(prepared, model.feature_set, (model.mean, model.scale), rows, model.rows) + 1.0
    return apply(model.calibration, across @ model.dual + model.offset, prepared.link)


def cross_validate(prepared: Prepared, *, seed: int, progress: Callable[[str], None] = lambda _: None) -> OutOfSample:
    """Every row scored by a model fitted on the other folds."""
    n = len(prepared.data)
    fold = folds(prepared.data.groups, OUTER_FOLDS, seed)
    score, label, chosen = np.zeros(n), np.zeros(n, dtype=bool), []
    for i in range(OUTER_FOLDS):
        test = np.flatnonzero(fold == i)
        model = fit(prepared, np.flatnonzero(fold != i), seed=seed + 1 + i)
        score[test] = predict(prepared, model, test)
        label[test] = score[test] >= model.threshold
        chosen.append(model)
        progress(f"fold {i + 1} of {OUTER_FOLDS}")
    return OutOfSample(score, label, fold, tuple(chosen))


def primal(prepared: Prepared, model: Fitted) -> tuple[dict[str, np.ndarray], np.ndarray, float]:
    """(weights per block, weights of the standardised named features, intercept): the same model, per feature."""
    blocks = {}
    for name in model.feature_set.blocks:
        weight = np.zeros(BLOCK_SIZE)
        for row, a in zip(model.rows.tolist(), model.dual.tolist(), strict=True):
            places, values = prepared.features[row].blocks[name]
            weight[places] += a * values
        blocks[name] = weight
    named = np.zeros(prepared.named.shape[1])
    if model.feature_set.named:
        named = model.dual @ standardised(prepared.named[model.rows], model.mean, model.scale)
    return blocks, named, float(model.dual.sum()) + model.offset


def standardised(named: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Named features as a model sees them: centred, scaled, cut at ``NAMED_LIMIT``."""
    return np.clip((named - mean) / scale, -NAMED_LIMIT, NAMED_LIMIT) * NAMED_SCALE


def _standard(prepared: Prepared, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    part = prepared.named[rows]
    return part.mean(axis=0), part.std(axis=0) + 0.05  # a cue that hardly ever occurs must not become huge


def _between(
    prepared: Prepared,
    feature_set: FeatureSet,
    standard: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    total = np.zeros((len(rows), len(columns)))
    for name in feature_set.blocks:
        total += prepared.kernels[name][np.ix_(rows, columns)]
    if feature_set.named:
        a, b = (standardised(prepared.named[r], *standard) for r in (rows, columns))
        total += a @ b.T
    return total


def _kernel(rows: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """All inner products of sparse rows, by slices of the columns so that no dense matrix of all of them is made."""
    total, step = np.zeros((len(rows), len(rows))), BLOCK_SIZE // 8
    for start in range(0, BLOCK_SIZE, step):
        dense = np.zeros((len(rows), step))
        for i, (places, values) in enumerate(rows):
            low, high = np.searchsorted(places, [start, start + step])
            dense[i, places[low:high] - start] = values[low:high]
        total += dense @ dense.T
    return total
