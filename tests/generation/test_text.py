"""Streamed pieces hold whole characters only, and join to the text of all tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harmviz.generation.text import StreamDecoder, whole_text


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte: every character outside ASCII spans several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)} | {"<end>": 256}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """Sentencepiece's way: a token's leading space is dropped at the start of a text."""
    core = Tokenizer(models.WordLevel({"▁one": 0, "▁two": 1, "three": 2, "<unk>": 3}, unk_token="<unk>"))
    core.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


def spelled_tokenizer() -> PreTrainedTokenizerFast:
    """Llama 2's way: bytes are spelled, and one leading space of the text is dropped."""
    vocab = {f"<0x{i:02X}>": i for i in range(256)} | {"▁the": 256, "<unk>": 257, "</s>": 258}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="</s>")


BYTES, SPACED, SPELLED = byte_tokenizer(), spaced_tokenizer(), spelled_tokenizer()


@given(st.text(max_size=30))
def test_pieces_join_to_the_text_and_are_whole(text: str) -> None:
    stream = StreamDecoder(BYTES)
    ids = BYTES.encode(text, add_special_tokens=False)
    pieces = [stream.push(t) for t in ids]
    assert all("�" not in p for p in pieces) or "�" in text
    assert "".join(pieces) + stream.flush() == text


@given(st.lists(st.integers(0, 256), max_size=40))
def test_any_bytes_at_all(ids: list[int]) -> None:
    """Broken UTF-8 too: late rather than wrong, and never lost."""
    assert whole_text(BYTES, ids) == BYTES.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@given(st.text(max_size=20), st.sampled_from(["", "so ", "é"]), st.sampled_from(["bytes", "spelled"]))
def test_the_librarys_stream_gives_the_same_pieces_where_it_serves(text: str, opening: str, kind: str) -> None:
    tokenizer = BYTES if kind == "bytes" else SPELLED
    context, ids = (
        BYTES.encode(t, add_special_tokens=False) if kind == "bytes" else list(t.encode()) for t in (opening, text)
    )
    ours, theirs = StreamDecoder(tokenizer, context), decoders.DecodeStream(context, skip_special_tokens=True)
    assert [ours.push(t) for t in ids] == [theirs.step(tokenizer.backend_tokenizer, t) or "" for t in ids]


def test_spaces_that_open_a_text_survive_but_for_the_one_that_is_no_text() -> None:
    assert whole_text(SPELLED, list(b"   a")) == SPELLED.decode(list(b"   a")) == "  a"
    assert whole_text(SPELLED, [258, 256, 258, 256]) == "the the"


def test_an_emoji_arrives_at_its_last_byte() -> None:
    stream = StreamDecoder(BYTES)
    assert [stream.push(t) for t in BYTES.encode("a🙂b", add_special_tokens=False)] == ["a", "", "", "", "🙂", "b"]
    assert stream.flush() == ""


def test_an_unfinished_character_comes_with_the_flush() -> None:
    stream = StreamDecoder(BYTES)
    assert [stream.push(t) for t in BYTES.encode("é", add_special_tokens=False)[:1]] == [""]
    assert stream.flush() == "�"
    assert stream.flush() == ""


def test_spaces_between_words_survive() -> None:
    stream = StreamDecoder(SPACED)
    assert [stream.push(t) for t in (0, 1, 2, 1)] == ["one", " two", "three", " two"]


def test_context_shapes_spacing_but_is_not_output() -> None:
    assert StreamDecoder(SPACED).push(1) == "two"
    assert StreamDecoder(SPACED, [0]).push(1) == " two"
    assert whole_text(SPACED, [1, 2], [0, 0, 2]) == " twothree"


def test_special_tokens_give_no_text() -> None:
    assert whole_text(BYTES, [*BYTES.encode("hi"), 256, *BYTES.encode("!")]) == "hi!"


@pytest.mark.slow
def test_the_embedded_tokenizer() -> None:
    from transformers import AutoTokenizer

    from harmviz.models.assets import embedded_model_dir

    tokenizer = AutoTokenizer.from_pretrained(embedded_model_dir(lambda _: None))
    for text in ("Naïve café, 東京 🙂👩‍👩‍👧!", " leading space\n\n* a list\n", "tabs\tand  spaces"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        stream = StreamDecoder(tokenizer)
        pieces = [stream.push(t) for t in ids]
        assert all("�" not in p for p in pieces)
        assert "".join(pieces) + stream.flush() == text
