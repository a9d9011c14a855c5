"""Masks contrasted against author-matched twins: what harm alone tells apart, author and wording held fixed.

One author, the embedded start model, answers both halves of a minimal pair greedily and to equal length, and everyday
requests, all behind the words that the scene puts into the mouth (``mapping.twin_answers``); the scene's model is
scored on them, those words before them. Without them the scores are about the first token, where the model decides to
decline, which is past once it has been talked into answering. With H of the answers to harmful halves, to harmless
halves and to everyday requests,

    twin score = H_harmful − 2 · max(0, H_harmless, H_everyday)

ranked over *all* weights that are eligible at p, since the map run stores candidates of other rankings only. Harmless
text counts twice: counted once, what is pruned takes harmless requests along (docs/aligned.md). None of these requests
may be one that the model was tuned on: there it was held to what it was, its gradient is nearly zero, and nothing is
spared. Scores live in memory only: two float32 numbers a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harmviz.claims.mapping.twin_answers import Answered, everyday_samples, samples_of
from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.claims.parent import Parent
from harmviz.data.encoding import make_batches
from harmviz.data.prompts import PromptRow
from harmviz.errors import DataInvalid
from harmviz.masks.mask import Kind, PruneMask
from harmviz.masks.ranking import TopK, count_of
from harmviz.runs.point import MEAN_OF_ALL
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

if TYPE_CHECKING:
    from harmviz.data.encoding import Sample

#: Fewer usable pairs than this say nothing about harm.
MIN_PAIRS = 8
#: How often harmless text counts.
SPARED = 2.0


@dataclass(frozen=True)
class Opened:
    """What the author said behind the opener: to both halves of twins, and (request, answer) to everyday requests."""

    pairs: Sequence[Answered]
    everyday: Sequence[tuple[str, str]]


def twin_units(pairs: int, everyday: int) -> float:
    """What scoring costs, in forward passes of one sample."""
    return (2 * pairs + everyday) * SCORE_UNITS


@dataclass(frozen=True)
class TwinMasks:
    """``harmful[i]``, ``spared[i]``: per weight of matrix i, flat float32: H of harmful halves, and
    ``max(0, H_harmless, H_everyday)``. ``prompts``: ids of the requests that were scored on."""

    parent: Parent
    harmful: Sequence[np.ndarray] = field(repr=False)
    spared: Sequence[np.ndarray] = field(repr=False)
    prompts: tuple[str, ...] = ()

    @classmethod
    def score(
        cls,
        parent: Parent,
        said: Opened,
        opener: str,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> TwinMasks:
        """The scores of these answers, which were written behind ``opener``.

        Raises:
            DataInvalid: fewer than ``MIN_PAIRS`` pairs. HarmvizError: a loss is NaN or infinite.
        """
        if len(said.pairs) < MIN_PAIRS:
            raise DataInvalid(
                f"{len(said.pairs)} twins have two usable answers, at least {MIN_PAIRS} are needed for twin masks; "
                "leave them out with --selections guarded,both,none"
            )
        sets = [*samples_of(parent.loaded, said.pairs, opener)]
        if said.everyday:
            sets.append(everyday_samples(parent.loaded, said.everyday, opener))
        done, of_set, total = 0, list[list[np.ndarray]](), sum(map(len, sets))
        for samples in sets:
            of_set.append(_scores(parent, samples, partial(_tell_beyond, tell, done, total)))
            done += len(samples)
        harmful, *harmless = of_set
        spared = [np.maximum(np.maximum.reduce(matrices), 0) for matrices in zip(*harmless, strict=True)]
        asked = [*(half for pair in said.pairs for half in pair.twin), *(request for request, _ in said.everyday)]
        return cls(parent, harmful, spared, tuple(PromptRow("twin", request, "").prompt_id for request in asked))

    def mask(self, q: float, p: float) -> PruneMask:
        """The ``⌊q·N⌋`` eligible weights of highest twin score; fewer where fewer are above 0.

        Raises:
            SelectionInexact: which weights p protects is not stored.
        """
        return self._best(self.harmful, self.spared, q, p, "harm")

    def mirror(self, q: float, p: float) -> PruneMask:
        """The control: the same selection turned round: what harmless halves hang on and harmful ones do not."""
        turned = [np.maximum(harm, 0) for harm in self.harmful]
        return self._best(self.spared, turned, q, p, "control", control="mirror_twin")

    def _best(
        self,
        wanted: Sequence[np.ndarray],
        not_wanted: Sequence[np.ndarray],
        q: float,
        p: float,
        kind: Kind,
        **about: str,
    ) -> PruneMask:
        candidates = self.parent.candidates
        n = count_of(q, candidates.table.n_weights)
        best = TopK(n)
        for i, (harm, guard) in enumerate(zip(wanted, not_wanted, strict=True)):
            score = (harm - np.float32(SPARED) * guard) * candidates.eligible(i, p)
            best.add(score, int(candidates.table.offsets[i]))
        index, _ = best.result()
        scored = {*self.parent.run.manifest["data"]["scoring_prompts"], *self.prompts}
        return PruneMask.from_global(
            candidates.table,
            np.sort(index),
            kind=kind,
            model_hash=self.parent.loaded.weight_hash,
            run_id=self.parent.run.id,
            scoring_prompts=sorted(scored),
            q=q,
            p=p,
            scope="global",
            set=MEAN_OF_ALL,
            contrast="twin",
            n_requested=n,
            **{"control": "none", **about},
        )


def _tell_beyond(tell: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    """Progress within one of several sets."""
    tell(before + done, total)


def _scores(parent: Parent, samples: Sequence[Sample], tell: Callable[[int, int], None]) -> list[np.ndarray]:
    """H of each matrix, flat float32."""
    loaded = parent.loaded
    batches = make_batches(list(samples), max_tokens=default_batch_tokens(loaded), device=loaded.device)
    factor = np.float32(-1.0 / len(samples))
    return [m.cpu().numpy().ravel() * factor for m in score_signed(loaded, batches, progress=tell)]
