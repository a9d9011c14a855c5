"""Text from a stream of tokens: only whole characters leave, and the pieces join to exactly the text of all tokens."""

from __future__ import annotations

from collections.abc import Sequence

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
        before, now = self._text(self._window[: self._known]), self._text(self._window)
        if now == before:  # a special token: forgotten, so that the next window still starts with text
            self._window.pop()
            return ""
        if now.endswith(_BROKEN) or len(now) < len(before):
            return ""
        # The next window starts at the tokens just written out, which are whole characters.
        self._window = self._window[self._known :]
        self._known = len(self._window)
        return now[len(before) :]

    def flush(self) -> str:
        """What is still held back, unfinished characters as U+FFFD; at the end of the stream."""
        before, now = self._text(self._window[: self._known]), self._text(self._window)
        self._window = self._window[self._known :]
        self._known = len(self._window)
        return now[len(before) :]


def whole_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], context: Sequence[int] = ()) -> str:
    """The text of all tokens, as a StreamDecoder would have streamed it."""
    stream = StreamDecoder(tokenizer, context)
    return "".join([stream.push(t) for t in ids]) + stream.flush()
