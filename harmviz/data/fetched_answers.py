"""The fetched request–answer pairs of the data set ``scored``, each with the source it comes from.

| source | who says what is harmful | rows become |
|---|---|---|
| ``human scores`` | people, a score in [0, 1] an answer | harm type of the file, or ``safe:<type>`` |
| ``objective`` | people: was the harmful request fulfilled, 0 or 1 | the same |
| ``many-shot`` | a language model's written verdict, no type | ``mixed``, or ``safe:mixed`` |

An answer that several sources or files hold is used once, from the first of them. An answer that opens like a refusal
is used as neither: scored as harmful it would point at the weights of refusing, and as safe it is none of the same
kind. Harm and safe answers of one source have the same authors, so that their difference is not authorship.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harmviz.data.folding import normalise
from harmviz.data.human_scores import HARMFUL_AT, HUMAN, PYRIT_FILES, scored_answers
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.data.wheels import ANSWERS, MANY_SHOT_FILE
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say, ensure

OBJECTIVE, MANY_SHOT = "objective", "many-shot"
#: The files of ``OBJECTIVE`` by harm type. Those of three further types hold too few rows.
OBJECTIVE_FILES = {
    "exploits": ("exploits", "cyber", "phishing"),
    "hate": ("hate_speech", "bias", "harassment_bullying"),
    "misinformation": ("info_integrity", "misinformation"),
    "privacy": ("privacy",),
    "self_harm": ("self_harm",),
    "sexual": ("sexual",),
    "violence": ("violence",),
}
#: Harm without a type: what ``MANY_SHOT`` holds.
MIXED = "mixed"


class Labelled(NamedTuple):
    """One answer with its label. ``reason``: why a model judged it so, where it was a model."""

    source: str
    category: str
    prompt: str
    answer: str
    harmful: bool
    reason: str = ""

    @property
    def set(self) -> str:
        """The set that the answer belongs to."""
        return self.category if self.harmful else f"safe:{self.category}"


def fetched_answers(say: Say = lambda _: None) -> tuple[list[Labelled], list[str]]:
    """(answers that are used, notes) of all three sources.

    Raises:
        AssetUnavailable: the files are neither here nor obtainable. DataInvalid: a file is not what it was.
    """
    files = ensure(ANSWERS, say)
    used: list[Labelled] = []
    refusing: Counter[str] = Counter()
    seen: set[str] = set()
    for item in (*_scored(files, HUMAN), *_scored(files, OBJECTIVE), *many_shot(files)):
        key = normalise(item.answer)
        # Human scores come several times for one answer to two requests; elsewhere a repeated answer is a copy.
        if (key in seen and item.source != HUMAN) or (normalise(item.prompt) + key) in seen:
            continue
        seen |= {key, normalise(item.prompt) + key}
        if reads_as_refusal(item.answer):
            refusing[item.source] += item.harmful
            continue
        used.append(item)
    notes = [
        f"{source}: {n} answers labelled harmful read as refusals and are not used"
        for source, n in refusing.items()
        if n
    ]
    return used, notes


def _scored(files: dict[str, Path], source: str) -> Iterator[Labelled]:
    """The rows of one of the two sources that people labelled."""
    folder, names = ("harm", PYRIT_FILES) if source == HUMAN else ("objective", OBJECTIVE_FILES)
    for category, parts in names.items():
        for part in parts:
            for prompt, answer, scores in scored_answers(files[f"{folder}/{part}.csv"]):
                yield Labelled(source, category, prompt, answer, sum(scores) / len(scores) >= HARMFUL_AT)


_VERDICT = re.compile(r"^(?:answer:)?\W*(harmful|not)\b", re.IGNORECASE)


def many_shot(files: dict[str, Path]) -> Iterator[Labelled]:
    """The many-shot pairs whose verdict can be read, each with the reason that follows it.

    Raises:
        DataInvalid: the file is not what it was.
    """
    path = files[MANY_SHOT_FILE]
    try:
        pairs = [(p["user"].strip(), p["assistant"].strip(), p["category"].strip()) for p in json.loads(_text(path))]
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise DataInvalid(f"{path}: needs user, assistant and category in every pair; fetch the data again") from e
    for prompt, answer, verdict in pairs:
        found = _VERDICT.match(verdict)
        if found and answer:
            reason = verdict[found.end() :].lstrip(" .:*\"'-\n")
            yield Labelled(MANY_SHOT, MIXED, prompt, answer, found[1].lower() == "harmful", reason)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
