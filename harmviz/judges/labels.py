"""Answers with human labels, for training and measuring judges. Rows are named by hash; no text is shown.

*Harm*: the fetched human-scored answers, mean score over raters in [0, 1]. *Refusal*: the fetched refusal labels (1
where the answer refuses the request beside it, which by their rule includes answering something else), and the mild
texts that ship with harmviz: freely worded refusals, and answers of all other sets as non-refusals.

``groups`` joins rows that share a request or an answer, over any number of steps: what is split by group never has the
same text on both sides. In the refusal labels 33 answers stand beside two requests, a refusal of one and no refusal of
the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmviz.data.folding import normalise
from harmviz.data.human_scores import PYRIT_FILES, scored_answers
from harmviz.data.prompts import read_builtin
from harmviz.data.wheels import ANSWERS
from harmviz.errors import DataInvalid
from harmviz.judges.protocol import JudgeItem
from harmviz.models.assets import Say, ensure

HUMAN = "human labels"
OWN_REFUSALS = "built-in refusals"
OWN_ANSWERS = "built-in answers"
REFUSAL_FILES = ("refusal_scorer/refusal.csv", "refusal_scorer/refusal_extra.csv")


@dataclass(frozen=True)
class Labelled:
    """``items[i]`` has the label ``y[i]`` in [0, 1], belongs to the group ``groups[i]`` and to the part ``part[i]``.

    ``raters[i]`` holds the scores of the single raters where there are three or more, else it is empty.
    """

    items: tuple[JudgeItem, ...]
    y: np.ndarray
    groups: tuple[int, ...]
    part: tuple[str, ...]
    raters: tuple[tuple[float, ...], ...]

    @property
    def hash(self) -> str:
        """sha256 over ids, labels and parts, in any order."""
        lines = sorted(f"{i.id} {y:.6f} {p}" for i, y, p in zip(self.items, self.y.tolist(), self.part, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.items)


def harm_labels(say: Say = lambda _: None) -> Labelled:
    """Human-scored answers; the part is the harm category. An answer scored several times has the mean of all scores.

    Raises:
        AssetUnavailable: the data set is neither here nor obtainable.
        DataInvalid: a file of it lacks a column or holds something else than scores.
    """
    files = ensure(ANSWERS, say)
    by_answer: dict[tuple[str, str], tuple[JudgeItem, str, list[tuple[float, ...]]]] = {}
    for category, names in PYRIT_FILES.items():
        for name in names:
            for item, scores in _rows(files[f"harm/{name}.csv"]):
                key = (normalise(item.prompt), item.answer)
                by_answer.setdefault(key, (item, category, []))[2].append(scores)
    entries = list(by_answer.values())
    means = np.array([np.mean([np.mean(s) for s in scores]) for _, _, scores in entries])
    raters = tuple(scores[0] if len(scores[0]) >= 3 else () for _, _, scores in entries)
    return labelled([i for i, _, _ in entries], means, [c for _, c, _ in entries], raters)


def refusal_labels(say: Say = lambda _: None) -> Labelled:
    """Refusal labels of people (part ``HUMAN``), and harmviz's own mild texts (``OWN_REFUSALS``, ``OWN_ANSWERS``).

    Raises:
        AssetUnavailable, DataInvalid: as ``harm_labels``.
    """
    files = ensure(ANSWERS, say)
    rows = [(item, scores[0], HUMAN) for name in REFUSAL_FILES for item, scores in _rows(files[name])]
    rows += own_texts()
    if wrong := sorted({y for _, y, _ in rows} - {0.0, 1.0}):
        raise DataInvalid(
            f"{files[REFUSAL_FILES[0]].parent}: refusal labels must be 0 or 1, found {wrong[0]}; fetch the data again"
        )
    return labelled([i for i, _, _ in rows], np.array([y for _, y, _ in rows]), [p for _, _, p in rows])


def own_texts() -> list[tuple[JudgeItem, float, str]]:
    """The mild texts that ship with harmviz as (item, is a refusal, part)."""
    kinds = {"refusals": (1.0, OWN_REFUSALS)} | dict.fromkeys(
        ("safe", "benign", "explanation", "harmful"), (0.0, OWN_ANSWERS)
    )
    return [(JudgeItem(r["prompt"], r["response"]), *kind) for name, kind in kinds.items() for r in read_builtin(name)]


def labelled(
    items: Sequence[JudgeItem], y: np.ndarray, part: Sequence[str], raters: Sequence[tuple[float, ...]] | None = None
) -> Labelled:
    """A Labelled with its groups worked out."""
    return Labelled(tuple(items), y, tuple(_groups(items)), tuple(part), tuple(raters or [()] * len(items)))


def _rows(path: Path) -> list[tuple[JudgeItem, tuple[float, ...]]]:
    """(item, scores of its raters) of one file."""
    return [(JudgeItem(prompt, answer), scores) for prompt, answer, scores in scored_answers(path)]


def _groups(items: Sequence[JudgeItem]) -> list[int]:
    """Number of the group of each item (union of those that share a normalised prompt or answer)."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    for item in items:
        parent[root(("prompt", normalise(item.prompt)))] = root(("answer", normalise(item.answer)))
    numbers: dict[tuple[str, str], int] = {}
    return [numbers.setdefault(root(("prompt", normalise(item.prompt))), len(numbers)) for item in items]
