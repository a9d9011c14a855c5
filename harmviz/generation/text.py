"""Text from a stream of tokens: only whole characters leave, and the pieces join to exactly the text of all tokens.

The steps are those of ``tokenizers.decoders.DecodeStream``, which does not serve here: it cannot give out what is still
held back when a stream ends, writes a context that ends inside a character out as text, and fails on broken bytes where
a vocabulary spells bytes (``<0xE2>``). Where both apply the pieces are the same, as a test holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: What a tokenizer writes for bytes that are not (yet) a whole character.
_BROKEN = "�"


class StreamDecoder:
    """Turns one pane's tokens into text as they come.

    A character may span several tokens (an emoji is up to four in byte-level vocabularies), and some tokenizers write
    a token differently at the start of a text (a dropped space). So a short window of earlier tokens is decoded with
    every new one, and text is held back while it ends in an unfinished character.

    ``context`` are tokens before the stream (an answer's opening words): they shape the spacing, never the output.
    Special tokens (end of turn) give no text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: Sequence[int] = ()):
        self._tokenizer = tokenizer
        self._window = list(context)[-8:]
        self._known = len(self._window)  # tokens of the window whose text is out

    def _text(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def push(self, token: int) -> str:
        """The text that this token completes; may be empty."""
        self._window.append(token)
        before, after = self._text(self._window[: self._known]), self._text(self._window)
        if len(after) <= len(before) or after.endswith(_BROKEN):
            return ""  # a special token, a space that opens the text, or an unfinished character: held back
        return self._write(after[len(before) :])

    def flush(self) -> str:
        """What is still held back, unfinished characters as U+FFFD; at the end of the stream."""
        before, after = self._text(self._window[: self._known]), self._text(self._window)
        return self._write(after[len(before) :])

    def _write(self, piece: str) -> str:
        """The piece; the next window starts at the tokens that are now written out."""
        self._window = self._window[self._known :]
        self._known = len(self._window)
        return piece


def whole_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], context: Sequence[int] = ()) -> str:
    """The text of all tokens, as a StreamDecoder would have streamed it."""
    stream = StreamDecoder(tokenizer, context)
    return "".join([stream.push(t) for t in ids]) + stream.flush()
