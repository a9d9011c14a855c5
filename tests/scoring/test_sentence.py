"""One sentence's score of one weight: as scores of sets say it, as a changed weight shows it, nothing left."""

from __future__ import annotations

import pytest
import torch

from harmviz.data.encoding import Sample, encode_prompt, make_batches
from harmviz.errors import DataInvalid, MaskInvalid
from harmviz.masks.apply import hash_weights
from harmviz.scoring.forward import sample_losses
from harmviz.scoring.sentence import MAX_TOKENS, score_sentence
from harmviz.scoring.signed import score_signed
from tests.worlds.tiny import FAMILIES, tiny_model

PROMPT, ANSWER = "Name a river.", "The Thames is one."


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_signed_score_of_this_answer_and_the_measured_change_is_real(family: str) -> None:
    loaded = tiny_model(family)
    before = hash_weights(loaded)
    prompt = encode_prompt(loaded.tokenizer, PROMPT)
    answer = loaded.tokenizer.encode(ANSWER, add_special_tokens=False)
    sample = Sample("a", "a", (*prompt, *answer), len(prompt), len(prompt))
    (batch,) = make_batches([sample], max_tokens=MAX_TOKENS)
    whole = score_signed(loaded, [batch])
    for index in (0, len(loaded.table) - 1):
        flat = int(whole[index].abs().argmax())
        score = score_sentence(loaded, PROMPT, ANSWER, loaded.table[index].name, flat)
        assert score.n_tokens == len(answer)
        assert score.predicted == pytest.approx(-float(whole[index].flatten()[flat]), rel=1e-4, abs=1e-9)
        assert score.predicted == pytest.approx(-score.weight * score.gradient, rel=1e-5)
        with torch.no_grad():
            matrix = loaded.tensor(index)
            old = float(matrix.flatten()[flat])
            matrix.view(-1)[flat] = 0.0
            zeroed = float(sample_losses(loaded, batch)[0])
            matrix.view(-1)[flat] = old
        assert score.measured == pytest.approx(zeroed - score.loss, abs=1e-6)
        assert score.higher == pytest.approx(float((-whole[index] > score.predicted).float().mean()), abs=1e-3)
    assert hash_weights(loaded) == before
    assert not any(p.requires_grad or p.grad is not None for p in loaded.model.parameters())


def test_what_cannot_be_scored_is_refused_in_one_line() -> None:
    loaded = tiny_model(FAMILIES[0])
    name = loaded.table[0].name
    with pytest.raises(DataInvalid, match="the answer is empty"):
        score_sentence(loaded, PROMPT, "", name, 0)
    with pytest.raises(DataInvalid, match=f"at most {MAX_TOKENS} are read"):
        score_sentence(loaded, PROMPT, "a b c " * MAX_TOKENS, name, 0)
    with pytest.raises(MaskInvalid):
        score_sentence(loaded, PROMPT, ANSWER, name, loaded.table[0].size)
