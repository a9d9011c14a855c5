"""The linear models, the agreement measures and the nested cross-validation, on data made up for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harmviz.judges.agreement import auc, ordered_pairs, spearman
from harmviz.judges.labels import labelled
from harmviz.judges.linear import Calibration, apply, best_threshold, calibrate, loss, offset, sigmoid, solve
from harmviz.judges.measuring import LabelledRows
from harmviz.judges.protocol import JudgeItem
from harmviz.judges.training import cross_validate, fit, folds, predict, prepare, primal, standardised


# -- agreement --------------------------------------------------------------------------------------------------------
def test_spearman_by_hand() -> None:
    # ranks 1 2 3 4 against 1 3 2 4: 1 − 6·(0+1+1+0)/(4·15) = 0.8
    assert spearman(np.array([1.0, 5.0, 6.0, 9.0]), np.array([0.1, 0.3, 0.2, 0.9])) == pytest.approx(0.8)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_auc_by_hand() -> None:
    # positives 0.9 and 0.5, negatives 0.5 and 0.1: pairs 1, 1, ½, 1 of 4
    assert auc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == pytest.approx(3.5 / 4)
    assert np.isnan(auc(np.ones(2), np.array([True, True])))


def test_from_ranks_they_are_what_scipy_says() -> None:
    """To 1e-12: judges store what they reach in full, and people see three digits of it."""
    rng = np.random.default_rng(0)
    label = rng.normal(size=300).round(1)
    score, positive = (label + rng.normal(size=300)).round(1), label > 0.5
    assert len(set(score)) < 100, "with ties"
    assert spearman(score, label) == pytest.approx(stats.spearmanr(score, label).statistic, rel=1e-12)
    u = stats.mannwhitneyu(score[positive], score[~positive]).statistic
    assert auc(score, positive) == pytest.approx(u / (positive.sum() * (~positive).sum()), rel=1e-12)


def test_order_within_prompts_by_hand() -> None:
    score = np.array([0.9, 0.1, 0.5, 0.7, 0.7, 0.2])
    label = np.array([1.0, 0.0, 0.9, 0.0, 1.0, 0.5])
    prompt = np.array([0, 0, 0, 1, 1, 2])
    # prompt 0: (1, 0) right, (0.9, 0) right, (1, 0.9) too close; prompt 1: a tie, half; prompt 2: alone
    pairs, right = ordered_pairs(score, label, prompt)
    assert pairs.tolist() == [1, 0, 1, 0, 1, 0]
    assert right.tolist() == [1, 0, 1, 0, 0.5, 0]


def test_measures_of_labelled_rows() -> None:
    flags, truth = np.array([True, True, False, False, True]), np.array([True, False, False, False, True])
    rows = LabelledRows("some", np.array([0, 1, 2, 3]), np.arange(5))
    accuracy, precision, recall = rows.classified(flags, truth, "a list")
    assert accuracy[:4] == ("accuracy", "a list", "some", 0.75)
    assert accuracy.ci_low is not None
    assert accuracy.n == 4
    assert (precision.value, precision.n) == (0.5, 2)
    # every resampling of a share of 1 is 1: its interval is Wilson's, of one row
    assert (recall.value, recall.n) == (1.0, 1)
    assert recall.ci_low == pytest.approx(0.2065, abs=1e-4)
    nothing = rows._replace(rows=np.array([], dtype=int)).share("share", flags)
    assert np.isnan(nothing.value)
    assert nothing.n == 0


# -- linear models ----------------------------------------------------------------------------------------------------
@pytest.fixture
def design() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 7))
    return x, x @ rng.normal(size=7) + 0.3 * rng.normal(size=40) + 0.5


def test_ridge_solves_its_normal_equations(design: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = design
    (a,) = solve(x @ x.T, y, [0.7], "identity")
    w, b = x.T @ a, a.sum()
    residual = (y - offset(y, "identity")) - (x @ w + b)
    # gradient of ½|y − Xw − b|² + λ/2 (|w|² + b²)
    assert np.abs(x.T @ residual - 0.7 * w).max() < 1e-9
    assert abs(residual.sum() - 0.7 * b) < 1e-9


def test_logistic_regression_is_at_its_minimum(design: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = design
    labels = (y > 0.5).astype(float)
    (a,) = solve(x @ x.T, labels, [0.5], "logistic")
    w, b = x.T @ a, a.sum()
    p = sigmoid(x @ w + b)
    assert np.abs(x.T @ (labels - p) - 0.5 * w).max() < 1e-6
    assert loss(x @ w + b, labels, "logistic") < 0.5


def test_sigmoid_and_loss_do_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert loss(np.array([-1e4]), np.array([1.0]), "logistic") == pytest.approx(1e4)


def test_calibration_undoes_a_stretch() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20_000) * 2
    y = (rng.random(20_000) < sigmoid(logit)).astype(float)
    calibration = calibrate(logit * 3 + 1, y, "logistic")
    assert calibration.slope == pytest.approx(1 / 3, rel=0.05)
    assert calibration.intercept == pytest.approx(-1 / 3, abs=0.05)
    exact = calibrate(np.array([0.0, 1.0, 2.0]), np.array([0.1, 0.3, 0.5]), "identity")
    assert exact == (pytest.approx(0.2), pytest.approx(0.1))
    assert apply(Calibration(1.0, 0.0), np.array([-3.0, 0.25, 3.0]), "identity").tolist() == [0.0, 0.25, 1.0]


def test_threshold_by_hand() -> None:
    assert best_threshold(np.array([0.1, 0.4, 0.2, 0.9]), np.array([False, True, False, True])) == pytest.approx(0.3)
    assert best_threshold(np.ones(3), np.array([True, False, True])) == 0.5


# -- groups, folds, nesting -------------------------------------------------------------------------------------------
def corpus(n: int = 120, seed: int = 0) -> tuple[list[JudgeItem], np.ndarray]:
    """Answers of made-up words; those with ``zum`` words have high labels."""
    rng = np.random.default_rng(seed)
    items, y = [], []
    for i in range(n):
        share = rng.random()
        words = [f"zum{rng.integers(6)}" if rng.random() < share else f"bla{rng.integers(6)}" for _ in range(25)]
        items.append(JudgeItem(f"request {i // 2}", " ".join(words)))
        y.append(share)
    return items, np.array(y)


def test_groups_join_over_requests_and_answers() -> None:
    items = [JudgeItem("a", "1"), JudgeItem("A ", "2"), JudgeItem("b", "2"), JudgeItem("c", "3"), JudgeItem("b", "4")]
    assert labelled(items, np.zeros(5), [""] * 5).groups == (0, 0, 0, 1, 0)


def test_folds_keep_groups_whole_and_are_even() -> None:
    groups = np.repeat(np.arange(30), [1, 2, 3] * 10)
    fold_of = folds(groups, 5, seed=1)
    assert all(len(set(fold_of[groups == g])) == 1 for g in range(30))
    assert np.bincount(fold_of).tolist() == [12] * 5
    assert not np.array_equal(fold_of, folds(groups, 5, seed=2))


def test_cross_validation_finds_the_signal_and_nothing_where_there_is_none() -> None:
    items, y = corpus()
    prepared = prepare(labelled(items, y, ["x"] * len(items)), "identity", 0.5)
    scored = cross_validate(prepared, seed=0)
    assert spearman(scored.score, y) > 0.8
    assert (scored.label == prepared.positive).mean() > 0.8
    shuffled = prepare(labelled(items, np.random.default_rng(1).permutation(y), ["x"] * len(items)), "identity", 0.5)
    assert abs(spearman(cross_validate(shuffled, seed=0).score, shuffled.data.y)) < 0.3


def test_no_row_is_scored_by_a_model_that_saw_its_group() -> None:
    items, y = corpus(60)
    prepared = prepare(labelled(items, y, ["x"] * 60), "logistic", 0.5)
    prepared.data.y[:] = prepared.positive
    scored = cross_validate(prepared, seed=4)
    groups = np.array(prepared.data.groups)
    for fold, model in enumerate(scored.chosen):
        assert not set(groups[model.rows]) & set(groups[scored.fold == fold])


def test_labels_of_a_fold_do_not_reach_its_scores() -> None:
    items, y = corpus(60)
    one = prepare(labelled(items, y, ["x"] * 60), "identity", 0.5)
    first = cross_validate(one, seed=4)
    changed = y.copy()
    changed[first.fold == 0] = 1 - changed[first.fold == 0]
    other = cross_validate(prepare(labelled(items, changed, ["x"] * 60), "identity", 0.5), seed=4)
    assert np.array_equal(first.score[first.fold == 0], other.score[first.fold == 0])
    assert not np.allclose(first.score[first.fold == 1], other.score[first.fold == 1])


def test_primal_and_dual_are_the_same_model() -> None:
    items, y = corpus(60)
    prepared = prepare(labelled(items, y, ["x"] * 60), "identity", 0.5)
    model = fit(prepared, np.arange(50), seed=0)
    blocks, named, intercept = primal(prepared, model)
    rows = np.arange(50, 60)
    raw = np.full(10, intercept)
    for i, row in enumerate(rows):
        raw[i] += standardised(prepared.named[row], model.mean, model.scale) @ named
        for name, weights in blocks.items():
            places, values = prepared.features[row].blocks[name]
            raw[i] += weights[places] @ values
    assert apply(model.calibration, raw, "identity") == pytest.approx(predict(prepared, model, rows), abs=1e-9)
