"""The masks of one seed: the narrow domain scored at the base model, its harm weights selected, two controls beside
them.

The domain is the one harm category: signed score on the bad answers of the tuning rows, minus ``max(0, H_good,
H_benign)`` (contrastive), protected by utility. Controls of equal size: drawn at random in each matrix, and selected on
harmless answers by others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harmviz.claims.emergent.bench import Domain
from harmviz.claims.emergent.settings import EmergentSpec
from harmviz.claims.mapping.work import ABSOLUTE_UNITS, SCORE_UNITS
from harmviz.data.encoding import encode, make_batches
from harmviz.data.prompts import PromptRow
from harmviz.data.splits import SCORING
from harmviz.errors import BadSetting
from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.masks.controls import benign_signed, random_control
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.load import LoadedModel
from harmviz.scoring.absolute import score_absolute
from harmviz.scoring.files import write_scores
from harmviz.scoring.forward import default_batch_tokens
from harmviz.scoring.signed import score_signed

Tick = Callable[[int, int], None]
#: Scores that every seed shares, and those that are of one seed.
SHARED, OWN = ("utility", "benign"), ("bad", "good")
SELECT_UNITS = 60.0


def scored_rows(domain: Domain, name: str, seed: int) -> list[PromptRow]:
    """The rows behind one score: of ``seed``'s tuning rows for ``bad`` and ``good``, else the same for every seed."""
    if name in OWN:
        return domain.narrow(domain.split[seed][0], name)
    return domain.benign_rows(*(("preserve",) if name == "utility" else SCORING))


def score_units(domain: Domain, name: str, seed: int) -> float:
    """What a score costs, in forward passes of one sample."""
    return (ABSOLUTE_UNITS if name == "utility" else SCORE_UNITS) * len(scored_rows(domain, name, seed))


def score_to_file(
    loaded: LoadedModel, domain: Domain, spec: EmergentSpec, name: str, seed: int, path: Path, tick: Tick
) -> None:
    """Writes the sum over the rows, ``Σ W ⊙ ∇L`` (of absolute values for the utility), all matrices one after another.

    Raises:
        OutOfMemory: the disk is full. HarmvizError: a loss is NaN or infinite.
    """
    fused = name == "utility" and loaded.table.has_fused_experts
    samples = [
        encode(loaded.tokenizer, r, max_response_tokens=spec.max_answer_tokens) for r in scored_rows(domain, name, seed)
    ]
    batches = make_batches(samples, max_tokens=1 if fused else default_batch_tokens(loaded), device=loaded.device)
    sums = (score_absolute if name == "utility" else score_signed)(loaded, batches, progress=tick)
    write_scores(path, (m.cpu().numpy() for m in sums), 4 * loaded.table.n_weights)


def narrow_candidates(
    loaded: LoadedModel, domain: Domain, spec: EmergentSpec, seed: int, files: Mapping[str, Path]
) -> Candidates:
    """What the masks are selected from; the good answers are the same-topic safe ones. ``files`` by score's name."""
    table = loaded.table
    names = {domain.name: "bad", "safe": "good", "benign": "benign", "utility": "utility"}
    mapped = {k: np.memmap(files[n], dtype=np.float32, mode="r", shape=(table.n_weights,)) for k, n in names.items()}
    # H is minus the mean of W ⊙ ∇L, U the mean of its absolute values.
    factor = {
        k: np.float32((1.0 if n == "utility" else -1.0) / len(scored_rows(domain, n, seed))) for k, n in names.items()
    }

    def score(name: str, i: int) -> np.ndarray:
        scaled: np.ndarray = mapped[name][table.span(i)] * factor[name]
        return scaled

    return build_candidates(
        table,
        score,
        lambda i: score("utility", i),
        categories=(domain.name,),
        q_max=max(spec.fractions),
        p_grid=(spec.p,),
        matrix_p=(),
    )


def mask_names(spec: EmergentSpec) -> tuple[str, ...]:
    """The names of a seed's masks."""
    return ("harm", "random", "benign", *(f"harm-{q:g}" for q in spec.dose))


def narrow_masks(
    loaded: LoadedModel, domain: Domain, spec: EmergentSpec, seed: int, candidates: Candidates, run_id: str
) -> dict[str, PruneMask]:
    """The masks of one seed by name.

    Raises:
        ValueError: no eligible weight supports the bad answers more than the others.
        SelectionInexact: a matrix has too few eligible weights for the random control.
    """
    about: dict[str, Any] = {
        "model_hash": loaded.weight_hash,
        "run_id": run_id,
        "repetition": seed,
        "scoring_prompts": sorted({r.prompt_id for r in scored_rows(domain, "bad", seed)}),
    }

    def at(q: float) -> Selection:
        return Selection((domain.name,), q=q, p=spec.p, contrast="both")

    harm = make_mask(candidates, at(spec.q), **about)
    if not harm.n_weights:
        raise BadSetting(
            f"q={spec.q!r}, p={spec.p!r}: no eligible weight supports the bad answers more than the good and the "
            "harmless ones; use a lower p"
        )
    masks = {
        "harm": harm,
        "random": random_control(harm, candidates.table, _eligible(candidates, spec.p), seed=seed),
        "benign": benign_signed(candidates, at(spec.q), **about),
    }
    return masks | {f"harm-{q:g}": make_mask(candidates, at(q), **about) for q in spec.dose}


def _eligible(candidates: Candidates, p: float) -> Callable[[int], np.ndarray]:
    return lambda i: candidates.eligible(i, p)


def eligible_of(path: Path, spec: EmergentSpec) -> Callable[[int], np.ndarray]:
    """Which weights of matrix i a mask of these candidates may hold, bool, flat."""
    return _eligible(Candidates.load(path), spec.p)
