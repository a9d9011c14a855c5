"""Whether tokenizer and model belong together: every token that a text can give needs an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harmviz.errors import ModelUnavailable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def n_embeddings(model: PreTrainedModel) -> int:
    """How many tokens the model has an embedding for."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def unembedded_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Special tokens of the tokenizer that the model has no embedding for, as Gemma 3's mark for an image.

    A text gives them only where it holds them letter by letter.

    Raises:
        ModelUnavailable: an ordinary token, or one that every prompt may hold, has no embedding.
    """
    n = n_embeddings(model)
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= n}
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token)
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special} - set(named)
    if ordinary := beyond.keys() - special:
        raise ModelUnavailable(
            f"its tokenizer gives token ids up to {max(beyond.values()):,}, but it has embeddings for {n:,} tokens "
            f"({len(ordinary):,} tokens without one); give the tokenizer that belongs to these weights"
        )
    return tuple(sorted(beyond))
