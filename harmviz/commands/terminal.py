"""Where output goes: any encoding, any width, a pipe that closes, a full disk. Always one line and an exit code.

What a terminal cannot encode is written in plain ASCII (``Δ`` as ``d``, ``−`` as ``-``); JSON is escaped instead, so
that it stays the same document. Output that cannot be written at all ends a command with one line, and never a run:
progress that nobody can read is no reason to stop computing.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import shutil
import sys
import unicodedata
from typing import IO

from harmviz.files import FULL, printable

_HANDLER = "harmviz.ascii"
_PLAIN = {
    **dict.fromkeys("−–—‐‑", "-"),
    **{"Δ": "d", "δ": "d", "ε": "eps", "Σ": "sum ", "≤": "<=", "≥": ">=", "±": "+/-", "…": "...", "·": "|", "×": "x"},
    **{"→": "->", "≈": "~", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\u00a0": " ", "∪": "or", "∩": "and"},
}
#: What a machine, not a mistake of harmviz, refuses: one line says so.
REFUSED = FULL | {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.ESTALE,
}


def _ascii(error: UnicodeError) -> tuple[str, int]:
    """A codec error handler: what the encoding lacks, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()


def prepare() -> None:
    """Lets stdout and stderr take any text, whatever their encoding."""
    codecs.register_error(_HANDLER, _ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def speaks_unicode() -> bool:
    """Whether stdout can encode every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-").startswith("utf")


def shown(cell: str) -> str:
    """A cell of a table as it will stand there: no control characters, and as wide as it looks."""
    text = printable(cell)
    if speaks_unicode():
        return text.encode(errors="backslashreplace").decode()
    return "".join(c if c.isascii() else _plain(c) for c in text)


def width() -> int | None:
    """Columns of the terminal; None where the output goes into a file or a pipe and ``COLUMNS`` says nothing."""
    if os.environ.get("COLUMNS", "").isdigit() or (sys.stdout is not None and sys.stdout.isatty()):
        return max(20, shutil.get_terminal_size().columns)
    return None


def tell(line: str) -> None:
    """One line on stderr; nothing where stderr is closed or cannot be written."""
    if sys.stderr is None:
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # full, closed, a broken pipe
        _silence(sys.stderr)


def finish(code: int) -> int:
    """Flushes what was printed, and returns what the process ends with: ``code``, or 1 where the output was lost.

    A closed pipe (``head``, ``less``) has seen enough, and is no failure.
    """
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except (OSError, ValueError) as e:
        _silence(sys.stdout)
        why = e.strerror if isinstance(e, OSError) else "it is closed"
        if code == 0:
            tell(f"harmviz: the output cannot be written ({why}); send it elsewhere")
            return 1
    return code


def refusal(error: OSError) -> str:
    """What the machine refused, where, and what to do, in one line."""
    if error.errno == errno.EFBIG:
        remedy = "raise the limit on file sizes (ulimit -f)"
    elif error.errno in FULL:
        remedy = "free some space there"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "raise the limit on open files (ulimit -n)"
    else:
        remedy = "check who may write there, or move everything with HARMVIZ_CACHE"
    if error.filename is None:
        return f"what is written here cannot be kept ({error.strerror}); {remedy}, or send the output elsewhere"
    return f"{printable(str(error.filename))} cannot be written or read ({error.strerror}); {remedy}"


def _silence(stream: IO[str]) -> None:
    """Sends what is left in a stream to nowhere: Python would try again, and complain, when the process ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return
