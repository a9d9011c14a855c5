"""Untrusted text in a judge's prompt: role markers in it are broken, so that an answer cannot speak for the judge."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What judges' prompts and chat templates use to tell parts and speakers apart.
_BRACKETED = re.compile(
    r"<(?=\||/?s>|</?SYS>|/?SYS>|(?:start|end)_of_turn>|(?:BEGIN|END) |/?(?:bos|eos|pad|unk)>)|\[(?=/?INST\])",
    re.IGNORECASE,
)
_LINE = re.compile(
    r"^(?=[ \t]*(?:---|###|(?:user instruction|ai model response|behavior|generation|rules|answers?|human user"
    r"|ai assistant|user|agent|assistant|system|human|harmful request|response refusal|harmful response)[ \t]*:))",
    re.IGNORECASE | re.MULTILINE,
)


def escape_markers(text: str, special: Iterable[str] = ()) -> str:
    """``text`` with every role marker broken, so that it cannot end its own part of a judge's prompt.

    A space goes into bracketed markers and into each of the tokenizer's ``special`` strings, after the first character;
    a line that begins like a heading of a judge's prompt gets a ``>`` before it. Everything else stays as it is.
    """
    text = (
        text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").replace("\0", "")
    )
    text = _BRACKETED.sub(lambda m: f"{m.group()} ", text)
    for marker in sorted(set(special), key=lambda m: (-len(m), m)):
        if len(marker) > 1 and marker.strip() and not marker.isspace():
            text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return _LINE.sub("> ", text)
