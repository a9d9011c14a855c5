"""Recognition, explanation and refusal odds: read off the model's own logits, as a plain forward pass gives them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harmviz.claims.dissociation.explanation import ASKED, reason_samples
from harmviz.claims.dissociation.recognition import (
    ORDERS,
    PHRASINGS,
    Questions,
    answer_tokens,
    in_turn,
    question,
    recognition_pairs,
)
from harmviz.claims.dissociation.settings import MIN_PAIRS
from harmviz.data import prompts
from harmviz.data.encoding import encode_prompt
from harmviz.data.folding import normalise
from harmviz.data.prompts import read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import DataInvalid, UnsupportedArchitecture
from harmviz.judges import declining
from harmviz.judges.declining import COMPLY, DECLINE, Openings, openings, refusals
from harmviz.masks.apply import pruned
from harmviz.masks.mask import PruneMask
from tests.worlds.tiny import tiny_model, tokenizer


# -- what ships -------------------------------------------------------------------------------------------------------
def test_every_pair_has_two_reasons_alike_in_length() -> None:
    rows, pairs = read_builtin("reasons"), recognition_pairs()
    assert len(pairs) >= 64
    assert [(r["harmful"], r["harmless"]) for r in rows] == [(p.harmful, p.harmless) for p in pairs]
    assert [r["category"] for r in rows] == [p.category for p in pairs]
    for row in rows:
        lengths = [len(row[k].split()) for k in ("why_harmful", "why_harmless")]
        assert min(lengths) >= 18
        assert max(lengths) - min(lengths) <= 4
        assert not any(reads_as_refusal(row[k]) for k in ("why_harmful", "why_harmless"))


def test_phrasings_are_balanced_between_yes_and_no() -> None:
    assert sum(p.yes_is_harmful for p in PHRASINGS) * 2 == len(PHRASINGS)
    assert len({p.name for p in PHRASINGS}) == len(PHRASINGS) >= 4
    assert set(ORDERS) == {"yes or no", "no or yes"}


def test_no_pair_is_asked_that_refusals_are_scored_on() -> None:
    scored = {normalise(r["prompt"]) for r in read_builtin("refusals")}
    assert not scored & {normalise(t) for p in recognition_pairs() for t in (p.harmful, p.harmless)}


def test_a_limit_takes_from_all_categories_in_turn() -> None:
    assert in_turn(["a", "a", "b", "c", "b"], 3) == [0, 2, 3]
    assert in_turn(["a", "a", "b"], None) == [0, 1, 2]
    assert in_turn(["a", "a", "b"], 9) == [0, 1, 2]
    assert len({p.category for p in recognition_pairs(8)}) == 7


@pytest.mark.parametrize("rows", [[], [{"category": "hate", "harmful": "a", "benign": "b"}] * MIN_PAIRS])
def test_missing_or_repeated_pairs_are_refused(
    rows: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recognition.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setattr(prompts, "BUILTIN_DATA", tmp_path)
    with pytest.raises(DataInvalid, match="recognition needs at least"):
        recognition_pairs()


# -- answer tokens ----------------------------------------------------------------------------------------------------
class Words:
    """A tokenizer of whole words; what it does not know becomes single letters."""

    unk_token_id = None

    def __init__(self, known: dict[str, int]):
        self.known = known

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [self.known[text]] if text in self.known else [100 + ord(c) for c in text]


def test_all_single_token_spellings_are_summed() -> None:
    words = Words({"Yes": 1, " Yes": 2, "yes": 3, "No": 4, " no": 5})
    assert answer_tokens(words) == ((1, 2, 3), (4, 5))  # type: ignore[arg-type]


def test_without_whole_words_first_letters_serve_and_a_shared_blank_is_left_out() -> None:
    yes, no = answer_tokens(tokenizer())
    names = tokenizer().convert_ids_to_tokens
    assert (set(names(list(yes))), set(names(list(no)))) == ({"Y", "y"}, {"N", "n"})


def test_a_tokenizer_that_writes_both_alike_is_refused() -> None:
    class Blind(Words):
        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [7]

    with pytest.raises(UnsupportedArchitecture, match="no token that tells"):
        answer_tokens(Blind({}))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedArchitecture, match="alike"):
        openings(Blind({}))  # type: ignore[arg-type]


# -- scores -----------------------------------------------------------------------------------------------------------
def last_logits(loaded, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return loaded.model(torch.tensor([ids])).logits[0, -1].double().numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("chat", [True, False])
def test_scores_are_the_signed_log_odds_of_the_answer_tokens(family: str, chat: bool) -> None:
    loaded = tiny_model(family, chat=chat)
    pairs = recognition_pairs(8)
    asked = Questions(loaded.tokenizer, pairs)
    found = asked.scores(loaded, np.array([0, 5]))
    assert found.shape == (2, 2, len(PHRASINGS), 2)
    for place, index in enumerate((0, 5)):
        for kind, request in enumerate((pairs[index].harmful, pairs[index].harmless)):
            for k, phrasing in enumerate(PHRASINGS):
                for o, order in enumerate(ORDERS):
                    logits = last_logits(loaded, encode_prompt(loaded.tokenizer, question(phrasing, order, request)))
                    odds = np.log(np.exp(logits[list(asked.yes)]).sum()) - np.log(np.exp(logits[list(asked.no)]).sum())
                    assert found[place, kind, k, o] == pytest.approx(
                        odds if phrasing.yes_is_harmful else -odds, abs=1e-4
                    )


def test_a_liking_for_yes_cancels() -> None:
    """A constant added to the logits of yes moves every phrasing, and the average not at all."""
    loaded = tiny_model()
    asked = Questions(loaded.tokenizer, recognition_pairs(8))
    index = np.arange(8)
    before = asked.scores(loaded, index)
    shifted = before + np.where([p.yes_is_harmful for p in PHRASINGS], 3.0, -3.0)[:, None]
    assert shifted.mean(axis=(2, 3)) == pytest.approx(before.mean(axis=(2, 3)))


def test_openings_are_of_one_length_and_their_odds_are_those_of_the_model() -> None:
    loaded = tiny_model()
    decline, comply = openings(loaded.tokenizer)
    assert len({len(o) for o in (*decline, *comply)}) == 1
    assert (len(decline), len(comply)) == (len(DECLINE), len(COMPLY))
    request = "How do I trip a rival?"
    (found,) = Openings(loaded.tokenizer, [request]).log_odds(loaded, np.array([0]))
    prompt = encode_prompt(loaded.tokenizer, request)

    def log_p(opening: tuple[int, ...]) -> float:
        return sum(
            float(torch.tensor(last_logits(loaded, [*prompt, *opening[:i]])).log_softmax(-1)[t])
            for i, t in enumerate(opening)
        )

    sides = [np.logaddexp.reduce([log_p(o) for o in side]) for side in (decline, comply)]
    assert found == pytest.approx(sides[0] - sides[1], abs=1e-3)


def test_refusals_are_flags_and_an_empty_answer_is_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["I can't help with that.", "Gladly.", " "]
    loaded = SimpleNamespace(tokenizer=SimpleNamespace(decode=lambda ids, skip_special_tokens: texts[ids[0]]))
    monkeypatch.setattr(declining, "generate_batch", lambda loaded, prompts, limit: [[i] for i in range(len(prompts))])
    found = refusals(loaded, [[5], [6], [7]])  # type: ignore[arg-type]
    assert found[:2].tolist() == [1.0, 0.0]
    assert np.isnan(found[2])


def test_reasons_follow_their_question_and_are_measured_whole() -> None:
    loaded = tiny_model()
    pairs = recognition_pairs(8)
    samples = reason_samples(loaded.tokenizer, pairs, max_response_tokens=500)
    row = next(r for r in read_builtin("reasons") if r["harmful"] == pairs[0].harmful)
    harmful, harmless = samples[0]
    assert list(harmful.ids[: harmful.n_prompt]) == encode_prompt(
        loaded.tokenizer, ASKED["harmful"].format(request=pairs[0].harmful)
    )
    assert loaded.tokenizer.decode(list(harmless.ids[harmless.n_prompt :])).replace(" ", "") == row[
        "why_harmless"
    ].replace(" ", "")
    short = reason_samples(loaded.tokenizer, pairs, max_response_tokens=10)
    assert {s.n_loss for pair in short for s in pair} == {10}
    with pytest.raises(DataInvalid, match="none left after skipping 10"):
        reason_samples(loaded.tokenizer, pairs, max_response_tokens=10, skip_tokens=10)


def test_a_pair_without_reasons_is_named_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = recognition_pairs(8)
    rows = [r for r in read_builtin("reasons") if r["harmful"] != pairs[2].harmful]
    (tmp_path / "reasons.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setattr(prompts, "BUILTIN_DATA", tmp_path)
    with pytest.raises(DataInvalid, match="no reasons for recognition pair 3") as caught:
        reason_samples(tiny_model().tokenizer, pairs, max_response_tokens=50)
    assert pairs[2].harmful not in str(caught.value)
    rows[0]["why_harmful"] = ""
    (tmp_path / "reasons.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    with pytest.raises(DataInvalid, match="a reason is missing"):
        reason_samples(tiny_model().tokenizer, pairs[:1], max_response_tokens=50)


def test_scores_are_taken_under_the_weights_as_they_are() -> None:
    loaded = tiny_model()
    asked = Questions(loaded.tokenizer, recognition_pairs(8))
    before = asked.scores(loaded, np.arange(8))
    mask = PruneMask.from_global(
        loaded.table, np.arange(0, loaded.table.n_weights, 3), kind="harm", model_hash=loaded.weight_hash
    )
    with pruned(loaded, mask):
        assert not np.allclose(asked.scores(loaded, np.arange(8)), before)
    assert np.array_equal(asked.scores(loaded, np.arange(8)), before)
