"""Logs without messages of faults: an exception's text may quote a prompt, an answer or a row of the data.

What is kept is the kind of the fault and where it happened. A deliberate error of harmviz keeps its message, which
names rows and files and never quotes text.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from harmviz.errors import HarmvizError

_factory = logging.getLogRecordFactory()


def described(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> str:
    """The fault as it is logged: frames and kind; the message only of a deliberate error. Causes are named likewise."""
    name = "exception" if kind is None else kind.__name__
    says = f": {error}" if isinstance(error, HarmvizError) else " (its message is not logged: it may hold text)"
    lines = [*traceback.format_tb(trace), f"{name}{says}"]
    cause = None if error is None else error.__cause__ or error.__context__
    if cause is not None:
        lines.append(f"\n  after {type(cause).__name__}\n{''.join(traceback.format_tb(cause.__traceback__))}".rstrip())
    return "".join(lines)


def _record(*args: Any, **settings: Any) -> logging.LogRecord:
    record = _factory(*args, **settings)
    if record.exc_info:
        record.exc_text, record.exc_info = described(*record.exc_info), None
    values = record.args.items() if isinstance(record.args, dict) else enumerate(record.args or ())
    if any(isinstance(value, BaseException) for _, value in values):
        record.msg, record.args = _without(record), ()
    return record


def _without(record: logging.LogRecord) -> str:
    """The message of a record with the kinds of the exceptions in it, instead of what they say."""

    def shown(value: object) -> object:
        return type(value).__name__ if isinstance(value, BaseException) else value

    given = record.args
    if isinstance(given, dict):
        return str(record.msg) % {key: shown(value) for key, value in given.items()}
    return str(record.msg) % tuple(shown(value) for value in given or ())


def _from_thread(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "a thread"
    text = described(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    sys.stderr.write(f"fault in {name}\n{text}\n")


def without_messages() -> None:
    """From now on everything that this process logs goes through here, whichever library logs it."""
    logging.setLogRecordFactory(_record)
    threading.excepthook = _from_thread
