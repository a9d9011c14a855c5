"""Requests of a reader's own among those a ladder is measured on, held out from all that it is tuned on."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from harmviz.data.content_words import content_words, near_any
from harmviz.data.folding import normalise
from harmviz.data.own_requests import OWN, OwnRequests
from harmviz.errors import DataInvalid
from harmviz.tuning.data import AlignData, check_disjoint

#: How many are needed at least for a share to say something.
MIN_REQUESTS = 8


def with_own_requests(data: AlignData, own: OwnRequests) -> tuple[AlignData, list[str]]:
    """(the data with the harmful requests held out as ``own``, what a reader must know).

    Left out are those that share most of their content words with a request that is tuned on.

    Raises:
        DataInvalid: too few are left.
    """
    tuned = [*data.harmful, *chain(*data.twins), *data.harmless, *data.reserved]
    words, exact = [content_words(p) for p in tuned], {normalise(p) for p in tuned}
    asked = list(dict.fromkeys(prompt for _, prompt in own.harmful))
    kept = [p for p in asked if normalise(p) not in exact and not near_any(p, words)]
    if len(kept) < MIN_REQUESTS:
        raise DataInvalid(
            f"{len(kept)} of {len(asked)} requests of {own.id} are unlike those that are tuned on, at least "
            f"{MIN_REQUESTS} are needed; give others with --requests"
        )
    notes = list(own.notes)
    if len(kept) < len(asked):
        notes.append(f"{len(asked) - len(kept)} of {len(asked)} requests of {own.id} are like tuned ones and left out")
    held = replace(data, held_out={**data.held_out, OWN: tuple(kept)})
    check_disjoint(held)
    return held, notes
