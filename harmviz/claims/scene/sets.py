"""The requests of a stage scene: some to choose its mask by, others to report on; none that any mask was scored on.

Harmful sources: ``harmbench`` and ``strongreject`` (fetched, never tuned on as a whole), ``advbench`` (the part of it
that no checkpoint is tuned on), ``own`` (requests of a reader's own): of these only counts are ever stored. ``mild``:
the builtin harmful requests, whose answers may be shown.

Harmless ones: ``benign``, builtin requests that the map run neither scored nor protected, and everyday ones that no
safety tuning saw; and ``twin_harmless``, the harmless halves of held-out twins, each beside its harmful half of like
wording (``twin_harmful``). What a mask does to harmful requests and not to these is about harm. Of twins and everyday
requests, some score masks (``texts``), others choose, the rest is reported on: of everyday ones what is left of the
builtin ones first, whose answers have a loss, then those of ``everyday_apart.jsonl``, which no mask and no rule was
ever tried on before a scene reported on them.

A harmful request that shares most of its content words with one that the mask was chosen by is not reported on.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harmviz.data.content_words import content_words, near_any
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.data.requests import NEVER_TUNED_ON, fetched_requests
from harmviz.data.rows import FOLDER, read_rows
from harmviz.data.twins import Twin, twins
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say
from harmviz.tuning.data import harmless_apart, load_align_data
from harmviz.tuning.settings import AlignSpec

SOURCES = (*NEVER_TUNED_ON, "advbench", "mild")
#: Those, and requests of a reader's own.
ALL_SOURCES = (*SOURCES, OWN)
#: The source whose texts may be stored and shown.
SHOWN = "mild"
BENIGN = "benign"
#: Halves of the same twins, in the same order.
TWIN_HARMFUL, TWIN_HARMLESS = "twin_harmful", "twin_harmless"
HARMLESS = (BENIGN, TWIN_HARMLESS)
#: Harmless requests that the mask is chosen by: twins; builtin requests with an answer, whose loss is measured. To
#: these come all untuned everyday requests that neither score nor report: twenty did not show a price of one in five.
_CHOSEN_BY_TWINS, _CHOSEN_BY_ANSWERED = 24, 20
#: Held-out twins that masks are scored on, the first ones; the others choose and report. Everyday requests that no
#: safety tuning saw likewise.
SCORING_TWINS, SCORING_EVERYDAY = 72, 48


def scoring_twins() -> list[Twin]:
    """The held-out twins that score, none of which a scene asks."""
    return twins()[1][:SCORING_TWINS]


def scoring_everyday() -> list[str]:
    """The everyday requests that score; the others of the untuned ones are asked."""
    return harmless_apart(AlignSpec().seed)[0][:SCORING_EVERYDAY]


@dataclass(frozen=True)
class SceneSets:
    """Rows by set.

    ``choosing`` and ``reporting`` share no request; benign rows with an answer are also measured by loss.
    """

    choosing: dict[str, tuple[PromptRow, ...]] = field(repr=False)
    reporting: dict[str, tuple[PromptRow, ...]] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """sha256 over the ids of all rows by set and role."""
        lines = [
            f"{role} {name} {r.id}"
            for role in ("choosing", "reporting")
            for name, rows in getattr(self, role).items()
            for r in rows
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Set → role → number of requests."""
        return {
            name: {"selection": len(self.choosing[name]), "report": len(rows)} for name, rows in self.reporting.items()
        }


