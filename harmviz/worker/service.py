"""The worker: one thread that holds at most one model and serves the line, ticket by ticket.

Serving a request: load its model if another (or none) is there, stream all panes in step, then measure how surprising
each pane's text is to the intact model. Weights are never left changed, whatever happens in between: masks act inside
single decode steps only (``harmviz.generation.passes``). What goes wrong becomes the ticket's error; the worker lives
on. After a breakdown it lets go of the model, tells everybody in line and goes on with them.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from harmviz.errors import DataInvalid, HarmvizError
from harmviz.worker import answering
from harmviz.worker.limits import USUAL, Limits
from harmviz.worker.line import Line
from harmviz.worker.pace import LOADING
from harmviz.worker.tickets import AnswerTicket, LoadTicket, LookTicket, SentenceTicket, Ticket
from harmviz.worker.values import (
    ANYBODY,
    Look,
    ModelKey,
    ModelState,
    Request,
    Sentence,
    Visitor,
    check_key,
    check_request,
)

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Ticket)

#: How often an idle worker looks whether memory is short.
_LOOK_ROUND_S = 5.0
BROKE_DOWN = "the worker broke down and was started again; the model is loaded anew"
BROKE_DOWN_HERE = f"this request was lost: {BROKE_DOWN}; ask again"


class Worker:
    """One queue in front of one model.

    Args:
        limits: how many may wait, and how long each stage may take.
        free_memory: bytes of main memory that are free now, None where that is not known; where they run short, a model
            that nobody has used for a while is let go. Without it none is.
    """

    def __init__(self, limits: Limits = USUAL, *, free_memory: Callable[[], int | None] | None = None):
        self._line = Line(limits)
        self._free_memory = free_memory
        self._used = time.monotonic()
        self._loaded: LoadedModel | None = None
        self._key: ModelKey | None = None
        self._model = ModelState()
        self._loading_since = 0.0
        self._thread = self._started()

    # -- for the pages ----------------------------------------------------------------------------------------------
    def submit(
        self,
        request: Request,
        visitor: Visitor = ANYBODY,
        *,
        instead_of: Ticket | None = None,
    ) -> AnswerTicket:
        """The request's ticket, at the end of the line; its model is loaded when its turn comes.

        ``instead_of``: an earlier ticket of the same visitor, which is stopped once this one is let in.

        Raises:
            ValueError: a setting is out of its range (see ``check_request``).
            MaskInvalid: a mask is measurement-only.
            HarmvizError: the line is full, or this visitor has a request waiting already.
        """
        check_request(request)
        return self._joined(AnswerTicket(self._line, request, visitor), instead_of)

    def look(
        self,
        look: Look,
        visitor: Visitor = ANYBODY,
        *,
        instead_of: Ticket | None = None,
    ) -> LookTicket:
        """The ticket for a look at what could come next, at the end of the line; ``instead_of`` as in ``submit``.

        Raises:
            ValueError, MaskInvalid, HarmvizError: as ``submit``.
        """
        check_request(look.request)
        return self._joined(LookTicket(self._line, look, visitor), instead_of)

    def score(
        self, sentence: Sentence, visitor: Visitor = ANYBODY, *, instead_of: Ticket | None = None
    ) -> SentenceTicket:
        """The ticket for what a sentence says of a weight, at the end of the line; ``instead_of`` as in ``submit``.

        Raises:
            ValueError: the key cannot name a model.
            HarmvizError: the line is full, or this visitor has a request waiting already.
        """
        check_key(sentence.model)
        return self._joined(SentenceTicket(self._line, sentence, visitor), instead_of)

    def load(self, key: ModelKey, visitor: Visitor = ANYBODY) -> LoadTicket:
        """The ticket for loading a model ahead of the first request; done at once where it is loaded already.

        Raises:
            ValueError: the key cannot name a model.
            HarmvizError: the line is full.
        """
        check_key(key)
        return self._joined(LoadTicket(self._line, key, visitor))

    def unload(self) -> None:
        """Frees the model once those who are in line now have been served.

        Raises:
            HarmvizError: the line is full.
        """
        self._joined(Ticket(self._line, None))

    def state(self) -> ModelState:
        """What the worker holds or loads at this moment, who is in line, and whether they change what is held."""
        with self._line.changed:
            model = replace(self._model, queue=len(self._line), changing=self._line.will_change(self._key))
            return replace(model, elapsed_s=self._loading_s()) if model.state == "loading" else model

    def close(self, timeout: float | None = 30.0) -> None:
        """Stops all tickets, ends the thread and frees the model; waits for that up to ``timeout`` seconds."""
        self._line.close()
        self._thread.join(timeout)

    # -- the thread -------------------------------------------------------------------------------------------------
    def _joined(self, ticket: T, instead_of: Ticket | None = None) -> T:
        with self._line.changed:
            self._line.join(ticket, instead_of)
            if not self._thread.is_alive():  # nothing that Python can catch ended it
                self._thread = self._started()
        return ticket

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="harmviz-worker", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            while self._serve_next():
                pass
        finally:
            if self._line.closed:
                self._free()
            else:  # broke down between two tickets
                self._line.tell(BROKE_DOWN)
                time.sleep(0.1)  # what fails for ever must not take a whole core
                self._thread = self._started()

    def _serve_next(self) -> bool:
        """Serves one ticket; in a function of its own, so that nothing of a served ticket stays alive."""
        while not self._line.wait(_LOOK_ROUND_S if self._loaded is not None and self._free_memory else None):
            self._let_go_if_idle()
        ticket = self._line.take()
        if ticket is None:
            return False
        report = _Reported(ticket)
        try:
            with report:
                if ticket.key is None:
                    self._free()
                else:
                    self._load(ticket, ticket.key)
                if isinstance(ticket, AnswerTicket):
                    self._answer(ticket)
                elif isinstance(ticket, LookTicket):
                    self._look(ticket)
                elif isinstance(ticket, SentenceTicket):
                    self._score(ticket)
                ticket.finish("done")
            if report.broke_down:  # whatever state it left the model in, nobody else gets it
                self._free(BROKE_DOWN)
                self._line.tell(BROKE_DOWN)
            elif report.failed:
                _collect()  # what a failure left half-way: caches, activations
        finally:
            self._line.release()
            self._used = time.monotonic()
        return True

    def _let_go_if_idle(self) -> None:
        """Frees a model that nobody uses where others need the memory."""
        limits = self._line.limits
        if self._loaded is None or self._free_memory is None or time.monotonic() - self._used < limits.idle_s:
            return
        free = self._free_memory()
        if free is not None and free < limits.low_memory:
            self._free("let go while nobody used it: memory was short")
            log.info("model let go: idle, %d bytes of memory free", free)

    # -- the model --------------------------------------------------------------------------------------------------
    def _load(self, ticket: Ticket, key: ModelKey) -> None:
        if self._loaded is not None and self._key == key:
            return
        self._free()  # before the next is read: two may not fit
        self._loading_since = time.monotonic()

        def say(stage: str) -> None:
            ticket.enter("loading", stage)
            self._set(ModelState("loading", key, stage))

        say("loading torch and transformers")  # seconds, the first time
        try:
            from harmviz.models.load import load_model

            self._loaded, self._key = load_model(key.name, dtype=key.dtype, device=key.device, say=say), key
        except Exception as e:
            self._set(ModelState("failed", key, error=error_line(e), elapsed_s=self._loading_s()))
            raise
        with self._line.changed:
            self._line.pace.note(LOADING, self._loading_s())
        self._set(
            ModelState(
                "ready",
                key,
                elapsed_s=self._loading_s(),
                device=self._loaded.device.type,
                dtype=str(self._loaded.dtype).removeprefix("torch."),
                memory_bytes=_memory_bytes(self._loaded),
                weight_hash=self._loaded.weight_hash,
            )
        )

    def _loading_s(self) -> float:
        return time.monotonic() - self._loading_since

    def _free(self, why: str = "") -> None:
        self._loaded = self._key = None
        self._set(ModelState(stage=why))
        _collect()

    def _set(self, state: ModelState) -> None:
        with self._line.changed:
            self._model = state

    # -- a request --------------------------------------------------------------------------------------------------
    def _look(self, ticket: LookTicket) -> None:
        assert self._loaded is not None
        if not ticket.enter("running", "looking at what could come next"):
            return
        try:
            ticket.seen = answering.next_tokens(self._loaded, ticket.look)
        except ValueError as e:
            raise DataInvalid(str(e)) from e

    def _score(self, ticket: SentenceTicket) -> None:
        assert self._loaded is not None
        if ticket.enter("running", "following the gradient"):
            ticket.score = answering.sentence_score(self._loaded, ticket.sentence)

    def _answer(self, ticket: AnswerTicket) -> None:
        loaded, request = self._loaded, ticket.request
        assert loaded is not None
        if not ticket.enter("running", "reading the prompt"):
            return  # stopped while its model was loading
        read = answering.reading(loaded, request)
        try:
            steps = answering.steps(loaded, request, read, ticket.halt)
        except ValueError as e:  # raised before the first step: a setting that this model does not allow
            raise DataInvalid(str(e)) from e
        ticket.begin(loaded.tokenizer, read)
        for step in steps:
            ticket.push(step)
            self._line.tend()
        texts = ticket.begin_measuring()
        ticket.measured(answering.surprise(loaded, read, texts, stop=ticket.ended))
        ticket.complete()


class _Reported:
    """Whatever goes wrong inside becomes the ticket's error, and goes no further.

    ``broke_down``: it was no error that a request can have (``SystemExit`` out of some library, say).
    """

    def __init__(self, ticket: Ticket):
        self._ticket = ticket
        self.failed = self.broke_down = False

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        if not isinstance(error, HarmvizError):  # where it happened, but no message: it may hold a prompt
            log.error(
                "%s while serving %s\n%s", type(error).__name__, self._ticket.id, "".join(traceback.format_tb(trace))
            )
        self.failed, self.broke_down = True, not isinstance(error, Exception)
        self._ticket.finish("failed", error_line(error) if isinstance(error, Exception) else BROKE_DOWN_HERE)
        return True


def error_line(error: Exception) -> str:
    """One clear line: a deliberate error's own message, advice where memory ran out, else a fault of harmviz."""
    if isinstance(error, HarmvizError):
        return str(error)
    text = " ".join(str(error).split())
    # torch's error on a GPU, without loading torch to know it; on the CPU it is a RuntimeError of this wording.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return "memory ran out; ask for fewer panes or tokens, or choose a smaller model, bfloat16 or the cpu"
    return f"{type(error).__name__}: {text[:300]} (a fault of harmviz)"


def _collect() -> None:
    """Gives unused memory back: cycles first, then what torch keeps of the GPU's."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _memory_bytes(loaded: LoadedModel) -> int:
    if loaded.device.type == "cuda":
        import torch

        return sum(torch.cuda.memory_allocated(device) for device in loaded.devices)
    return sum(p.numel() * p.element_size() for p in loaded.model.parameters())
