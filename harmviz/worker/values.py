"""What is asked of the worker and what it answers: plain frozen values, safe to hand between threads.

Prompts, openings and answers stay out of every repr, so that no log shows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from harmviz.errors import MaskInvalid
from harmviz.masks.mask import PruneMask
from harmviz.worker.limits import MAX_CHARACTERS, MAX_NEW_TOKENS

MAX_PANES = 4
DTYPES = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")


# -- asked ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ModelKey:
    """Everything that determines what is loaded: ``name`` is an embedded name, a folder, a .gguf file or a hub id with
    optional ``@revision`` (see ``harmviz.models.load``)."""

    name: str
    dtype: str = "auto"
    device: str = "auto"


@dataclass(frozen=True)
class Visitor:
    """Who asks. ``name``: what places in the line are counted by; "" is counted with nobody. ``is_here``: whether the
    page that asked is still open (called under the line's lock, so it must not wait); None where that is not known."""

    name: str = ""
    is_here: Callable[[], bool] | None = field(default=None, compare=False, repr=False)


ANYBODY = Visitor()


@dataclass(frozen=True)
class Pane:
    """One answer asked for: of the model with ``mask`` at ``strength`` (0 … 1), or intact where ``mask`` is None."""

    name: str
    mask: PruneMask | None = field(default=None, repr=False)
    strength: float = 1.0


@dataclass(frozen=True)
class Request:
    """One prompt, answered by one to four panes in step. The first pane is the intact model, the reference of the rest.

    ``opening`` are words put into the answer's mouth: context, not output. ``temperature`` 0 is greedy; panes share
    one random draw per step, determined by ``seed``.
    """

    model: ModelKey
    prompt: str = field(repr=False)
    panes: tuple[Pane, ...]
    opening: str = field(default="", repr=False)
    max_new_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Look:
    """What could come next, asked of all panes of ``request``: after its prompt, its opening and what is ``written``.

    The text is read again as tokens; where the answer was written in other tokens than that, so is the look at it.
    """

    request: Request
    written: str = field(repr=False)


@dataclass(frozen=True)
class Sentence:
    """One answer to one prompt, asked what it says of one weight: number ``flat`` of the scored matrix ``matrix``."""

    model: ModelKey
    prompt: str = field(repr=False)
    answer: str = field(repr=False)
    matrix: str
    flat: int


# -- answered ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PaneView:
    """One pane's answer so far.

    Attributes:
        n_weights: weights in the mask; 0 for the intact model.
        tokens: the text of each token; "" while a character is unfinished. Joined they are ``text``.
        surprise: −log p of each token under the *intact* model in nats, teacher-forced on this pane's text; None until
            known. The intact pane's is known while it streams.
        first_difference: index of the first token that differs from pane 0's, counting a missing one as different;
            None while equal.
        divergence: KL(intact ‖ pane) of the next-token distributions in nats, one per step up to and including the
            step of the first difference. A step that ended the answer counts too, so there may be one more than tokens.
        tokens_per_s: from the start of the prompt's pass to the last token.
        finished: "eos", "length", "stopped", or None while it goes on.
        perplexity: exp(mean surprise); None while that is unknown, or where there is no token.
        repetition: share of repeated 3-grams of tokens (``harmviz.generation.repetition``); None below three tokens.
        refusal: whether opening and text read as a refusal by keywords (a lower bound, see ``data.refusal_words``);
            None until finished, and for an empty answer.
    """

    name: str
    n_weights: int
    strength: float
    mask_digest: str | None
    tokens: tuple[str, ...] = field(repr=False)
    text: str = field(repr=False)
    surprise: tuple[float, ...] | None
    first_difference: int | None
    divergence: tuple[float, ...]
    tokens_per_s: float
    finished: str | None
    perplexity: float | None
    repetition: float | None
    refusal: bool | None


@dataclass(frozen=True)
class Snapshot:
    """One moment of a ticket; all panes are at the same step.

    Attributes:
        state: "queued", "loading", "running", "measuring", then "done", "stopped" or "failed".
        position: how many are ahead in the queue; 0 while being served and afterwards.
        stage: what is being done, in a few words.
        elapsed_s: since it was submitted, until it ended.
        template: the whole input as the model reads it, chat template and opening included; None until known.
        error: one line where it failed.
        expected_s: seconds until its turn comes, while it waits and that can be told (``harmviz.worker.pace``).
        note: what happened in the line that who waits has to know; "" where nothing did.
    """

    state: str
    position: int
    stage: str
    elapsed_s: float
    template: str | None = field(repr=False)
    panes: tuple[PaneView, ...]
    error: str | None
    expected_s: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ModelState:
    """What the worker holds.

    Attributes:
        state: "none", "loading", "ready" or "failed" (then ``error`` says why, and no model is held).
        key: what was asked for last.
        stage: the loader's latest line; where there is no model any more, why the worker let it go.
        elapsed_s: since the loading began; once it ended, how long it took.
        device: cpu or cuda; None while there is no model, as ``dtype``, ``memory_bytes`` and ``weight_hash``.
        dtype: float32 or bfloat16.
        memory_bytes: of all parameters; on a GPU all that is allocated there after loading.
        weight_hash: masks made for this hash can be played.
        queue: requests waiting or being served.
        changing: whether anybody in line needs another model than the one held, or none: what is held will not stay.
    """

    state: str = "none"
    key: ModelKey | None = None
    stage: str = ""
    elapsed_s: float = 0.0
    device: str | None = None
    dtype: str | None = None
    memory_bytes: int | None = None
    weight_hash: str | None = None
    error: str | None = None
    queue: int = 0
    changing: bool = False


# -- checks -----------------------------------------------------------------------------------------------------------
# What can be told at once and without torch. The layers below check again, with the model at hand.
def check_key(key: ModelKey) -> None:
    """Nothing, if this can name a model.

    Raises:
        ValueError: the name is empty, or dtype or device is not among the allowed ones.
    """
    if not isinstance(key.name, str) or not key.name.strip():
        raise ValueError("the model's name is empty; give an embedded name, a folder or a hub id")
    if key.dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {key.dtype!r}")
    if key.device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {key.device!r}")


def check_request(request: Request) -> None:
    """Nothing, if the request makes sense on its own.

    Raises:
        ValueError: a setting is out of its range, or the panes are not one to four beginning with the intact model.
        MaskInvalid: a mask is measurement-only.
    """
    check_key(request.model)
    if not request.prompt.strip():
        raise ValueError("the prompt is empty; give some text")
    if not 1 <= len(request.panes) <= MAX_PANES:
        raise ValueError(f"panes must be 1 … {MAX_PANES}, got {len(request.panes)}")
    if request.panes[0].mask is not None:
        raise ValueError(f"the first pane must be the intact model, got a mask on {request.panes[0].name!r}")
    for pane in request.panes:
        _check_number(f"the strength of {pane.name!r}", pane.strength, 0, 1)
        if pane.mask is not None and pane.mask.kind == "measurement":
            raise MaskInvalid(
                f"the mask of {pane.name!r} is measurement-only and cannot be applied; use a harm or control mask"
            )
    _check_whole("max_new_tokens", request.max_new_tokens, 1, MAX_NEW_TOKENS)
    if (length := len(request.prompt) + len(request.opening)) > MAX_CHARACTERS:
        raise ValueError(f"prompt and opening have {length:,} characters, at most {MAX_CHARACTERS:,} are taken")
    _check_whole("seed", request.seed, 0)
    _check_number("temperature", request.temperature, 0, math.inf)
    _check_number("top_p", request.top_p, 0, 1)
    if request.top_p == 0:
        raise ValueError("top_p must lie in (0, 1], got 0")


def _check_number(name: str, value: float, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name} must be a finite number in [{low:g}, {high:g}], got {value!r}")


def _check_whole(name: str, value: int, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        allowed = f"≥ {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{name} must be a whole number {allowed}, got {value!r}")
