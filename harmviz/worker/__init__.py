"""One queue in front of one model, generation only: every browser session hands its requests to the same worker.

- ``values``: what is asked and what is answered, as plain frozen values;
- ``answering``: a request as a model takes it: what it reads, the steps, the surprise;
- ``panes``: the answers of one request while they grow;
- ``tickets``, ``line``, ``pace``: the queue: who is served, who waits and for how long, who left;
- ``limits``: what one visitor may ask for, and how long anything may take;
- ``service``: the worker: one thread, one model at a time.

Masks belong to a request, never to the process: the weights are the same before and after every request. Torch is
loaded when the first model is, not by importing this.
"""

from harmviz.worker.limits import MAX_NEW_TOKENS, Limits
from harmviz.worker.service import Worker
from harmviz.worker.tickets import AnswerTicket, LoadTicket, LookTicket, SentenceTicket
from harmviz.worker.values import Look, ModelKey, ModelState, Pane, PaneView, Request, Sentence, Snapshot, Visitor

__all__ = [
    "MAX_NEW_TOKENS",
    "AnswerTicket",
    "Limits",
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
    "Visitor",
    "Worker",
]
