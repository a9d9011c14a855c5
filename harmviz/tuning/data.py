"""Requests and refusals for tuning and for the evaluation held out from it.

Tuning: AdvBench requests (fetched), and requests and refusals that ship with harmviz (``harmviz/data/align``): harmless
ones, borderline-but-safe ones, and *twins*, mild harmful requests each beside a harmless one of like wording. Two in
three of them are put in other words (``tuning.wording``), the harmless ones as often as the harmful ones. Held out,
never tuned on: a part of AdvBench; requests worded unlike it (those of the human-scored data set and the mild builtin
ones); the builtin benign requests; borderline-but-safe requests (the held-out part of our own, and the harmless halves
of the builtin recognition pairs). A request is left out of tuning where it shares ``NEAR`` of its content words with a
held-out harmful request or with one of the human-scored data set, which runs score and report on.

The settings of tuning were chosen on the ``…_choice`` halves (of the human-scored and of the benign requests), on
``reworded_mild`` and on ``borderline_pairs``; ladders report on the other halves, the same for every seed, and on
``borderline``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harmviz.data.prompts import load_prompts, normalise, read_builtin
from harmviz.data.refusal import reads_as_refusal
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say, pyrit_files
from harmviz.tuning.rows import FOLDER, read_rows
from harmviz.tuning.wording import reword

HELD_OUT_HARMFUL = 110
RESERVED = 96  # benign requests for the refusal slots of the two control arms
#: Requests that the start model answers for the helpful slots, at most: one for each at the default length.
HELPFUL = 1600
REWORDED = 2 / 3
NEAR = 0.6
_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "of",
        "to",
        "in",
        "on",
        "for",
        "with",
        "without",
        "that",
        "which",
        "how",
        "do",
        "does",
        "can",
        "could",
        "i",
        "you",
        "me",
        "my",
        "your",
        "someone",
        "somebody",
        "is",
        "are",
        "be",
        "by",
        "from",
        "into",
        "it",
        "its",
        "this",
        "as",
        "at",
        "their",
        "them",
        "others",
        "write",
        "create",
        "develop",
        "provide",
        "give",
        "make",
        "tutorial",
        "guide",
        "step",
        "steps",
        "instructions",
        "detailed",
        "plan",
        "script",
        "program",
        "using",
        "use",
        "instruct",
        "outline",
        "design",
        "explain",
    ]
)


@dataclass(frozen=True)
class AlignData:
    """Requests by role. ``helpful`` are answered in every arm; ``reserved`` fill the refusal slots of the control arms.
    ``answered`` are both of these in the order in which the start model answers them.

    Harmful requests are fetched text: no repr or message of this class shows any.
    """

    harmful: tuple[str, ...] = field(repr=False)
    helpful: tuple[str, ...] = field(repr=False)
    reserved: tuple[str, ...] = field(repr=False)
    answered: tuple[str, ...] = field(repr=False)
    refusals: tuple[str, ...] = field(repr=False)
    held_out: dict[str, tuple[str, ...]] = field(repr=False)
    benign_pairs: tuple[tuple[str, str], ...] = field(repr=False)
    n_near: int = 0

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of each part, in its order."""
        parts: dict[str, Any] = {
            "harmful": self.harmful,
            "helpful": self.helpful,
            "reserved": self.reserved,
            "refusals": self.refusals,
            "benign_pairs": self.benign_pairs,
            **{f"held_out/{k}": v for k, v in self.held_out.items()},
        }
        return {k: hashlib.sha256(json.dumps(v).encode()).hexdigest() for k, v in sorted(parts.items())}

    @property
    def counts(self) -> dict[str, int]:
        tuning = {
            "harmful": self.harmful,
            "helpful": self.helpful,
            "reserved": self.reserved,
            "refusals": self.refusals,
        }
        return {k: len(v) for k, v in tuning.items()} | {f"held_out/{k}": len(v) for k, v in self.held_out.items()}


# -- reading ----------------------------------------------------------------------------------------------------------
def _advbench(say: Say) -> list[str]:
    import yaml

    path = pyrit_files(say)["adv_bench.prompt"]
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(" ".join(str(seed["value"]).split()) for seed in document["seeds"]))


# -- choosing ---------------------------------------------------------------------------------------------------------
def content_words(text: str) -> frozenset[str]:
    """The words that say what a request is about: no stop words, no words that AdvBench opens all its requests with."""
    return frozenset(w for w in re.findall(r"[a-z]+", text.lower()) if w not in _STOP)


def near_any(text: str, others: Iterable[frozenset[str]]) -> bool:
    """Whether the Jaccard overlap of content words with one of ``others`` reaches ``NEAR``."""
    words = content_words(text)
    return any(words and len(words & other) >= NEAR * len(words | other) for other in others)


def _shuffled(items: Iterable[str], seed: int, what: str) -> list[str]:
    shuffled = sorted(items)
    random.Random(f"{seed} {what}").shuffle(shuffled)
    return shuffled


