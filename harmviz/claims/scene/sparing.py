"""Masks that spare what harmless requests hang on, whatever is to be gained on harmful ones.

A model that is trained to decline may do it more often for being pruned, to harmful requests and to harmless ones. With
H of a text the mean first-order rise of its loss, ``−W ⊙ E[∇_W L]``, and harmless requests that no tuning saw
(``texts``), of which

    answers     H of the answers to them: where it is above 0, zeroing the weight harms those
    declining   −H of refusals put behind them: where it is above 0, zeroing the weight makes declining them likelier;
                their own answers do not say so, since the choice to give them was made before the first word
    refusing    H of refusals put behind harmful requests: where it is above 0, zeroing makes declining those less
                likely

    score = H_harmful − max(0, 2 · answers, 2 · declining, ½ · refusing)      elementwise; a set's mean each, the
                                                                             largest of the sets

ranked over all weights that are eligible at p: the map run stores candidates of other rankings only. ``guarded``:
H_harmful of the answers that the map was scored on. ``twin``: of what the embedded start model says to harmful halves
of minimal pairs, once it has been talked into it: one author on both sides, one wording. How often each counts was
tried on requests that no scene reports on (docs/aligned.md): harmless text counted once is taken along by what is
pruned; without ``refusing`` what is left are weights whose zeroing makes declining anything less likely, and counted as
often as harmless text it leaves little of the gain. Requests that the model was tuned on spare nothing: there it was
held to what it was, and its gradient is nearly zero.

Scores live in memory only (METHOD.md, section 6, on those of refusals): four float32 numbers a weight that stay, and
two more while a set is added. What is kept of them, for whoever resumes, are the masks of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import TYPE_CHECKING

import numpy as np

from harmviz.claims.parent import Parent
from harmviz.claims.scene.texts import Texts
from harmviz.data.encoding import make_batches
from harmviz.errors import SelectionInexact
from harmviz.masks.mask import Kind, PruneMask
from harmviz.masks.ranking import TopK, count_of
from harmviz.runs.point import MEAN_OF_ALL, Selector
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

if TYPE_CHECKING:
    from harmviz.data.encoding import Sample

#: How often harmless text counts, and refusals of harmful requests.
SPARED, REFUSING = np.float32(2.0), np.float32(0.5)
#: Selection → the name of its control.
MIRROR_OF: dict[Selector, str] = {"guarded": "mirror_benign", "twin": "mirror_twin"}
#: Per weight of matrix i: flat float32.
Scores = Sequence[np.ndarray]


def address(how: Selector, q: float, p: float, *, mirror: bool = False) -> str:
    """The name of a mask among those of a grid."""
    return f"{'mirror' if mirror else 'mask'}/{how}/{q!r}/{p!r}"


def check_settled(parent: Parent, p: float) -> None:
    """Whether a ranking over all weights can be protected at this p.

    Raises:
        SelectionInexact: the run does not store which weights p protects.
    """
    grid = (0.0, *parent.candidates.p_grid)
    if p not in grid:
        known = ", ".join(f"{level:g}" for level in dict.fromkeys(grid))
        raise SelectionInexact(f"run {parent.run.id} stores which weights are protected at p = {known}, not at {p:g}")


@dataclass(frozen=True)
class Sparing:
    """``harmful[selection]``, ``answers``, ``declining``: as above, ``max(0, …)`` of the last two; in ``declining``
    also ``refusing``, a quarter of it, so that all is subtracted twice."""

    parent: Parent
    harmful: Mapping[Selector, Scores] = field(repr=False)
    answers: Scores = field(repr=False)
    declining: Scores = field(repr=False)

    @classmethod
    def score(
        cls, parent: Parent, texts: Texts, tell: Callable[[int, int], None] = lambda done, total: None
    ) -> Sparing:
        """The scores of these texts.

        Raises:
            HarmvizError: a loss is NaN or infinite.
        """
        done = 0

        def scores(samples: Sequence[Sample]) -> list[np.ndarray]:
            nonlocal done
            found = _scores(parent, samples, lambda here, _: tell(done + here, texts.n_samples))
            done += len(samples)
            return found

        harmful = {how: _mean(map(scores, groups)) for how, groups in texts.harmful.items()}
        answers = _most(map(scores, texts.answers))
        over = ([-m for m in scores(samples)] for samples in texts.declining)
        refusing = ([REFUSING / SPARED * m for m in scores(samples)] for samples in texts.refusing)
        return cls(parent, harmful, answers, _most(chain(over, refusing)))

    def best(self, q: float, p: float, how: Selector, *, mirror: bool = False) -> np.ndarray:
        """int64, ascending: the ``⌊q·N⌋`` eligible weights of highest score, fewer where fewer are above 0.

        ``mirror``: the selection turned round: what answers to harmless requests hang on and harmful ones do not,
        declining spared as before.

        Raises:
            SelectionInexact: see ``check_settled``.
        """
        check_settled(self.parent, p)
        candidates, wanted, other = self.parent.candidates, self.harmful[how], self.answers
        best = TopK(count_of(q, candidates.table.n_weights))
        for i, (gain, loss, declining) in enumerate(
            zip(*((other, wanted) if mirror else (wanted, other)), self.declining, strict=True)
        ):
            spared = np.maximum(np.maximum(loss, declining), 0)
            best.add((gain - SPARED * spared) * candidates.eligible(i, p), int(candidates.table.offsets[i]))
        return np.sort(best.result()[0])

    def grid(self, points: Iterable[tuple[float, float]]) -> dict[str, np.ndarray]:
        """``best`` of every selection and its mirror at these (q, p), by ``address``.

        Raises:
            SelectionInexact: see ``check_settled``.
        """
        found = {}
        for how, (q, p), mirror in product(self.harmful, points, (False, True)):
            found[address(how, q, p, mirror=mirror)] = self.best(q, p, how, mirror=mirror)
        return found


@dataclass(frozen=True)
class SparingMasks:
    """The masks of a grid. ``best``: see ``Sparing.grid``. ``prompts``: ids of the requests that were scored on."""

    parent: Parent
    best: Mapping[str, np.ndarray] = field(repr=False)
    prompts: tuple[str, ...] = ()

    def mask(self, q: float, p: float, how: Selector) -> PruneMask | None:
        """The mask of this point; None where it is none of the grid, or the selection was not scored."""
        return self._mask(q, p, how, kind="harm")

    def mirror(self, q: float, p: float, how: Selector) -> PruneMask | None:
        """Its control, the same selection turned round."""
        return self._mask(q, p, how, kind="control")

    def _mask(self, q: float, p: float, how: Selector, kind: Kind) -> PruneMask | None:
        mirror = kind == "control"
        if (index := self.best.get(address(how, q, p, mirror=mirror))) is None:
            return None
        candidates = self.parent.candidates
        return PruneMask.from_global(
            candidates.table,
            index,
            kind=kind,
            model_hash=self.parent.loaded.weight_hash,
            run_id=self.parent.run.id,
            scoring_prompts=sorted({*self.parent.run.manifest["data"]["scoring_prompts"], *self.prompts}),
            q=q,
            p=p,
            scope="global",
            set=MEAN_OF_ALL,
            contrast=how,
            n_requested=count_of(q, candidates.table.n_weights),
            control=MIRROR_OF[how] if mirror else "none",
        )


def _mean(sets: Iterable[Scores]) -> Scores:
    """Of all sets, matrix by matrix, one set in memory beside the sum."""
    rest = iter(sets)
    total, n = next(rest), 1
    for scores in rest:
        n += 1
        for into, more in zip(total, scores, strict=True):
            into += more
    for into in total:
        into /= np.float32(n)
    return total


def _most(sets: Iterable[Scores]) -> Scores:
    """``max(0, …)`` of all sets, matrix by matrix."""
    rest = iter(sets)
    total = [np.maximum(m, 0) for m in next(rest)]
    for scores in rest:
        for into, more in zip(total, scores, strict=True):
            np.maximum(into, more, out=into)
    return total


def _scores(parent: Parent, samples: Sequence[Sample], tell: Callable[[int, int], None]) -> list[np.ndarray]:
    """H of each matrix, flat float32."""
    loaded = parent.loaded
    batches = make_batches(list(samples), max_tokens=default_batch_tokens(loaded), device=loaded.device)
    factor = np.float32(-1.0 / len(samples))
    return [m.cpu().numpy().ravel() * factor for m in score_signed(loaded, batches, progress=tell)]
