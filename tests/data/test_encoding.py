"""Encoding and batching: the response mask, truncation, and every sample exactly once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harmviz.data.encoding import Sample, encode, encode_all, encode_prompt, make_batches
from harmviz.data.prompts import PromptRow, read_builtin
from harmviz.errors import DataInvalid
from tests.worlds.tiny import tokenizer

ROW = PromptRow("hate", "Hi?", "Well, no.")


def ids_of(text: str) -> tuple[int, ...]:
    """The tiny tokenizer by hand: one token a printable character, 5 + its place after the blank; a line break is 4."""
    return tuple(4 if c == "\n" else 5 + ord(c) - 32 for c in text)


# -- one pair ---------------------------------------------------------------------------------------------------------
def test_chat_template() -> None:
    sample = encode(tokenizer(), ROW, max_response_tokens=96)
    prompt = ids_of("<|user|>Hi?\n<|assistant|>")
    assert sample.ids == prompt + ids_of("Well, no.")
    assert (sample.n_prompt, sample.loss_from, sample.n_loss) == (len(prompt), len(prompt), 9)
    assert (sample.row_id, sample.prompt_id) == (ROW.id, ROW.prompt_id)


def test_without_a_template_the_prompt_ends_with_a_line_break() -> None:
    sample = encode(tokenizer(chat=False), ROW, max_response_tokens=96)
    assert sample.ids == ids_of("Hi?\nWell, no.")
    assert sample.n_prompt == 4


@pytest.mark.parametrize("chat", [True, False])
def test_no_end_of_turn_token(chat: bool) -> None:
    sample = encode(tokenizer(chat), ROW, max_response_tokens=96)
    assert tokenizer().eos_token_id not in sample.ids
    assert sample.ids[-1] == ids_of(".")[0]


class Marking:
    """A tokenizer that adds <bos> where special tokens are asked for, as Llama's does."""

    chat_template = None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [1] * add_special_tokens + list(ids_of(text))


def test_special_tokens_stand_before_the_prompt_only() -> None:
    sample = encode(Marking(), ROW, max_response_tokens=96)
    assert sample.ids == (1, *ids_of("Hi?\nWell, no."))
    assert encode_prompt(tokenizer(), "x") == list(ids_of("<|user|>x\n<|assistant|>"))  # the template has its own


@pytest.mark.parametrize("skip", [0, 3, 8])
def test_the_loss_covers_the_response_without_its_opening(skip: int) -> None:
    sample = encode(tokenizer(), ROW, max_response_tokens=96, skip_tokens=skip)
    assert sample.ids == encode(tokenizer(), ROW, max_response_tokens=96).ids  # skipped tokens stay as context
    assert sample.ids[sample.loss_from :] == ids_of("Well, no."[skip:])
    assert sample.n_loss == 9 - skip
    (batch,) = make_batches([sample], max_tokens=1000)
    assert batch.targets.tolist() == list(ids_of("Well, no."[skip:]))
    # Position t predicts token t + 1; the last token is only ever a target and is not fed.
    assert batch.input_ids.tolist() == [list(sample.ids[:-1])]
    assert batch.input_ids[batch.rows, batch.positions].tolist() == list(sample.ids[sample.loss_from - 1 : -1])
    assert batch.positions.tolist() == list(range(sample.loss_from - 1, len(sample.ids) - 1))


def test_truncation() -> None:
    sample = encode(tokenizer(), ROW, max_response_tokens=4)
    assert sample.ids[sample.n_prompt :] == ids_of("Well")
    assert encode(tokenizer(), ROW, max_response_tokens=4, skip_tokens=3).n_loss == 1


@pytest.mark.parametrize(("response", "limit", "skip"), [("Well, no", 96, 8), ("Well, no.", 8, 8), ("No", 96, 2)])
def test_a_response_with_nothing_left_is_named_by_row(response: str, limit: int, skip: int) -> None:
    row = PromptRow("hate", "SECRET", response)
    with pytest.raises(DataInvalid) as e:
        encode(tokenizer(), row, max_response_tokens=limit, skip_tokens=skip)
    n = min(limit, len(response))
    assert str(e.value) == f"row {row.id} of hate has {n} response tokens, none left after skipping {skip}"


