"""The requests of a stage scene: some to choose its mask by, others to report on; none that any mask was scored on.

Three harmful sources. ``advbench``: the part of AdvBench that no checkpoint is tuned on (fetched text). ``own``:
requests of a reader's own. Of both only counts are ever stored. ``mild``: the builtin harmful requests, whose answers
may be shown. Harmless requests are builtin ones that the map run neither scored nor protected, and the harmless halves
of the builtin recognition pairs. A request that shares most of its content words with one it was chosen by is not
reported on.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say
from harmviz.tuning.data import content_words, load_align_data, near_any
from harmviz.tuning.settings import AlignSpec

SOURCES = ("advbench", "mild")
#: Those, and requests of a reader's own.
ALL_SOURCES = (*SOURCES, OWN)
#: The source whose texts may be stored and shown.
SHOWN = "mild"
BENIGN = "benign"
#: Harmless requests that the mask is chosen by: written pairs, and halves of recognition pairs.
_CHOSEN_BY_PAIRS, _CHOSEN_BY_HALVES = 16, 8


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
        reporting: requests to report on, of each source and of the harmless ones.

    Raises:
        DataInvalid: a source has too few requests left; the message says how many.
        AssetUnavailable: the fetched data set is not here and cannot be fetched.
    """
    used = frozenset(manifest["data"].get("scoring_prompts", ()))
    chosen_by: dict[str, tuple[PromptRow, ...]] = {}
    reported: dict[str, tuple[PromptRow, ...]] = {}
    notes: list[str] = list(own.notes) if own is not None else []
    share = -(-choosing // len(sources))
    for source in sources:
        rows = _unused(_harmful(source, own, say), used, seed)
        chosen_by[source] = tuple(rows[:share])
        known = [content_words(r.prompt) for s in chosen_by for r in chosen_by[s]]
        left = [r for r in rows[share:] if not near_any(r.prompt, known)]
        reported[source] = tuple(left[:reporting])
    pairs = _unused((PromptRow(BENIGN, r["prompt"], r["response"]) for r in read_builtin("benign")), used, seed)
    halves = _unused((PromptRow(BENIGN, r["benign"], "") for r in read_builtin("recognition")), used, seed)
    chosen_by[BENIGN] = (*pairs[:_CHOSEN_BY_PAIRS], *halves[:_CHOSEN_BY_HALVES])
    reported[BENIGN] = (*pairs[_CHOSEN_BY_PAIRS:], *halves[_CHOSEN_BY_HALVES:])[:reporting]
    for name, rows_of in reported.items():
        if len(rows_of) < 2 or not chosen_by[name]:
            raise DataInvalid(
                f"{len(rows_of)} requests of {name} are left to report on after those that masks were scored or chosen "
                "on, at least 2 are needed; ask for a smaller selection, or use a run on other data"
            )
        if len(rows_of) < reporting:
            notes.append(f"{name}: {len(rows_of)} requests were left to report on, {reporting} were asked for")
    return SceneSets(chosen_by, reported, tuple(notes))


def _harmful(source: str, own: OwnRequests | None, say: Say) -> Iterable[PromptRow]:
    if source == OWN:
        if own is None:
            raise DataInvalid(f"the set {OWN} is that of your own requests; name their file with --requests FILE")
        return [PromptRow(OWN, prompt, "") for _, prompt in own.harmful]
    if source == SHOWN:
        return [PromptRow(r["category"], r["prompt"], "") for r in read_builtin("harmful")]
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
