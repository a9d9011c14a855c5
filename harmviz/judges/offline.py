"""The second tier: a small linear model trained here from human labels. Needs NumPy, no network and no language model.

``harm`` predicts the mean human harm score of an answer (ridge regression), ``refusal`` the probability that people
call it a refusal of the request beside it (logistic regression); features in ``text_features``, training in
``training``. They are *offline judges*, not StrongREJECT: they have learned from about a thousand answers how harmful
ones look, know nothing of whether an instruction would work, and look at words and short phrases, not at their order
beyond that: word salad of harmful words scores as harmful, so a score is read beside the repetition measure. Their
agreement with people out of sample, beside trivial baselines, is in ``quality`` and is stored with the weights.
``offline-harm`` does *not* carry over to the mild texts that ship with harmviz (also in ``quality``).

A stored judge is one safetensors file: 16-bit weights per hashed place, the named features' weights, mean and scale,
and under the metadata key ``judge`` a JSON text with format, settings, hash of the training labels, seed and quality.
It holds hashes of n-grams only, no text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from harmviz.errors import DataInvalid
from harmviz.files import canonical_json, write_atomic
from harmviz.judges.linear import Calibration, Link, apply
from harmviz.judges.protocol import JudgeItem, Kind, Measure, Quality, Verdict, judge_answered, scored
from harmviz.judges.text_features import BLOCK_SIZE, BLOCKS, FEATURES_ID, NAMED, featurise
from harmviz.judges.training import standardised
from harmviz.paths import PACKAGE

FORMAT = 1
JUDGES = PACKAGE / "judges" / "trained"
LINKS: dict[Kind, Link] = {"harm": "identity", "refusal": "logistic"}
_STEPS = 32767  # of a 16-bit weight
_DIGITS = 8  # numbers in the JSON text are rounded, so that the last bit of a sum does not change the file


@dataclass(frozen=True)
class OfflineModel:
    """A trained judge.

    ``blocks[b]`` are int16 steps of ``steps[b]``; ``named`` is float32 3 × features: weight, mean, scale.
    """

    kind: Kind
    blocks: dict[str, np.ndarray]
    steps: dict[str, float]
    named: np.ndarray
    intercept: float
    calibration: Calibration
    threshold: float
    quality: Quality
    training: dict[str, Any]
    features_id: str = FEATURES_ID

    def scores(self, items: Sequence[JudgeItem]) -> np.ndarray:
        """Calibrated scores in [0, 1]."""
        raw = np.zeros(len(items))
        weight, mean, scale = self.named.astype(np.float64)
        for i, item in enumerate(items):
            features = featurise(item.prompt, item.answer)
            raw[i] = self.intercept + standardised(features.named, mean, scale) @ weight
            for name, values in self.blocks.items():
                places, x = features.blocks[name]
                raw[i] += self.steps[name] * (values[places].astype(np.float64) @ x)
        return apply(self.calibration, raw, LINKS[self.kind])


class OfflineJudge:
    """A trained judge as the protocol has it."""

    def __init__(self, model: OfflineModel):
        self.model = model
        self.name = f"offline-{model.kind}"
        self.kind: Kind = model.kind
        self.quality = model.quality

    def score(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        def judged(kept: list[JudgeItem]) -> list[Verdict]:
            return [scored(value, value >= self.model.threshold) for value in self.model.scores(kept).tolist()]

        return judge_answered(items, judged)


def quantise(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """(int16 steps, size of a step): the largest weight is ``_STEPS`` steps."""
    step = _rounded(float(np.abs(weights).max()) / _STEPS) or 1.0
    return np.clip(np.rint(weights / step), -_STEPS, _STEPS).astype(np.int16), step


def to_bytes(model: OfflineModel) -> bytes:
    """The stored form; equal models give equal bytes."""
    described = {
        "format": FORMAT,
        "kind": model.kind,
        "features_id": model.features_id,
        "steps": model.steps,
        "intercept": _rounded(model.intercept),
        "calibration": [_rounded(x) for x in model.calibration],
        "threshold": _rounded(model.threshold),
        "training": model.training,
        "quality": {
            "source": model.quality.source,
            "measures": [[_rounded(x) if isinstance(x, float) else x for x in m] for m in model.quality.measures],
        },
    }
    tensors = {name: np.ascontiguousarray(values) for name, values in sorted(model.blocks.items())}
    return bytes(save({**tensors, "named": model.named}, metadata={"judge": canonical_json(described)}))


def store(model: OfflineModel, folder: Path) -> Path:
    """Writes the judge into ``folder``, whole or not at all, and returns the file.

    Raises:
        OutOfMemory: the disk is full.
    """
    path = folder / f"{model.kind}.safetensors"
    write_atomic(path, to_bytes(model))
    return path


def load(path: Path) -> OfflineModel:
    """The judge stored in ``path``, checked.

    Raises:
        DataInvalid: no such file, not a judge, damaged, or trained with features that are computed otherwise now.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise DataInvalid(f"offline judge {path} does not exist; train it with `python -m harmviz judge train`")
    again = "train it again with `python -m harmviz judge train`"
    try:
        with safe_open(path, framework="numpy") as f:
            header = json.loads((f.metadata() or {})["judge"])
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a dict)
        return _checked(header, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
        raise DataInvalid(f"offline judge {path} cannot be used ({e}); {again}") from e


@lru_cache(maxsize=2)
def shipped(kind: Kind) -> OfflineModel:
    """The judge of this kind that ships with harmviz.

    Raises:
        DataInvalid: as ``load``.
    """
    return load(JUDGES / f"{kind}.safetensors")


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _checked(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> OfflineModel:
    """The model, or ValueError that says what is wrong with it."""
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']!r}, this version reads {FORMAT}")
    if header["features_id"] != FEATURES_ID:
        raise ValueError("it was trained with other features than this version computes")
    if header["kind"] not in get_args(Kind):
        raise ValueError(f"kind {str(header['kind'])[:20]!r}")
    named = tensors.pop("named")
    if (
        named.shape != (3, len(NAMED))
        or named.dtype != np.float32
        or not np.isfinite(named).all()
        or not (named[2] > 0).all()
    ):
        raise ValueError("the named features are damaged")
    for name, values in tensors.items():
        if name not in BLOCKS or values.shape != (BLOCK_SIZE,) or values.dtype != np.int16:
            raise ValueError(f"block {name[:20]!r} is not {BLOCK_SIZE} 16-bit weights")
    steps = {name: float(header["steps"][name]) for name in tensors}
    numbers = [header["intercept"], *header["calibration"], header["threshold"], *steps.values()]
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers) or not 0 <= header["threshold"] <= 1:
        raise ValueError("a setting is not a number in range")
    quality = Quality(tuple(Measure(*m) for m in header["quality"]["measures"]), str(header["quality"]["source"]))
    slope, intercept = header["calibration"]
    return OfflineModel(
        header["kind"],
        tensors,
        steps,
        named,
        header["intercept"],
        Calibration(slope, intercept),
        header["threshold"],
        quality,
        dict(header["training"]),
    )
