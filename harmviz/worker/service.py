"""The worker: one thread that holds at most one model and serves the line, ticket by ticket.

Serving a request: load its model if another (or none) is there, stream all panes in step, then measure how surprising
each pane's text is to the intact model. Weights are never left changed, whatever happens in between: masks act inside
single decode steps only (``harmviz.generation.passes``). What goes wrong becomes the ticket's error; the worker lives
on.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import traceback
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from harmviz.errors import DataInvalid, HarmvizError
from harmviz.worker import answering
from harmviz.worker.line import AnswerTicket, Line, LoadTicket, LookTicket, SentenceTicket, Ticket
from harmviz.worker.values import Look, ModelKey, ModelState, Request, Sentence, check_key, check_request

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel

log = logging.getLogger(__name__)


class Worker:
    """One queue in front of one model.

    Args:
        limit: how many requests may wait.
        patience_s: a ticket whose ``snapshot`` nobody takes for so long is stopped.
    """

    def __init__(self, *, limit: int = 16, patience_s: float = 60.0):
        self._line = Line(limit, patience_s)
        self._loaded: LoadedModel | None = None
        self._key: ModelKey | None = None
        self._model = ModelState()
        self._loading_since = 0.0
        self._thread = threading.Thread(target=self._run, name="harmviz-worker", daemon=True)
        self._thread.start()

    # -- for the pages ----------------------------------------------------------------------------------------------
    def submit(self, request: Request) -> AnswerTicket:
        """The request's ticket, at the end of the line; its model is loaded when its turn comes.

        Raises:
            ValueError: a setting is out of its range (see ``check_request``).
            MaskInvalid: a mask is measurement-only.
            HarmvizError: the line is full.
        """
        check_request(request)
        ticket = AnswerTicket(self._line, request)
        self._line.join(ticket)
        return ticket

    def look(self, look: Look) -> LookTicket:
        """The ticket for a look at what could come next, at the end of the line.

        Raises:
            ValueError, MaskInvalid, HarmvizError: as ``submit``.
        """
        check_request(look.request)
        ticket = LookTicket(self._line, look)
        self._line.join(ticket)
        return ticket

    def score(self, sentence: Sentence) -> SentenceTicket:
        """The ticket for what a sentence says of a weight, at the end of the line.

        Raises:
            ValueError: the key cannot name a model.
            HarmvizError: the line is full.
        """
        check_key(sentence.model)
        ticket = SentenceTicket(self._line, sentence)
        self._line.join(ticket)
        return ticket

    def load(self, key: ModelKey) -> LoadTicket:
        """The ticket for loading a model ahead of the first request; done at once where it is loaded already.

        Raises:
            ValueError: the key cannot name a model.
            HarmvizError: the line is full.
        """
        check_key(key)
        ticket = LoadTicket(self._line, key)
        self._line.join(ticket)
        return ticket

    def unload(self) -> None:
        """Frees the model once those who are in line now have been served.

        Raises:
            HarmvizError: the line is full.
        """
        self._line.join(Ticket(self._line, None))

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
    def _run(self) -> None:
        try:
            while self._serve_next():
                pass
        finally:
            self._line.close()
            self._free()

    def _serve_next(self) -> bool:
        """Serves one ticket; in a function of its own, so that nothing of a served ticket stays alive."""
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
            if report.failed:
                _collect()  # what a failure left half-way: caches, activations
        finally:
            self._line.release()
        return True

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

    def _free(self) -> None:
        self._loaded = self._key = None
        self._set(ModelState())
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
            self._line.stop_forgotten()
        texts = ticket.begin_measuring()
        ticket.measured(answering.surprise(loaded, read, texts, stop=ticket.ended))
        ticket.complete()


class _Reported:
    """Whatever goes wrong inside becomes the ticket's error, and goes no further."""

    def __init__(self, ticket: Ticket):
        self._ticket = ticket
        self.failed = False

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if not isinstance(error, HarmvizError):  # where it happened, but no message: it may hold a prompt
            log.error(
                "%s while serving %s\n%s", type(error).__name__, self._ticket.id, "".join(traceback.format_tb(trace))
            )
        self._ticket.finish("failed", error_line(error))
        self.failed = True
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

        return torch.cuda.memory_allocated(loaded.device)
    return sum(p.numel() * p.element_size() for p in loaded.model.parameters())
