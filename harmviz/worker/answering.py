"""A request as a model takes it: what it reads, the steps it decodes, and the surprise of what was written.

The worker answers requests with these while somebody looks on; a scene's recording does the same without a queue.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harmviz.data.encoding import encode_prompt
from harmviz.errors import MaskInvalid
from harmviz.worker.values import Look, Request, Sentence

if TYPE_CHECKING:
    from harmviz.generation.next_tokens import NextTokens
    from harmviz.generation.steps import Step
    from harmviz.models.load import LoadedModel
    from harmviz.scoring.sentence import SentenceScore


class Reading(NamedTuple):
    """Token ids of the prompt, chat template included, and of the opening words; and the whole as text."""

    prompt_ids: list[int]
    opening_ids: list[int]
    text: str


def reading(loaded: LoadedModel, request: Request) -> Reading:
    """What this model reads of a request."""
    tokenizer = loaded.tokenizer
    prompt = encode_prompt(tokenizer, request.prompt)
    opening = tokenizer.encode(request.opening, add_special_tokens=False) if request.opening else []
    text = tokenizer.decode([*prompt, *opening], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Reading(prompt, opening, str(text))


def steps(loaded: LoadedModel, request: Request, read: Reading, stop: threading.Event | None = None) -> Iterator[Step]:
    """The decode of all panes of a request, with its settings.

    Raises:
        ValueError: a setting that this model does not allow; before the first step.
        MaskInvalid: a mask does not fit this model.
    """
    from harmviz.generation.decode import decode
    from harmviz.generation.variants import Variant

    return decode(
        loaded,
        read.prompt_ids,
        [Variant(pane.name, pane.mask, pane.strength) for pane in request.panes],
        prefill_ids=read.opening_ids,
        max_new_tokens=request.max_new_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        stop=stop,
    )


def next_tokens(loaded: LoadedModel, look: Look) -> NextTokens:
    """What could come next at this place, under each pane of the request.

    Raises:
        ValueError: the text fills what the model was made for.
        MaskInvalid: a mask does not fit this model.
    """
    from harmviz.generation.next_tokens import next_tokens
    from harmviz.generation.variants import Variant

    read = reading(loaded, look.request)
    written = loaded.tokenizer.encode(look.written, add_special_tokens=False) if look.written else []
    variants = [Variant(pane.name, pane.mask, pane.strength) for pane in look.request.panes]
    return next_tokens(loaded, [*read.prompt_ids, *read.opening_ids, *written], variants)


def sentence_score(loaded: LoadedModel, asked: Sentence) -> SentenceScore:
    """What this sentence says of its weight.

    Raises:
        DataInvalid: there is no answer, or it is too long.
        MaskInvalid: this model has no such weight.
    """
    from harmviz.scoring.sentence import score_sentence

    if asked.matrix not in loaded.table.index_of:
        raise MaskInvalid(f"{loaded.name} has no scored matrix {asked.matrix!r}; load the model of the run")
    return score_sentence(loaded, asked.prompt, asked.answer, asked.matrix, asked.flat)


def surprise(
    loaded: LoadedModel, read: Reading, texts: Sequence[tuple[int, ...]], stop: threading.Event | None = None
) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Surprise of every token of the texts after what was read, by text; nothing if ``stop`` was set meanwhile."""
    from harmviz.generation.surprise import surprises

    if not texts:
        return {}
    values = surprises(loaded, [*read.prompt_ids, *read.opening_ids], texts, stop=stop)
    return {} if values is None else dict(zip(texts, values, strict=True))
