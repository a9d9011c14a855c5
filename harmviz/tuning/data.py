"""Requests and refusals for tuning and for the evaluation held out from it.

Tuning: requests of AdvBench and Do-Not-Answer (fetched), and what ships with harmviz (``harmviz/data/align``): *twins*,
mild harmful requests each beside a harmless one of like wording; harmless requests that sound dangerous; everyday ones.
The harmless ones, twins' halves among them, are drawn from one pool. Requests are used as they are: put in other words
they taught less (docs/aligned.md).

Held out, never tuned on: HarmBench and StrongREJECT as whole sources; a part of AdvBench and of Do-Not-Answer; requests
of the human-scored data set and the mild builtin ones; the builtin benign requests; harmless requests that sound
dangerous (the held-out part of our own, and the harmless halves of the builtin recognition pairs); and what an
audience types (``audience.jsonl``, twenty requests written before any result was seen). A request is left
out of tuning where it shares ``NEAR`` of its content words with a held-out harmful request or with one of the
human-scored data set, which runs score and report on.

The settings of tuning were chosen on the ``…_choice`` halves (of the human-scored and of the benign requests), on
``reworded_mild``, ``do_not_answer`` and ``borderline_pairs``; ladders report on the other halves, the same for every
seed, on ``borderline`` and on the sources never tuned on.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from harmviz.data.content_words import content_words, near_any
from harmviz.data.folding import normalise
from harmviz.data.prompts import load_prompts, read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.data.requests import NEVER_TUNED_ON, fetched_requests
from harmviz.data.rows import FOLDER, read_rows
from harmviz.data.twins import Twin, twins
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say
from harmviz.tuning.settings import ANSWERED, TWINS

HELD_OUT_HARMFUL = 110  # of AdvBench
HELD_OUT_QUESTIONS = 100  # of Do-Not-Answer
RESERVED = 96  # harmless requests for the refusal slots of the two control arms


@dataclass(frozen=True)
class AlignData:
    """Requests by role. ``twins`` are (harmful, harmless) pairs. ``harmless`` are answered in every arm: halves of
    twins, requests that sound dangerous, everyday ones; ``reserved`` fill the refusal slots of the control arms.

    Harmful requests are fetched text: no repr or message of this class shows any.
    """

    harmful: tuple[str, ...] = field(repr=False)
    twins: tuple[Twin, ...] = field(repr=False)
    harmless: tuple[str, ...] = field(repr=False)
    reserved: tuple[str, ...] = field(repr=False)
    refusals: tuple[str, ...] = field(repr=False)
    held_out: dict[str, tuple[str, ...]] = field(repr=False)
    benign_pairs: tuple[tuple[str, str], ...] = field(repr=False)
    n_near: int = 0

    @cached_property
    def answered(self) -> tuple[str, ...]:
        """The harmless requests that the start model answers for tuning, shortest first."""
        return tuple(sorted({*self.harmless, *self.reserved}, key=lambda p: (len(p), p)))

    @cached_property
    def _parts(self) -> dict[str, Any]:
        names = ("harmful", "twins", "harmless", "reserved", "refusals")
        return {name: getattr(self, name) for name in names} | {f"held_out/{k}": v for k, v in self.held_out.items()}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """sha256 of each part, in its order."""
        parts = self._parts | {"benign_pairs": self.benign_pairs}
        return {k: hashlib.sha256(json.dumps(v).encode()).hexdigest() for k, v in sorted(parts.items())}

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(part) for name, part in self._parts.items()}


# -- choosing ---------------------------------------------------------------------------------------------------------
def _shuffled(items: Iterable[str], seed: int, what: str) -> list[str]:
    shuffled = sorted(items)
    random.Random(f"{seed} {what}").shuffle(shuffled)
    return shuffled


def _halves(items: Iterable[str]) -> tuple[list[str], list[str]]:
    """(the half that settings were chosen on, the half that is reported), by a hash of the text, not by the seed."""
    halves: tuple[list[str], list[str]] = ([], [])
    for item in items:
        halves[hashlib.sha256(item.encode()).digest()[-1] % 2].append(item)
    return halves


def harmless_apart(seed: int) -> tuple[list[str], list[str]]:
    """Everyday requests: (those that no safety tuning of this seed sees, those that it is held by)."""
    found = _shuffled((r["prompt"] for r in read_rows(FOLDER / "benign.jsonl", ("prompt",))), seed, "benign")
    return list(found[:RESERVED]), list(found[RESERVED:])


def load_align_data(seed: int, *, steps: int, say: Say = lambda _: None) -> AlignData:
    """All requests by role, split by ``seed``; of harmless ones no more than ``steps`` steps have slots for.

    Raises:
        DataInvalid: a file that ships with harmviz is broken, or too few harmful requests are left.
        AssetUnavailable: fetched data is not here and cannot be fetched.
    """
    scored = load_prompts("pyrit", say=say)
    scored_prompts = {r.prompt for r in scored.rows if r.set in scored.categories}
    all_scored = {r.prompt for r in scored.rows if r.set in scored.categories or r.set.startswith("safe:")}
    mild = [r["prompt"] for r in read_builtin("harmful")]
    typed = {half: [r["prompt"] for r in read_builtin("audience") if r["harmful"] == half] for half in ("yes", "no")}
    never = {source: fetched_requests(source, say) for source in NEVER_TUNED_ON}
    advbench = _shuffled(fetched_requests("advbench", say), seed, "harmful")
    questions = _shuffled(fetched_requests("do_not_answer", say), seed, "questions")
    held, held_questions = advbench[:HELD_OUT_HARMFUL], questions[:HELD_OUT_QUESTIONS]
    too_near = [
        content_words(p) for p in (*held, *held_questions, *mild, *typed["yes"], *all_scored, *chain(*never.values()))
    ]
    rest = _shuffled([*advbench[HELD_OUT_HARMFUL:], *questions[HELD_OUT_QUESTIONS:]], seed, "tuning")
    tuning = [p for p in rest if not near_any(p, too_near)]
    pairs, _ = twins()
    paired = [pair for pair in pairs if not near_any(pair.harmful, too_near)]
    random.Random(f"{seed} twins").shuffle(paired)
    if len(tuning) < 100:
        raise DataInvalid(
            f"{len(tuning)} harmful requests are left for tuning, at least 100 are needed; fetch the data set again"
        )
    borderline = read_rows(FOLDER / "borderline.jsonl", ("prompt", "kind", "split"))
    reserved, benign = harmless_apart(seed)
    builtin = read_builtin("benign")
    reworded, benign_held = _halves(scored_prompts), _halves(r["prompt"] for r in builtin)
    held_out = {
        "harmful": held,
        **{source: _shuffled(requests, seed, source) for source, requests in never.items()},
        "do_not_answer": held_questions,
        "reworded": _shuffled(reworded[1], seed, "reworded"),
        "reworded_choice": _shuffled(reworded[0], seed, "reworded"),
        "reworded_mild": _shuffled(mild, seed, "mild"),
        "benign": _shuffled(benign_held[1], seed, "benign"),
        "benign_choice": _shuffled(benign_held[0], seed, "benign"),
        "borderline": _shuffled((r["prompt"] for r in borderline if r["split"] == "held_out"), seed, "borderline"),
        "borderline_pairs": _shuffled((r["benign"] for r in read_builtin("recognition")), seed, "pairs"),
        "audience": tuple(typed["yes"]),
        "audience_harmless": tuple(typed["no"]),
    }
    everyday = (r["prompt"] for r in read_rows(FOLDER / "everyday.jsonl", ("prompt",)))
    sounding = (r["prompt"] for r in borderline if r["split"] == "tuning")
    pool = (*(pair.harmless for pair in paired), *sounding, *benign, *everyday)
    data = AlignData(
        harmful=tuple(tuning),
        twins=tuple(paired)[: steps * TWINS],
        harmless=tuple(_shuffled(dict.fromkeys(pool), seed, "harmless"))[: 2 * steps * ANSWERED],
        reserved=tuple(reserved),
        refusals=tuple(r["response"] for r in read_rows(FOLDER / "refusals.jsonl", ("response",))),
        held_out={k: tuple(v) for k, v in held_out.items()},
        benign_pairs=tuple((r["prompt"], r["response"]) for r in builtin),
        n_near=len(rest) - len(tuning) + len(pairs) - len(paired),
    )
    check_disjoint(data)
    return data


def check_disjoint(data: AlignData) -> None:
    """Nothing. Raises where a request has two roles, or a refusal does not read as one.

    Raises:
        DataInvalid: see above; the message names the sets, never a text.
    """
    roles = {
        "harmful": [*data.harmful, *(harmful for harmful, _ in data.twins)],
        "answered": data.harmless,
        "reserved": data.reserved,
    }
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
