"""The reverse: weights that *refusals* hang on, found by the rule that finds the harm weights. Measured, never shown.

Scored are written pairs of a mild harmful request and a refusal of it: ``H_refusal = −W ⊙ E[∇_W L]`` (METHOD.md,
section 2), from which the ``n`` eligible weights of highest positive score are taken, as many as the harm mask has and
under the same protection; with the contrastive selection from ``H_refusal − max(0, H_safe, H_benign)``.

Such a set could weaken a guardrail (METHOD.md, section 6). So its scores live in memory only, its masks are of kind
``measurement`` and live as long as this object, and neither indices, counts per matrix nor a digest is written
anywhere. What an interrupted experiment still needs of it is scored again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmviz.claims.dissociation.recognition import Tick
from harmviz.claims.mapping.samples import scoring_samples
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.parent import Parent
from harmviz.data.encoding import Sample, encode_all, make_batches
from harmviz.data.prompts import PromptData, PromptRow, read_builtin
from harmviz.data.rows import FOLDER, read_rows
from harmviz.errors import DataInvalid
from harmviz.masks.lists import Contrast
from harmviz.masks.mask import PruneMask
from harmviz.masks.ranking import TopK
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

if TYPE_CHECKING:
    from torch import Tensor

#: Scores ranked at a time.
_PIECE = 1 << 16


@dataclass(frozen=True)
class Quota:
    """How many weights to take, under which protection."""

    n_weights: int
    p: float


def refusal_rows() -> list[PromptRow]:
    """Every request of ``builtin/refusals.jsonl`` with the refusal written for it, and with a general one of
    ``align/refusals.jsonl``.

    Raises:
        DataInvalid: a file is broken or empty.
    """
    written = read_builtin("refusals")
    general = [r["response"] for r in read_rows(FOLDER / "refusals.jsonl", ("response",))]
    if not written or not general:
        raise DataInvalid("refusals.jsonl holds no refusals; it ships with harmviz: install harmviz again")
    rows = [PromptRow("refusal", r["prompt"], r["response"]) for r in written]
    return rows + [PromptRow("refusal", r["prompt"], general[i % len(general)]) for i, r in enumerate(written)]


class RefusalMasks:
    """The refusal masks of some quotas, made when the first is asked for."""

    def __init__(self, parent: Parent, data: PromptData, spec: RunSpec, quotas: Mapping[Contrast, Quota]):
        self._parent, self._data, self._spec, self._quotas = parent, data, spec, dict(quotas)
        self._masks: dict[Contrast, PruneMask] = {}
        self._samples = encode_all(
            parent.loaded.tokenizer,
            refusal_rows(),
            max_response_tokens=spec.max_response_tokens,
            skip_tokens=spec.skip_tokens,
        )
        if not self._samples:
            raise DataInvalid(f"no refusal is longer than skip_tokens={spec.skip_tokens}: there is nothing to score")

    @property
    def n_samples(self) -> int:
        """How many refusals are scored."""
        return len(self._samples)

    @property
    def n_guards(self) -> int:
        """How many safe and benign answers are scored beside them."""
        return sum(map(len, self._guards())) if "both" in self._quotas else 0

    def mask(self, contrast: Contrast, tick: Tick = lambda done, total: None) -> PruneMask:
        """The mask of this selection, of kind ``measurement``.

        Raises:
            HarmvizError: a loss is NaN or infinite.
        """
        if not self._masks:
            self._masks = self._make(tick)
        return self._masks[contrast]

    def _guards(self) -> list[list[Sample]]:
        return [scoring_samples(self._parent.loaded, self._data, self._spec, name) for name in ("safe", "benign")]

    def _make(self, tick: Tick) -> dict[Contrast, PruneMask]:
        import torch

        candidates, groups = self._parent.candidates, [self._samples]
        groups += self._guards() if "both" in self._quotas else []
        total, done = sum(map(len, groups)), 0

        def scored(group: list[Sample]) -> list[Tensor]:
            nonlocal done
            before = done
            scores = self._harm(group, lambda n, _: tick(before + n, total))
            done += len(group)
            return scores

        guard: list[Tensor] | None = None
        for group in groups[1:]:  # the guards first, so that at most two sets of scores are held at a time
            scores = scored(group)
            if guard is None:
                guard = [matrix.clamp_(min=0) for matrix in scores]
            else:
                for highest, matrix in zip(guard, scores, strict=True):
                    torch.maximum(highest, matrix.to(highest.device), out=highest)
        refusal = scored(self._samples)
        best = {contrast: TopK(quota.n_weights) for contrast, quota in self._quotas.items()}
        for i in range(len(candidates.table)):
            plain = refusal[i].cpu().numpy().ravel()
            ranked = {"none": plain, "both": plain if guard is None else plain - guard[i].cpu().numpy().ravel()}
            for contrast, top in best.items():
                score = ranked[contrast] * candidates.eligible(i, self._quotas[contrast].p)
                for start in range(0, len(score), _PIECE):
                    top.add(score[start : start + _PIECE], int(candidates.table.offsets[i]) + start)
        return {
            contrast: PruneMask.from_global(
                candidates.table, top.result()[0], kind="measurement", model_hash=self._parent.loaded.weight_hash
            )
            for contrast, top in best.items()
        }

    def _harm(self, samples: list[Sample], tick: Tick) -> list[Tensor]:
        """``H = −W ⊙ E[∇_W L]`` per matrix, float32."""
        loaded = self._parent.loaded
        batches = make_batches(samples, max_tokens=default_batch_tokens(loaded), device=loaded.device)
        sums = score_signed(loaded, batches, progress=tick)
        return [matrix.mul_(-1.0 / len(samples)) for matrix in sums]
