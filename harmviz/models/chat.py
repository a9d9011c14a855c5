"""A model's chat template: how it makes one text of a conversation, and where the answer begins in it.

A template may go wrong in silence: one that takes a message as a list of parts leaves a plain text out, one that does
not open the answer lets it follow the request's own end, and one that opens a chain of thought has the answer read as
thought. So a template is tried once on a mild request, and what it needs is its ``ChatForm``:

- the request must stand in the rendering, else contents are given as parts, else the model is refused;
- where the template opens no answer although a conversation's answers have an opening, that opening is added;
- a chain of thought that the template opens (``<think>``) is closed again, empty, before the answer;
- gpt-oss's answers begin in the channel ``final``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from harmviz.errors import ModelUnavailable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Tried on every template; its words stand in no template by themselves.
PROBE, ANSWER = "Name three colours of a rainbow, please.", "Crimson, amber and teal."
#: An opened chain of thought at the end of a rendering, and how it is closed.
_OPENED = re.compile(r"(?:<(?P<tag>(?:\w+:)?(?:think|thinking|thought|reasoning))>|\[(?P<square>THINK)\])\s*$")
#: A part as a template writes it that takes contents for texts.
_PART_WRITTEN_OUT = re.compile(r"""['"]type['"]: ?['"]text['"]""")
_TURN, _FINAL = "<|start|>assistant", "<|channel|>final<|message|>"
#: Llama's templates write today's date into the prompt unless they are given one; this is the one they fall back on.
_DATE = "26 Jul 2024"


@dataclass(frozen=True)
class ChatForm:
    """How a template is used. ``parts``: contents are lists of parts; ``opening``: what is written after a rendering,
    before the answer; ``notes``: what the reader of a result should know of it."""

    parts: bool = False
    opening: str = ""
    notes: tuple[str, ...] = ()


_forms: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, ChatForm]] = WeakKeyDictionary()


def chat_form(tokenizer: PreTrainedTokenizerBase) -> ChatForm:
    """How this tokenizer's chat template is used, found out once.

    Raises:
        ModelUnavailable: the template raises on a plain request, or leaves it out.
    """
    template = tokenizer.chat_template
    known = _forms.get(tokenizer)
    if known is None or known[0] != template:
        known = _forms[tokenizer] = (template, _find_form(tokenizer, template))
    return known[1]


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> str:
    """The conversation as the model reads it, up to where its answer begins.

    Args:
        messages: ``{"role", "content"}`` each, the last of the role ``user``.

    Raises:
        ModelUnavailable: the template raises on it, or leaves the last message out.
    """
    form = chat_form(tokenizer)
    text = _apply(tokenizer, messages, parts=form.parts)
    if not stands_in(messages[-1]["content"], text):
        raise ModelUnavailable("the model's chat template leaves a prompt out or changes its words; mend the template")
    return _closed(text + form.opening)


def stands_in(words: str, text: str) -> bool:
    """Whether ``words`` stand in ``text``, whatever the white space between them."""
    return " ".join(words.split()) in " ".join(text.split())


def _apply(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], *, parts: bool, answer: bool = True
) -> str:
    """The template's own rendering; ``answer``: it is asked to open one.

    Raises:
        ModelUnavailable: the template raises.
    """
    given: list[Any] = [
        {"role": m["role"], "content": [{"type": "text", "text": m["content"]}] if parts else m["content"]}
        for m in messages
    ]
    try:
        text = tokenizer.apply_chat_template(given, tokenize=False, add_generation_prompt=answer, date_string=_DATE)
    except Exception as e:  # a template is a program: jinja's errors, and whatever its own mistakes raise
        reason = (str(e).strip().splitlines() or [""])[0][:200]
        raise ModelUnavailable(
            f"the chat template fails ({type(e).__name__}: {reason}); mend or remove chat_template.jinja"
        ) from e
    return str(text)


def _find_form(tokenizer: PreTrainedTokenizerBase, template: Any) -> ChatForm:
    request = [{"role": "user", "content": PROBE}]
    parts, text = _holding_the_request(tokenizer, request)
    source = template if isinstance(template, str) else str(template)
    notes = ["its chat template takes a message as a list of parts"] if parts else []
    opening = ""
    if text.endswith(_TURN) and _FINAL in source:
        opening = _FINAL
        notes.append("its answers are put into the channel 'final', with no analysis before them")
    elif text == _apply(tokenizer, request, parts=parts, answer=False):
        opening = _conversation_opening(tokenizer, request, text, parts)
        if opening:
            notes.append("its chat template opens no answer; it is opened as in a conversation")
        elif text.rstrip().endswith(PROBE):
            notes.append("its chat template writes nothing between a request and its answer")
    if _OPENED.search(text + opening):
        notes.append("its chat template opens a chain of thought, which is closed, empty, before every answer")
    if "strftime_now" in source and "date_string" not in source:
        notes.append("its chat template writes the date into every prompt: results of another day may differ")
    return ChatForm(parts, opening, tuple(notes))


def _holding_the_request(tokenizer: PreTrainedTokenizerBase, request: Sequence[Mapping[str, str]]) -> tuple[bool, str]:
    """(contents as parts?, the rendering) of the first way in which the request stands in the rendering."""
    failure: ModelUnavailable | None = None
    for parts in (False, True):
        try:
            text = _apply(tokenizer, request, parts=parts)
        except ModelUnavailable as e:
            failure = failure or e
            continue
        if stands_in(PROBE, text) and not _PART_WRITTEN_OUT.search(text):
            return parts, text
    raise failure or ModelUnavailable(
        "the chat template leaves the request out of what the model reads; mend or remove chat_template.jinja"
    )


def _conversation_opening(
    tokenizer: PreTrainedTokenizerBase, request: Sequence[Mapping[str, str]], text: str, parts: bool
) -> str:
    """What a conversation of request and answer holds between both, if the rendering of the request lacks it."""
    turns = [*request, {"role": "assistant", "content": ANSWER}]
    try:
        whole = _apply(tokenizer, turns, parts=parts, answer=False)
    except ModelUnavailable:
        return ""
    between, found, _ = whole.removeprefix(text).partition(ANSWER)
    return between if whole.startswith(text) and found and between.strip() else ""


def _closed(text: str) -> str:
    """The rendering with an opened chain of thought closed, as models write an empty one."""
    opened = _OPENED.search(text)
    if opened is None:
        return text
    begin = opened.group().rstrip()
    end = f"</{opened['tag']}>" if opened["tag"] else f"[/{opened['square']}]"
    return f"{text[: opened.start()]}{begin}\n\n{end}\n\n"
