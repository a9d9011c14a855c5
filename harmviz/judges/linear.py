"""Ridge and logistic regression with an L2 penalty, solved over samples: there are far fewer of them than features.

With ``K = X Xᵀ + 1`` (the constant is the intercept) the solution is ``w = Xᵀ a``, ``b = Σ a``:

- ridge: ``a = (K + λI)⁻¹ (y − mean)``, for all λ from one eigendecomposition;
- logistic: Newton's method (iteratively reweighted least squares) on ``Σ log(1 + e^{−(2y−1) f}) + λ/2 · aᵀKa``.

``calibrate`` maps raw scores to probabilities or scores with a slope and an intercept fitted on scores out of sample.
float64 throughout; nothing is random. Source: Hastie, Tibshirani & Friedman 2009, §§3.4.1, 4.4.1; Platt 1999
(calibration).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Link = Literal["identity", "logistic"]
_NEWTON_STEPS = 25
_TOLERANCE = 1e-8


class Calibration(NamedTuple):
    """``link(slope · raw + intercept)``."""

    slope: float
    intercept: float


def sigmoid(f: np.ndarray) -> np.ndarray:
    """``1 / (1 + e^{−f})`` without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * f))


def solve(kernel: np.ndarray, y: np.ndarray, penalties: Sequence[float], link: Link) -> list[np.ndarray]:
    """The dual coefficients ``a`` for each penalty; rows X' score ``(X' Xᵀ + 1) a`` (ridge: plus mean y)."""
    with_intercept = kernel + 1.0
    if link == "identity":
        values, vectors = np.linalg.eigh(with_intercept)
        projected = vectors.T @ (y - y.mean())
        return [vectors @ (projected / (np.maximum(values, 0.0) + penalty)) for penalty in penalties]
    return [_newton(with_intercept, y, penalty) for penalty in penalties]


def offset(y: np.ndarray, link: Link) -> float:
    """What is added to raw scores: the mean label for ridge, 0 for logistic."""
    return float(y.mean()) if link == "identity" else 0.0


def _newton(kernel: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    def cost(a: np.ndarray) -> float:
        f = kernel @ a
        return loss(f, y, "logistic") * len(y) + 0.5 * penalty * float(a @ f)

    def step(a: np.ndarray) -> np.ndarray:
        f = kernel @ a
        p = sigmoid(f)
        weight = np.maximum(p * (1 - p), 1e-6)
        return np.linalg.solve(kernel + penalty * np.diag(1.0 / weight), f + (y - p) / weight) - a

    return _descend(np.zeros(len(y)), cost, step)


def _descend(
    start: np.ndarray, cost: Callable[[np.ndarray], float], step: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Newton's method. A step that does not lower the cost is halved: far from the minimum full steps can run away."""
    point, height = start, cost(start)
    for _ in range(_NEWTON_STEPS):
        move = step(point)
        for _ in range(30):
            reached = cost(point + move)
            if reached <= height:
                break
            move = move / 2
        else:
            return point
        point, height = point + move, reached
        if float(np.abs(move).max()) < _TOLERANCE * max(1.0, float(np.abs(point).max())):
            break
    return point


def loss(raw: np.ndarray, y: np.ndarray, link: Link) -> float:
    """Mean squared error (identity) or mean log loss in nats (logistic) of raw scores."""
    if link == "identity":
        return float(np.mean((raw - y) ** 2))
    return float(np.mean(np.logaddexp(0.0, raw) - y * raw))


def calibrate(raw: np.ndarray, y: np.ndarray, link: Link) -> Calibration:
    """Slope and intercept that fit labels best to scores out of sample: least squares, or logistic regression."""
    design = np.stack([raw, np.ones_like(raw)], axis=1)
    if link == "identity":
        slope, intercept = np.linalg.lstsq(design, y, rcond=None)[0]
        return Calibration(float(slope), float(intercept))
    start, pull = np.array([1.0, 0.0]), 1e-6  # a trace of pull towards "as it is", for labels that scores separate

    def cost(theta: np.ndarray) -> float:
        return loss(design @ theta, y, link) * len(y) + 0.5 * pull * float((theta - start) @ (theta - start))

    def step(theta: np.ndarray) -> np.ndarray:
        p = sigmoid(design @ theta)
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + pull * np.eye(2)
        return np.linalg.solve(hessian, design.T @ (y - p) - pull * (theta - start))

    slope, intercept = _descend(start, cost, step)
    return Calibration(float(slope), float(intercept))


def apply(calibration: Calibration, raw: np.ndarray, link: Link) -> np.ndarray:
    """Calibrated scores in [0, 1]."""
    scaled = calibration.slope * raw + calibration.intercept
    return np.clip(scaled, 0.0, 1.0) if link == "identity" else sigmoid(scaled)


def best_threshold(score: np.ndarray, positive: np.ndarray) -> float:
    """The threshold with the highest accuracy, half-way between two neighbouring scores; the lowest of equals."""
    order = np.argsort(score, kind="stable")
    s, y = score[order], positive[order]
    right = (y.sum() - np.cumsum(y)) + np.cumsum(~y)  # with the threshold just above score i
    allowed = np.flatnonzero(s[1:] > s[:-1])
    if not len(allowed):
        return 0.5
    i = int(allowed[np.argmax(right[allowed])])
    return float((s[i] + s[i + 1]) / 2)
