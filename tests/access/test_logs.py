"""A fault is logged by kind and place. What it says is not, unless it is harmviz's own sentence."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator

import pytest

from harmviz.access import logs
from harmviz.errors import DataInvalid

SECRET = "a prompt that nobody else should read"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    factory, hook = logging.getLogRecordFactory(), threading.excepthook
    logs.without_messages()
    logger, sink = logging.Logger("some.library"), io.StringIO()
    logger.addHandler(logging.StreamHandler(sink))
    yield logger, sink
    logging.setLogRecordFactory(factory)
    threading.excepthook = hook


def fail(error: BaseException) -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as e:
        raise error from e


def test_a_fault_is_its_kind_and_place(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, sink = log
    try:
        fail(ValueError(SECRET))
    except ValueError as e:
        logger.exception("while serving %s", "ticket 7")
        logger.error("failed: %s", e)
        logger.error("failed: %(why)s", {"why": e})
    said = sink.getvalue()
    assert SECRET not in said
    for part in (
        "while serving ticket 7",
        "test_logs.py",
        "in fail",
        "ValueError",
        "after KeyError",
        "failed: ValueError",
    ):
        assert part in said


def test_its_own_sentences_are_kept(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, sink = log
    try:
        raise DataInvalid("row 3 has no prompt")
    except DataInvalid:
        logger.exception("reading")
    assert "DataInvalid: row 3 has no prompt" in sink.getvalue()


def test_threads_too(log: object, capsys: pytest.CaptureFixture[str]) -> None:
    thread = threading.Thread(target=fail, args=(RuntimeError(SECRET),), name="a-thread")
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert "fault in a-thread" in said
    assert "RuntimeError" in said
    assert SECRET not in said
