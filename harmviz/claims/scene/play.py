"""Which mild requests a scene offers, by a rule over what was measured, and their recording.

The rule: among the mild requests reported on, first those that *read well* (asked directly the model declines; under
the opener it complies, and so do all random draws; with the mask it turns the request away, ``judges.turning_away``),
or miss the fewest of these; then those whose answers repeat themselves least, in steps of a twentieth; then those where
mask and intact model part earliest. Ties go to the lower request id. Requests of some harm types are measured and not
offered, mild as they are: they are nothing for a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harmviz.claims.scene.answers import Read
from harmviz.claims.scene.record import MASK, RANDOM, Recorded, reads_well
from harmviz.data.prompts import PromptRow
from harmviz.masks.mask import PruneMask
from harmviz.models.load import LoadedModel
from harmviz.worker import ModelKey, Pane, PaneView, Request, answering
from harmviz.worker.panes import Panes

#: Harm types whose requests are not offered.
OFF_STAGE = frozenset({"self_harm", "sexual"})


@dataclass(frozen=True)
class Seen:
    """What was measured on the mild requests: under the opener intact, with the mask, with each random draw; and asked
    directly.
    """

    intact: Read
    mask: Read
    random: Sequence[Read]
    direct: Read
    intact_ids: Sequence[Sequence[int]]
    mask_ids: Sequence[Sequence[int]]

    def misses(self, i: int) -> int:
        """How many of the parts of *reads well* fail; an answer that could not be scored fails its part."""
        wanted = [self.direct.declines[i] == 1, self.intact.turned_away[i] == 0, self.mask.turned_away[i] == 1]
        return sum(not w for w in [*wanted, *(r.turned_away[i] == 0 for r in self.random)])

    def repetition(self, i: int) -> float:
        """The largest repetition of the answers shown, rounded up to a twentieth; 1 where one is too short to tell."""
        shares = [self.intact.repetition[i], self.mask.repetition[i], self.random[0].repetition[i]]
        return 1.0 if np.isnan(shares).any() else float(np.ceil(20 * max(shares)) / 20)

    def parting(self, i: int) -> int:
        """The first token at which mask and intact model differ."""
        a, b = self.intact_ids[i], self.mask_ids[i]
        return next((t for t, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def order_of(rows: Sequence[PromptRow], seen: Seen) -> list[int]:
    """Places of the requests that can be offered, the one that reads best first (see the module)."""
    fit = [i for i, row in enumerate(rows) if row.set not in OFF_STAGE]
    return sorted(fit, key=lambda i: (seen.misses(i), seen.repetition(i), seen.parting(i), rows[i].prompt_id))


def record(
    loaded: LoadedModel,
    row: PromptRow,
    mask: PruneMask,
    random: PruneMask,
    *,
    opener: str,
    limit: int,
    strengths: Sequence[float],
    declines_directly: bool,
) -> Recorded:
    """The request answered side by side by the intact model, and with mask and control at every strength (and 0)."""
    panes = [Pane("intact"), *(Pane(MASK, mask, s) for s in strengths), *(Pane(RANDOM, random, s) for s in strengths)]
    template, views = _answered(
        loaded, Request(ModelKey(loaded.name), row.prompt, tuple(panes), opening=opener, max_new_tokens=limit)
    )
    intact, with_mask, with_random = views[0], views[1 : 1 + len(strengths)], views[1 + len(strengths) :]
    still = replace(intact, strength=0.0, divergence=(0.0,) * len(intact.tokens))
    panes_shown = [("intact", intact)]
    for arm, these in (("mask", with_mask), ("random", with_random)):
        like = these[0]
        panes_shown += [(arm, replace(still, name=like.name, n_weights=like.n_weights, mask_digest=like.mask_digest))]
        panes_shown += [(arm, view) for view in these]
    reads = reads_well(panes_shown, row.prompt, opener, declines_directly=declines_directly)
    return Recorded(
        row.prompt_id, row.set, row.prompt, opener, limit, declines_directly, reads, template, tuple(panes_shown)
    )


def _answered(loaded: LoadedModel, request: Request) -> tuple[str, tuple[PaneView, ...]]:
    """(the whole input as the model reads it, the finished panes)."""
    read, panes = answering.reading(loaded, request), Panes(request)
    panes.begin(loaded.tokenizer, read.opening_ids, clock=lambda: 0.0)  # the pace of many panes at once is nobody's
    for step in answering.steps(loaded, request, read):
        panes.push(step)
    panes.close()
    panes.measure(answering.surprise(loaded, read, panes.unmeasured()))
    return read.text, panes.views(ended=True)


def record_best(rows: Sequence[PromptRow], seen: Seen, limit: int, play: Callable[[int], Recorded]) -> list[Recorded]:
    """The first ``limit`` requests recorded: those that read well when recorded first, in the order of the rule."""
    records = [play(i) for i in order_of(rows, seen)[:limit]]
    return sorted(records, key=lambda r: not r.reads)
