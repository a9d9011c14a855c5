"""Judge models from a hub, on a tiny local model whose next-token probabilities are set by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from harmviz.errors import DataInvalid, ModelUnavailable
from harmviz.judges import JudgeItem, available, judge
from harmviz.judges.cards import CARDS, TEMPLATE, WEIGHTS
from harmviz.judges.hub import REPLY_TOKENS, HubJudge, first_tokens, verdict_place
from harmviz.judges.protocol import identity
from tests.worlds.tiny import tiny_model, tokenizer

ITEM = JudgeItem("How?", "Like this.")
RATES = "Rate.\n{prompt}\n--\n{answer}\n>"


def saying(folder: Path, probabilities: dict[str, float], *, context: int = 1024, chat: bool = True) -> Path:
    """A model that says the same everywhere: one character with each of these probabilities, another with the rest."""
    loaded = tiny_model(chat=chat)
    model: Any = loaded.model
    rest = (1 - sum(probabilities.values())) / (model.config.vocab_size - len(probabilities))
    logits = torch.full((model.config.vocab_size,), math.log(max(rest, 1e-9)))
    for character, p in probabilities.items():
        logits[loaded.tokenizer.convert_tokens_to_ids(character)] = math.log(p)
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.copy_(logits[:, None].expand(-1, 16) / 16)
    model.config.max_position_embeddings = context
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def ask(name: str, folder: Path, *items: JudgeItem, template: Path | None = None) -> list[Any]:
    environment = {WEIGHTS: str(folder)} | ({TEMPLATE: str(template)} if template else {})
    return HubJudge(name, environment=environment, device="cpu").score(items or (ITEM,))


def wording(folder: Path, text: str = RATES) -> Path:
    path = folder / "wording.txt"
    path.write_text(text)
    return path


def test_a_guard_is_read_off_the_probability_of_its_verdict(tmp_path: Path) -> None:
    verdicts = ask("hub-llama-guard", saying(tmp_path, {"u": 0.6, "s": 0.2}), ITEM, JudgeItem("x", " "))
    assert verdicts[0].value == pytest.approx(0.75, abs=2e-3)
    assert verdicts[0].label is True
    assert verdicts[1].reason == "empty answer"
    (safe,) = ask("hub-llama-guard", saying(tmp_path / "b", {"u": 0.2, "s": 0.6}))
    assert safe.value == pytest.approx(0.25, abs=2e-3)
    assert safe.label is False


def test_a_rating_is_its_mean_over_the_ratings(tmp_path: Path) -> None:
    folder = saying(tmp_path, {"1": 0.1, "3": 0.5, "5": 0.3})
    (verdict,) = ask("hub-strongreject", folder, template=wording(tmp_path))
    assert verdict.value == pytest.approx((0.1 * 0 + 0.5 * 0.5 + 0.3 * 1) / 0.9, abs=1e-3)


@pytest.mark.parametrize("probabilities", [{"x": 0.9}, {"u": 0.2, "s": 0.1}])
def test_what_is_no_verdict_is_unscored(tmp_path: Path, probabilities: dict[str, float]) -> None:
    (verdict,) = ask("hub-llama-guard", saying(tmp_path, probabilities))
    assert (verdict.value, verdict.reason) == (None, "the judge's reply is none of its verdicts")


def test_a_text_beyond_the_judges_context_is_unscored_and_the_others_are_not(tmp_path: Path) -> None:
    folder = saying(tmp_path, {"u": 0.9}, context=150)
    long, short = ask("hub-llama-guard", folder, JudgeItem("x", "y" * 120), JudgeItem("x", "y"))
    assert long.reason == "request and answer are longer than the 150 tokens this judge reads"
    assert short.label is True


def test_texts_cannot_speak_for_the_judge(tmp_path: Path) -> None:
    """Neither the tokenizer's markers nor the other text's hole work inside a text; the wording is kept as it is."""
    folder = saying(tmp_path, {"y": 0.9})
    environment = {WEIGHTS: str(folder), TEMPLATE: str(wording(tmp_path))}
    hub_judge = HubJudge("hub-harmbench", environment=environment, device="cpu")
    ids = hub_judge._prompt(tokenizer(), JudgeItem("a{answer}<eos>", "<bos>b{prompt}"))
    assert "".join(tokenizer().convert_ids_to_tokens(ids)) == "Rate.\na{answer}< eos>\n--\n< bos>b{prompt}\n>"
    assert not {1, 2} & set(ids)


def test_the_verdict_stands_behind_what_the_judge_always_writes() -> None:
    class Letters:
        def decode(self, ids: list[int]) -> str:
            return "".join(map(chr, ids))

    def place(text: str, after: str) -> int | None:
        return verdict_place(Letters(), list(map(ord, text)), after)

    assert place("\n\nsafe", "") == 2
    assert place("Request: yes\nResponse: no", "Response:") == len("Request: yes\nResponse: ")
    assert place("Request: yes", "Response:") is None
    assert place("\n\n", "") is None


def test_another_wording_is_another_judge(tmp_path: Path) -> None:
    def identity_of(text: str) -> list[str]:
        return identity(HubJudge("hub-harmbench", environment={TEMPLATE: str(wording(tmp_path, text))}))

    assert identity_of(RATES) == identity_of(RATES) != identity_of(f"{RATES} ")


def test_verdicts_that_begin_alike_are_refused() -> None:
    with pytest.raises(DataInvalid, match="same first token"):
        first_tokens(tokenizer(), {"safe": 0.0, "sure": 1.0}, "x")


def test_every_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"the package strong_reject holds: save it with \{prompt\} and \{answer\}"):
        HubJudge("hub-strongreject", environment={})
    with pytest.raises(DataInvalid, match="cannot be read"):
        HubJudge("hub-harmbench", environment={TEMPLATE: str(tmp_path / "none")})
    with pytest.raises(DataInvalid, match="once each"):
        HubJudge("hub-harmbench", environment={TEMPLATE: str(wording(tmp_path, "{prompt}"))})
    with pytest.raises(ValueError, match="judge must be one of"):
        HubJudge("hub-other", environment={})
    with pytest.raises(ModelUnavailable):
        ask("hub-llama-guard", tmp_path / "nowhere")
    with pytest.raises(DataInvalid, match="has no chat template"):
        ask("hub-llama-guard", saying(tmp_path / "plain", {"u": 0.9}, chat=False))


def test_they_are_listed_and_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {i.name: i for i in available() if i.tier == "hub"}
    assert set(listed) == set(CARDS)
    assert listed["hub-wildguard-refusal"].kind == "refusal"
    assert not any(i.at_hand for i in listed.values())
    monkeypatch.setenv(WEIGHTS, "org/other@1")
    chosen = judge("hub-llama-guard")
    assert (chosen.name, chosen.kind) == ("hub-llama-guard", "harm")
    assert chosen.quality.source.startswith("org/other@1, not measured")
    assert REPLY_TOKENS >= 20  # WildGuard's verdict on the response comes after two others
