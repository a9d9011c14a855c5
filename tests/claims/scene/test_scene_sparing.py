"""Masks that spare harmless requests: their scores by hand, the full ranking, and what cannot be scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harmviz.claims.mapping.samples import scoring_samples
from harmviz.claims.mapping.settings import RunSpec
from harmviz.claims.mapping.twin_answers import Answered, everyday_samples, samples_of
from harmviz.claims.parent import Parent, open_parent
from harmviz.claims.scene import texts as scene_texts
from harmviz.claims.scene.sparing import Sparing, SparingMasks, check_settled
from harmviz.claims.scene.texts import Opened, Texts, declined, make_texts, own_answers, scored_prompts
from harmviz.data.encoding import Sample
from harmviz.data.prompts import PromptData, PromptRow, load_again
from harmviz.data.twins import Twin
from harmviz.errors import DataInvalid, SelectionInexact
from harmviz.models.load import LoadedModel, load_model
from harmviz.runs import open_run
from harmviz.runs.point import Selector

PAIRS = [Twin(f"bad thing {i}", f"good thing {i}") for i in range(8)]
EVERYDAY = [f"How do I boil egg {i}?" for i in range(5)]
SAID = Opened(
    [Answered(pair, f"word {i} a b c", f"other {i} d e f") for i, pair in enumerate(PAIRS)],
    [(request, f"answer {i} g h") for i, request in enumerate(EVERYDAY)],
)
INDEX = 3


@pytest.fixture(scope="module")
def loaded(tiny_dir: Path) -> LoadedModel:
    return load_model(str(tiny_dir))


@pytest.fixture(scope="module")
def parent(tiny_run: Path, loaded: LoadedModel) -> Parent:
    return open_parent(open_run(tiny_run), loaded)


@pytest.fixture(scope="module")
def data(parent: Parent) -> PromptData:
    return load_again(None, parent.run.manifest["data"])


@pytest.fixture(scope="module", autouse=True)
def few() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_texts, "scoring_twins", lambda: PAIRS)
        patch.setattr(scene_texts, "scoring_everyday", lambda: EVERYDAY)
        yield patch


@pytest.fixture(scope="module")
def texts(parent: Parent, data: PromptData) -> Texts:
    return make_texts(parent, data, SAID, "word")


@pytest.fixture(scope="module")
def sparing(parent: Parent, texts: Texts) -> Sparing:
    return Sparing.score(parent, texts)


@pytest.fixture(scope="module")
def effect(loaded: LoadedModel) -> Callable[[Sequence[Sample]], np.ndarray]:
    """``−W ⊙ E[∇L]`` of one matrix by autograd, one sample at a time."""
    weight = loaded.model.get_parameter(loaded.table[INDEX].param_name)

    def of(samples: Sequence[Sample]) -> np.ndarray:
        total = torch.zeros_like(weight)
        weight.requires_grad_(True)
        try:
            for s in samples:
                ids = torch.tensor([s.ids])
                logits = loaded.model(input_ids=ids).logits[0, s.n_prompt - 1 : -1].float()
                loss = torch.nn.functional.cross_entropy(logits, ids[0, s.n_prompt :])
                (gradient,) = torch.autograd.grad(loss, weight)
                total += gradient
        finally:
            weight.requires_grad_(False)
        return np.asarray((total * weight.detach() / -len(samples)).numpy().ravel())

    return of


def test_scores_are_those_of_the_texts(
    sparing: Sparing,
    parent: Parent,
    loaded: LoadedModel,
    data: PromptData,
    effect: Callable[[Sequence[Sample]], np.ndarray],
) -> None:
    harmful, harmless = samples_of(loaded, SAID.pairs, "word")
    np.testing.assert_allclose(sparing.harmful["twin"][INDEX], effect(harmful), atol=1e-6)
    spec = RunSpec.of_run(parent.run.manifest["parameters"])
    types = [effect(scoring_samples(loaded, data, spec, c)) for c in parent.candidates.categories]
    assert len(types) > 1
    np.testing.assert_allclose(sparing.harmful["guarded"][INDEX], np.mean(types, axis=0), atol=1e-6)
    answers = [own_answers(loaded, EVERYDAY), harmless, everyday_samples(loaded, SAID.everyday, "word")]
    np.testing.assert_allclose(
        sparing.answers[INDEX], np.maximum(np.max([effect(s) for s in answers], axis=0), 0), atol=1e-6
    )
    refusals = [declined(loaded, EVERYDAY), declined(loaded, [twin.harmless for twin in PAIRS])]
    said = [s.ids[s.n_prompt :] for s in refusals[0]]
    assert said[0] != said[1], "openings take turns"
    np.testing.assert_allclose(
        sparing.declining[INDEX],
        np.maximum(
            np.max(
                [*(-effect(s) for s in refusals), effect(declined(loaded, [twin.harmful for twin in PAIRS])) / 4],
                axis=0,
            ),
            0,
        ),
        atol=1e-6,
    )
    assert sparing.declining[INDEX].max() > 0


def test_what_a_map_was_scored_on_is_scored_as_the_map_did(sparing: Sparing, parent: Parent) -> None:
    found = parent.candidates
    here = np.flatnonzero(found.matrix == INDEX)
    stored = found.score("mean", rows=here)
    np.testing.assert_allclose(sparing.harmful["guarded"][INDEX][found.flat[here]], stored, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("how", ["guarded", "twin"])
def test_masks_and_their_mirrors_are_the_best_of_a_full_ranking(
    sparing: Sparing, texts: Texts, parent: Parent, how: Selector
) -> None:
    table, wanted = parent.candidates.table, sparing.harmful[how]

    def best(gain: Sequence[np.ndarray], loss: Sequence[np.ndarray], n: int) -> list[int]:
        score = np.concatenate(
            [
                np.where(parent.candidates.eligible(i, 0.01), more - 2 * np.maximum(np.maximum(less, d), 0), -1)
                for i, (more, less, d) in enumerate(zip(gain, loss, sparing.declining, strict=True))
            ]
        )
        first = np.argsort(-score, kind="stable")[:n]
        return sorted(first[score[first] > 0].tolist())

    n = int(4e-2 * table.n_weights)
    masks = SparingMasks(parent, sparing.grid([(4e-2, 0.01)]), scored_prompts())
    mask, mirror = masks.mask(4e-2, 0.01, how), masks.mirror(4e-2, 0.01, how)
    assert mask is not None
    assert mirror is not None
    assert mask.to_global(table).tolist() == best(wanted, sparing.answers, n)
    assert mirror.to_global(table).tolist() == best(sparing.answers, wanted, n)
    assert not set(mirror.to_global(table)) & set(mask.to_global(table))
    assert (mask.kind, mask.provenance["contrast"], mask.provenance["n_requested"]) == ("harm", how, n)
    control = {"guarded": "mirror_benign", "twin": "mirror_twin"}[how]
    assert (mirror.kind, mirror.provenance["control"]) == ("control", control)
    scored = {PromptRow("x", request, "").prompt_id for request in (*EVERYDAY, *(h for pair in PAIRS for h in pair))}
    assert scored < set(mask.provenance["scoring_prompts"]), "evaluation leaves out what it was scored on"


def test_who_has_no_author_or_no_data_has_the_other_selection_alone(parent: Parent, data: PromptData) -> None:
    without_author = make_texts(parent, data, None, "word")
    assert set(without_author.harmful) == {"guarded"}
    assert len(without_author.answers) == 1
    without_data = make_texts(parent, None, SAID, "word")
    assert set(without_data.harmful) == {"twin"}
    assert without_data.n_samples == 5 + 8 * 2 + 5 + 5 + 8 + 8
    told: list[tuple[int, int]] = []
    found = Sparing.score(parent, without_data, lambda done, total: told.append((done, total)))
    assert told[-1] == (without_data.n_samples, without_data.n_samples)
    masks = SparingMasks(parent, found.grid([(1e-2, 0.01)]))
    assert masks.mask(1e-2, 0.01, "twin") is not None
    assert masks.mask(1e-2, 0.01, "guarded") is None, "it was not scored"


def test_between_two_stored_protections_nothing_is_settled(sparing: Sparing, parent: Parent) -> None:
    """There the run knows only which weights the next higher one protects."""
    assert 0.02 not in parent.candidates.p_grid
    with pytest.raises(SelectionInexact, match=r"protected at p = 0, 0\.01.*, not at 0\.02"):
        check_settled(parent, 0.02)
    with pytest.raises(SelectionInexact, match=r"not at 0\.02"):
        sparing.grid([(1e-2, 0.01), (1e-2, 0.02)])


def test_guarded_masks_alone_need_no_pairs(parent: Parent, data: PromptData) -> None:
    few = replace(SAID, pairs=SAID.pairs[:3])
    with pytest.raises(DataInvalid, match="3 twins have two usable answers"):
        make_texts(parent, data, few, "word")
    found = make_texts(parent, data, few, "word", twin=False)
    assert set(found.harmful) == {"guarded"}
    assert [len(samples) for samples in found.answers[1:]] == [3, 5], "what the author said is spared all the same"


def test_what_cannot_be_scored_is_said(parent: Parent, few: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataInvalid, match="7 twins have two usable answers"):
        make_texts(parent, None, Opened(SAID.pairs[:7], SAID.everyday), "word")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_texts, "generate_batch", lambda loaded, prompts, limit: [[] for _ in prompts])
        with pytest.raises(DataInvalid, match="says nothing to everyday requests"):
            make_texts(parent, None, None, "word")
