"""The guard against over-refusal: weights on which *answering harmless requests* hangs stay, whatever they do for harm.

Where a model is trained to decline, the loss of its own harmless answers says little about the choice it made before
their first
word: that choice is nearly certain, so its gradient is nearly zero. The loss of the answer it did *not* give says it.
With refusals x put behind harmless requests,

    D = W ⊙ E[∇_W L(x)]        zeroing weight ij lowers the loss of declining them, to first order, by D[ij]
    guarded score = H − max(0, D)

ranked, protected and cut like the plain score H. It is the contrastive rule with another text that must not suffer,
ours like that one. Weights that declining hangs on have D < 0 and score no higher for it: none is selected as such. D
itself lives in memory only, like every score of refusals (METHOD.md, section 6).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from harmviz.claims.mapping.work import SCORE_UNITS
from harmviz.claims.parent import Parent
from harmviz.data.encoding import Sample, encode_prompt, make_batches
from harmviz.data.rows import FOLDER, read_rows
from harmviz.errors import SelectionInexact
from harmviz.judges.declining import openings
from harmviz.masks.lists import MEAN, ListKey
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import count_of
from harmviz.models.load import LoadedModel
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed
from harmviz.tuning.data import content_words, near_any

#: Harmless requests of each kind that the guard is scored on.
PER_KIND = 40
GUARD_UNITS = 3 * PER_KIND * SCORE_UNITS


def harmless_requests(kept_apart: Iterable[str], seed: int) -> list[str]:
    """``PER_KIND`` each of everyday requests, of ones that only sound dangerous, and of the harmless halves of twins.

    All ship with harmviz for tuning. Left out are those that share most of their content words with one ``kept_apart``.

    Raises:
        DataInvalid: a file is missing or broken.
    """
    kinds = (
        [r["prompt"] for r in read_rows(FOLDER / "everyday.jsonl", ("prompt",))],
        [
            r["prompt"]
            for r in read_rows(FOLDER / "borderline.jsonl", ("prompt", "kind", "split"))
            if r["split"] == "tuning"
        ],
        [r["harmless"] for r in read_rows(FOLDER / "twins.jsonl", ("harmful", "harmless"))],
    )
    known = [content_words(text) for text in kept_apart]
    requests = []
    for kind in kinds:
        rows = [text for text in sorted(kind) if not near_any(text, known)]
        random.Random(f"{seed} guard").shuffle(rows)
        requests += rows[:PER_KIND]
    return requests


def declined(loaded: LoadedModel, requests: Sequence[str]) -> list[Sample]:
    """Each request with an opening that declines behind it, the openings in turn.

    Raises:
        UnsupportedArchitecture: the tokenizer cannot tell declining and complying openings apart.
    """
    said, _ = openings(loaded.tokenizer)
    prompts = [encode_prompt(loaded.tokenizer, r) for r in requests]
    return [
        Sample(f"guard{i}", f"guard{i}", (*ids, *said[i % len(said)]), len(ids), len(ids))
        for i, ids in enumerate(prompts)
    ]


@dataclass(frozen=True)
class Guard:
    """``cost[row]``: ``max(0, D)`` of each stored candidate of a map run, float32."""

    parent: Parent
    cost: np.ndarray = field(repr=False)

    @classmethod
    def score(
        cls, parent: Parent, requests: Sequence[str], tell: Callable[[int, int], None] = lambda done, total: None
    ) -> Guard:
        """The guard of these harmless requests.

        Raises:
            HarmvizError: a loss is NaN or infinite. UnsupportedArchitecture: see ``declined``.
        """
        loaded, candidates = parent.loaded, parent.candidates
        samples = declined(loaded, requests)
        batches = make_batches(samples, max_tokens=default_batch_tokens(loaded), device=loaded.device)
        sums = score_signed(loaded, batches, progress=tell)
        cost = np.zeros(candidates.n_rows, dtype=np.float32)
        for i, matrix in enumerate(sums):
            here = np.flatnonzero(candidates.matrix == i)
            cost[here] = matrix.cpu().numpy().ravel()[candidates.flat[here]] / np.float32(len(samples))
        return cls(parent, np.maximum(cost, 0, out=cost))

    @classmethod
    def of_nothing(cls, parent: Parent) -> Guard:
        """The guard that costs nothing: its masks are the plain ones."""
        return cls(parent, np.zeros(parent.candidates.n_rows, dtype=np.float32))

    def mask(self, q: float, p: float) -> PruneMask:
        """The ``⌊q·N⌋`` eligible weights of highest guarded mean score.

        Raises:
            SelectionInexact: p is not stored, or fewer weights are certain than asked for.
        """
        return self._guarded(MEAN, self.parent.mask(q, p, "none"), p)

    def benign_signed(self, q: float, p: float) -> PruneMask | None:
        """The control: what the same guarded rule selects from harmless answers;

        None where the run does not settle it.
        """
        try:
            plain = self.parent.benign_signed(q, p)
            return None if plain is None else self._guarded("benign", plain, p)
        except SelectionInexact:
            return None

    def _guarded(self, set_name: str, plain: PruneMask, p: float) -> PruneMask:
        """As many weights as were asked of ``plain``, by guarded score.

        Exact: a weight that is not in the stored list has at most the list's last score b, and the guard only takes
        away, so that every weight with a guarded score above b is in the list.
        """
        candidates, key, n = (
            self.parent.candidates,
            ListKey(set_name, "none", p, "global"),
            plain.provenance["n_requested"],
        )
        if key not in candidates.orders:
            raise SelectionInexact(f"p={p!r} is not stored; this run answers {', '.join(map(repr, candidates.p_grid))}")
        rows = candidates.orders[key]
        cut = len(rows) == count_of(candidates.q_max, candidates.table.n_weights)
        score = candidates.score(set_name, "none", rows)
        guarded = score - self.cost[rows]
        certain = np.flatnonzero(guarded > (score[-1] if cut and len(rows) else 0))
        if cut and len(certain) < n:
            raise SelectionInexact(
                f"at p={p!r} the stored list settles only the first {len(certain):,} guarded weights, {n:,} are asked "
                "for"
            )
        best = certain[np.lexsort((rows[certain], -guarded[certain]))][
            :n
        ]  # ties go to the lower index, and rows ascend with it
        about = {**plain.provenance, "contrast": "guarded"}
        return PruneMask.from_global(
            candidates.table, candidates.global_of(rows[best]), kind=plain.kind, model_hash=plain.model_hash, **about
        )
