"""One queue in front of one model, generation only: every browser session hands its requests to the same worker.

- ``values``: what is asked and what is answered, as plain frozen values;
- ``answering``: a request as a model takes it: what it reads, the steps, the surprise;
- ``panes``: the answers of one request while they grow;
- ``line``: the tickets of the queue: who is served, who waits, who left;
- ``service``: the worker: one thread, one model at a time.

Masks belong to a request, never to the process: the weights are the same before and after every request. Torch is
loaded when the first model is, not by importing this.
"""

from harmviz.worker.line import AnswerTicket, LoadTicket, LookTicket, SentenceTicket
from harmviz.worker.service import Worker
from harmviz.worker.values import Look, ModelKey, ModelState, Pane, PaneView, Request, Sentence, Snapshot

__all__ = [
    "AnswerTicket",
    "LoadTicket",
    "Look",
    "LookTicket",
    "ModelKey",
    "ModelState",
    "Pane",
    "PaneView",
    "Request",
    "Sentence",
    "SentenceTicket",
    "Snapshot",
    "Worker",
]