def make_sets(
    manifest: dict[str, Any],
    sources: Sequence[str],
    *,
    choosing: int,
    reporting: int,
    seed: int,
    own: OwnRequests | None = None,
    say: Say = lambda _: None,
) -> SceneSets:
    """The requests of a scene on this map run.

    Args:
        manifest: of the map run; its scoring and protecting prompts are left out.
        sources: among ``ALL_SOURCES``.
        own: the requests of source ``own``.
        choosing: harmful requests to choose by, over all sources.
        reporting: requests to report on, of each source and of the twins; of everyday ones twice as many, since what
            they pay is a few percent.

    Raises:
        DataInvalid: a source has too few requests left; the message says how many.
        AssetUnavailable: the fetched data set is not here and cannot be fetched.
    """
    used = frozenset(manifest["data"].get("scoring_prompts", ()))
    chosen_by: dict[str, tuple[PromptRow, ...]] = {}
    reported: dict[str, tuple[PromptRow, ...]] = {}
    notes: list[str] = list(own.notes) if own is not None else []
    share = -(-choosing // len(sources))
    left: dict[str, list[PromptRow]] = {}
    for source in sources:
        rows = _unused(_harmful(source, own, say), used, seed)
        chosen_by[source], left[source] = tuple(rows[:share]), rows[share:]
    answered = _unused((PromptRow(BENIGN, r["prompt"], r["response"]) for r in read_builtin("benign")), used, seed)
    untuned = harmless_apart(AlignSpec().seed)[0][SCORING_EVERYDAY:]
    apart_rows = read_rows(FOLDER / "everyday_apart.jsonl", ("prompt",))
    choosing_by, reporting_on = (
        _unused((PromptRow(BENIGN, prompt, "") for prompt in prompts), used, seed)
        for prompts in (untuned, [row["prompt"] for row in apart_rows])
    )
    chosen_by[BENIGN] = (*answered[:_CHOSEN_BY_ANSWERED], *choosing_by)
    # Those with an answer first: only theirs has a loss.
    reported[BENIGN] = (*answered[_CHOSEN_BY_ANSWERED:], *reporting_on)[: 2 * reporting]
    asked = twins()[1][SCORING_TWINS:]
    known = [content_words(r.prompt) for rows in chosen_by.values() for r in rows]
    known += [content_words(t.harmful) for t in asked[:_CHOSEN_BY_TWINS]]
    apart = [t for t in asked[_CHOSEN_BY_TWINS:] if not near_any(t.harmful, known)]
    for name, half in ((TWIN_HARMFUL, "harmful"), (TWIN_HARMLESS, "harmless")):
        chosen_by[name] = tuple(PromptRow(name, getattr(t, half), "") for t in asked[:_CHOSEN_BY_TWINS])
        reported[name] = tuple(PromptRow(name, getattr(t, half), "") for t in apart[:reporting])
    far = {source: [r for r in rows if not near_any(r.prompt, known)] for source, rows in left.items()}
    reported = {**{source: tuple(rows[:reporting]) for source, rows in far.items()}, **reported}
    for name, rows_of in reported.items():
        if len(rows_of) < 2 or not chosen_by[name]:
            raise DataInvalid(
                f"{len(rows_of)} requests of {name} are left to report on after those that masks were scored or chosen "
                "on, at least 2 are needed; ask for a smaller selection, or use a run on other data"
            )
        wanted = 2 * reporting if name == BENIGN else reporting
        if len(rows_of) < wanted:
            notes.append(f"{name}: {len(rows_of)} requests were left to report on, {wanted} were asked for")
    return SceneSets(chosen_by, reported, tuple(notes))


def _harmful(source: str, own: OwnRequests | None, say: Say) -> Iterable[PromptRow]:
    if source == OWN:
        if own is None:
            raise DataInvalid(f"the set {OWN} is that of your own requests; name their file with --requests FILE")
        return [PromptRow(OWN, prompt, "") for _, prompt in own.harmful]
    if source == SHOWN:
        return [PromptRow(r["category"], r["prompt"], "") for r in read_builtin("harmful")]
    if source in NEVER_TUNED_ON:
        return [PromptRow(source, prompt, "") for prompt in fetched_requests(source, say)]
    # The split of the tuning is made by this seed: only its held-out part was never tuned on.
    spec = AlignSpec()
    held_out = load_align_data(spec.seed, steps=spec.steps, say=say).held_out["harmful"]
    return [PromptRow(source, prompt, "") for prompt in held_out]


def _unused(rows: Iterable[PromptRow], used: frozenset[str], seed: int) -> list[PromptRow]:
    """One row a request, none of them used, in an order fixed by the seed."""
    one = {r.prompt_id: r for r in rows if r.prompt_id not in used}
    shuffled = [one[i] for i in sorted(one)]
    random.Random(f"{seed} scene").shuffle(shuffled)
    return shuffled
