"""Masks contrasted against author-matched twins: what harm alone tells apart, author and wording held fixed.

One author, the embedded start model, answers both halves of a minimal pair greedily and to equal length, behind the
words that the scene puts into the mouth (``mapping.twin_answers``); the scene's model is scored on both, those words
before them. Without them the scores are about the first token, where the model decides to decline, which is past once
it has been talked into answering. With H of the answers to harmful and to harmless halves, and D of declining the
harmless halves (``guard``),

    twin score = H_harmful − max(0, H_harmless, D)

ranked over *all* weights that are eligible at p, since the map run stores candidates of other rankings only. Scores
live in memory only: two float32 numbers a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harmviz.claims.mapping.twin_answers import Answered, samples_of
from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.claims.parent import Parent
from harmviz.claims.scene.guard import declined
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


def twin_units(pairs: int) -> float:
    """What scoring costs, in forward passes of one sample."""
    return 3 * pairs * SCORE_UNITS


@dataclass(frozen=True)
class TwinMasks:
    """``harmful[i]``, ``harmless[i]``: per weight of matrix i, flat float32: H of harmful halves, and
    ``max(0, H_harmless, D)``. ``prompts``: ids of the requests that were scored on."""

    parent: Parent
    harmful: Sequence[np.ndarray] = field(repr=False)
    harmless: Sequence[np.ndarray] = field(repr=False)
    prompts: tuple[str, ...] = ()

    @classmethod
    def score(
        cls,
        parent: Parent,
        answered: Sequence[Answered],
        opener: str,
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> TwinMasks:
        """The scores of these pairs, whose answers were written behind ``opener``.

        Raises:
            DataInvalid: fewer than ``MIN_PAIRS`` pairs. HarmvizError: a loss is NaN or infinite.
            UnsupportedArchitecture: see ``guard.declined``.
        """
        if len(answered) < MIN_PAIRS:
            raise DataInvalid(
                f"{len(answered)} twins have two usable answers, at least {MIN_PAIRS} are needed for twin masks; leave "
                "them out with --selections guarded,both,none"
            )
        harmful, harmless = samples_of(parent.loaded, answered, opener)
        # Zeroing raises the loss of an answer by H to first order, and lowers that of declining by D.
        sets: list[tuple[Sequence[Sample], float]] = [
            (harmful, -1.0),
            (harmless, -1.0),
            (declined(parent.loaded, [pair.twin.harmless for pair in answered]), 1.0),
        ]
        done, of_set = 0, list[list[np.ndarray]]()
        total = sum(len(samples) for samples, _ in sets)
        for samples, sign in sets:
            of_set.append(_scores(parent, samples, sign, partial(_tell_beyond, tell, done, total)))
            done += len(samples)
        guard = [np.maximum(np.maximum(safe, d), 0) for safe, d in zip(of_set[1], of_set[2], strict=True)]
        asked = [PromptRow("twin", half, "").prompt_id for pair in answered for half in pair.twin]
        return cls(parent, of_set[0], guard, tuple(asked))

    def mask(self, q: float, p: float) -> PruneMask:
        """The ``⌊q·N⌋`` eligible weights of highest twin score; fewer where fewer are above 0.

        Raises:
            SelectionInexact: which weights p protects is not stored.
        """
        return self._best(self.harmful, self.harmless, q, p, "harm")

    def mirror(self, q: float, p: float) -> PruneMask:
        """The control: the same selection turned round: what harmless halves hang on and harmful ones do not."""
        turned = [np.maximum(harm, 0) for harm in self.harmful]
        return self._best(self.harmless, turned, q, p, "control", control="mirror_twin")

    def _best(
        self, wanted: Sequence[np.ndarray], spared: Sequence[np.ndarray], q: float, p: float, kind: Kind, **about: str
    ) -> PruneMask:
        candidates = self.parent.candidates
        n = count_of(q, candidates.table.n_weights)
        best = TopK(n)
        for i, (harm, guard) in enumerate(zip(wanted, spared, strict=True)):
            score = (harm - guard) * candidates.eligible(i, p)
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


def _scores(
    parent: Parent, samples: Sequence[Sample], sign: float, tell: Callable[[int, int], None]
) -> list[np.ndarray]:
    """``sign · W ⊙ E[∇L]`` of each matrix, flat float32."""
    loaded = parent.loaded
    batches = make_batches(list(samples), max_tokens=default_batch_tokens(loaded), device=loaded.device)
    factor = np.float32(sign / len(samples))
    return [m.cpu().numpy().ravel() * factor for m in score_signed(loaded, batches, progress=tell)]
