"""JSON that somebody else may have written, read without believing it.

``json.loads`` takes what no manifest may hold: ``NaN`` and infinite numbers, halves of surrogate pairs that no file or
terminal can write, nesting that exhausts the stack of whoever walks it, one key twice. All of it is refused here, once,
so that no reader of a manifest has to think of it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

#: A large mixture of experts names tens of thousands of matrices.
MAX_BYTES = 32 << 20
#: The deepest manifests so far hold six levels.
MAX_DEPTH = 32
MAX_TEXT, MAX_KEY = 100_000, 4096
_MAX_INT = 1 << 63


def parse_json(content: bytes) -> Any:
    """The value that ``content`` says.

    Raises:
        ValueError: it is no JSON in UTF-8, larger than ``MAX_BYTES``, nested deeper than ``MAX_DEPTH``, or holds a
            number that is not finite (or a whole one beyond 64 bits), half a surrogate pair, a longer text than
            ``MAX_TEXT`` (``MAX_KEY`` as a key), or a key twice in one object.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
    try:
        value = json.loads(content.decode(), parse_constant=_not_finite, object_pairs_hook=_object)
    except UnicodeDecodeError as e:
        raise ValueError(f"it is no UTF-8 text (byte {e.start:,})") from e
    except RecursionError:  # beyond the parser's own limit; the chain of its calls says nothing
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    _check(value)
    return value


def read_json(path: Path) -> Any:
    """The value in a file, of which no more is read than may be parsed.

    Raises:
        ValueError: as ``parse_json``. OSError: the file cannot be read.
    """
    with path.open("rb") as f:
        return parse_json(f.read(MAX_BYTES + 1))


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"it holds the number {name}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it holds the key {twice[:80]!a} twice in one object")
    return made


def _check(value: Any) -> None:
    """Walks without recursion: the depth is what is being checked."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(item, str):
            _check_text(item, MAX_TEXT)
        elif isinstance(item, float) and not math.isfinite(item):  # 1e999
            raise ValueError("it holds a number that is not finite")
        elif isinstance(item, int) and abs(item) >= _MAX_INT:
            raise ValueError("it holds a whole number beyond 64 bits")
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]
        elif isinstance(item, dict):
            for key in item:
                _check_text(key, MAX_KEY)
            waiting += [(inner, depth + 1) for inner in item.values()]


def _check_text(text: str, most: int) -> None:
    if len(text) > most:
        raise ValueError(f"it holds a text of {len(text):,} characters, at most {most:,} are taken")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("it holds half of a surrogate pair, which is no text")