def _worded(items: Sequence[str], seed: int, what: str) -> list[str]:
    """The requests in their order, ``REWORDED`` of them in other words."""
    source = random.Random(f"{seed} wording {what}")
    worded = [reword(p, items, source) if source.random() < REWORDED else p for p in items]
    return list(dict.fromkeys(worded))


def _halves(items: Iterable[str]) -> tuple[list[str], list[str]]:
    """(the half that settings were chosen on, the half that is reported), by a hash of the text, not by the seed."""
    halves: tuple[list[str], list[str]] = ([], [])
    for item in items:
        halves[hashlib.sha256(item.encode()).digest()[-1] % 2].append(item)
    return halves


def load_align_data(seed: int, *, helpful_slots: int = HELPFUL, say: Say = lambda _: None) -> AlignData:
    """All requests by role, split by ``seed``; no more helpful ones than a ladder has slots for.

    Raises:
        DataInvalid: a file that ships with harmviz is broken, or too few harmful requests are left.
        AssetUnavailable: the fetched data set is not here and cannot be fetched.
    """
    scored = load_prompts("pyrit", say=say)
    scored_prompts = {r.prompt for r in scored.rows if r.set in scored.categories}
    all_scored = [
        content_words(r.prompt) for r in scored.rows if r.set in scored.categories or r.set.startswith("safe:")
    ]
    advbench = _shuffled(_advbench(say), seed, "harmful")
    twins = read_rows(FOLDER / "twins.jsonl", ("harmful", "harmless"))
    held = advbench[:HELD_OUT_HARMFUL]
    rest = _shuffled([*advbench[HELD_OUT_HARMFUL:], *(r["harmful"] for r in twins)], seed, "tuning")
    held_words = [content_words(p) for p in (*held, *(r["prompt"] for r in read_builtin("harmful")))]
    tuning = [p for p in rest if not near_any(p, held_words) and not near_any(p, all_scored)]
    if len(tuning) < 100:
        raise DataInvalid(
            f"{len(tuning)} harmful requests are left for tuning, at least 100 are needed; fetch the data set again"
        )
    borderline = read_rows(FOLDER / "borderline.jsonl", ("prompt", "kind", "split"))
    benign = _shuffled((r["prompt"] for r in read_rows(FOLDER / "benign.jsonl", ("prompt",))), seed, "benign")
    builtin = read_builtin("benign")
    reworded, benign_held = _halves(scored_prompts), _halves(r["prompt"] for r in builtin)
    held_out = {
        "harmful": held,
        "reworded": _shuffled(reworded[1], seed, "reworded"),
        "reworded_choice": _shuffled(reworded[0], seed, "reworded"),
        "reworded_mild": _shuffled((r["prompt"] for r in read_builtin("harmful")), seed, "mild"),
        "benign": _shuffled(benign_held[1], seed, "benign"),
        "benign_choice": _shuffled(benign_held[0], seed, "benign"),
        "borderline": _shuffled((r["prompt"] for r in borderline if r["split"] == "held_out"), seed, "borderline"),
        "borderline_pairs": _shuffled((r["benign"] for r in read_builtin("recognition")), seed, "pairs"),
    }
    unsafe_looking = [r["prompt"] for r in borderline if r["split"] == "tuning"]
    everyday = [r["prompt"] for r in read_rows(FOLDER / "everyday.jsonl", ("prompt",))]
    others = _shuffled(
        [*benign[RESERVED:], *everyday, *unsafe_looking, *(r["harmless"] for r in twins)], seed, "helpful"
    )
    helpful = _worded(others, seed, "helpful")[: min(HELPFUL, helpful_slots)]
    reserved = _worded(benign[:RESERVED], seed, "reserved")
    data = AlignData(
        harmful=tuple(_worded(tuning, seed, "harmful")),
        helpful=tuple(helpful),
        reserved=tuple(reserved),
        answered=tuple(sorted([*reserved, *helpful], key=lambda p: (len(p), p))),
        refusals=tuple(r["response"] for r in read_rows(FOLDER / "refusals.jsonl", ("response",))),
        held_out={k: tuple(v) for k, v in held_out.items()},
        benign_pairs=tuple((r["prompt"], r["response"]) for r in builtin),
        n_near=len(rest) - len(tuning),
    )
    check_disjoint(data)
    return data


def check_disjoint(data: AlignData) -> None:
    """Nothing. Raises where a request has two roles, or a refusal does not read as one.

    Raises:
        DataInvalid: see above; the message names the sets, never a text.
    """
    roles = {"harmful": data.harmful, "helpful": data.helpful, "reserved": data.reserved}
    seen: dict[str, str] = {}
    for role, prompts in (*roles.items(), *((f"held-out {k}", v) for k, v in data.held_out.items())):
        for prompt in prompts:
            key = normalise(prompt)
            before = seen.setdefault(key, role)
            if before != role and not (before.startswith("held-out") and role.startswith("held-out")):
                raise DataInvalid(f"a request is in both {before} and {role}; each request may have one role")
    for number, refusal in enumerate(data.refusals, 1):
        if not reads_as_refusal(refusal):
            raise DataInvalid(
                f"refusal {number} of {FOLDER / 'refusals.jsonl'} does not read as one to the keyword list"
            )