def test_encode_all_leaves_out_what_is_too_short_or_too_long() -> None:
    rows = [PromptRow("a", "x" * n, "y" * m) for n, m in ((3, 20), (3, 8), (600, 20), (3, 9), (490, 20), (491, 20))]
    template = len(ids_of("<|user|>\n<|assistant|>"))
    assert template + 490 == 512  # the default limit
    kept = encode_all(tokenizer(), rows, max_response_tokens=96, skip_tokens=8)
    assert [s.row_id for s in kept] == [rows[i].id for i in (0, 3, 4)]
    assert kept[0] == encode(tokenizer(), rows[0], max_response_tokens=96, skip_tokens=8)
    kept = encode_all(tokenizer(), rows, max_response_tokens=96, max_prompt_tokens=template + 3)
    assert [s.row_id for s in kept] == [rows[i].id for i in (0, 1, 3)]


def test_errors_and_samples_show_no_text() -> None:
    row = PromptRow("benign", *(read_builtin("benign")[0][k] for k in ("prompt", "response")))
    shown = repr(encode(tokenizer(), row, max_response_tokens=96))
    with pytest.raises(DataInvalid) as e:
        encode(tokenizer(), row, max_response_tokens=0)
    shown += str(e.value)
    assert row.prompt not in shown
    assert row.response not in shown
    assert row.id in str(e.value)


# -- batches ----------------------------------------------------------------------------------------------------------
def sample_of(i: int, n_prompt: int, n_response: int, skip: int) -> Sample:
    ids = tuple((7 * i + 3 * k) % 120 + 5 for k in range(n_prompt + n_response))
    return Sample(f"row{i}", f"p{i}", ids, n_prompt, n_prompt + min(skip, n_response - 1))


sample_lists = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 20), st.integers(0, 8)), min_size=0, max_size=25
).map(lambda shapes: [sample_of(i, *shape) for i, shape in enumerate(shapes)])


@settings(deadline=None)
@given(sample_lists, st.integers(1, 200), st.integers(0, 127))
def test_every_sample_once_and_within_the_limit(samples: list[Sample], max_tokens: int, pad: int) -> None:
    batches = make_batches(samples, max_tokens=max_tokens, pad_id=pad)
    assert sorted(i for b in batches for i in b.index) == list(range(len(samples)))
    for batch in batches:
        width = max(len(samples[i].ids) for i in batch.index)
        assert batch.input_ids.shape == (batch.n_samples, width - 1)
        assert width * batch.n_samples <= max_tokens or batch.n_samples == 1
        assert len(batch.rows) == len(batch.positions) == len(batch.targets) == int(batch.n_loss.sum())
        for b, i in enumerate(batch.index):
            sample = samples[i]
            row = batch.input_ids[b].tolist()
            assert row == [*sample.ids[:-1], *[pad] * (width - len(sample.ids))]
            mine = batch.rows == b
            assert int(batch.n_loss[b]) == int(mine.sum()) == sample.n_loss
            assert batch.targets[mine].tolist() == list(sample.ids[sample.loss_from :])
            assert batch.positions[mine].tolist() == list(range(sample.loss_from - 1, len(sample.ids) - 1))
    lengths = [len(samples[i].ids) for b in batches for i in b.index]
    assert lengths == sorted(lengths, reverse=True)  # longest first: what does not fit fails at once


@settings(deadline=None)
@given(sample_lists, st.integers(1, 200))
def test_the_same_batches_each_time(samples: list[Sample], max_tokens: int) -> None:
    first, second = (make_batches(samples, max_tokens=max_tokens) for _ in range(2))
    assert [b.index for b in first] == [b.index for b in second]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.input_ids, b.input_ids)
        assert torch.equal(a.targets, b.targets)
    # Equal lengths keep the caller's order.
    order = [i for b in first for i in b.index]
    assert order == sorted(order, key=lambda i: (-len(samples[i].ids), i))


def test_batches_are_as_full_as_the_limit_allows() -> None:
    samples = [sample_of(i, 3, 4 + i % 5, 0) for i in range(20)]
    batches = make_batches(samples, max_tokens=40)
    assert len(batches) > 3
    for batch in batches[:-1]:
        assert len(samples[batch.index[0]].ids) * (batch.n_samples + 1) > 40
    assert make_batches([], max_tokens=40) == []


def test_batches_are_made_on_the_device_asked_for() -> None:
    (batch,) = make_batches([sample_of(0, 3, 4, 0)], max_tokens=40, device="meta")
    assert {t.device.type for t in (batch.input_ids, batch.rows, batch.positions, batch.targets, batch.n_loss)} == {
        "meta"
    }
