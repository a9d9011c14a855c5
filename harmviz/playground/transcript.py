"""A comparison to keep: prompt, template, settings, masks, answers and measures, as JSON or as plain text. Pure
functions.

The files hold what the models wrote, harmful or not, only where that was asked for (``without_texts``); both say so in
their first lines. Their names say nothing of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harmviz.masks.mask import PruneMask
from harmviz.playground.panes import PaneLabel
from harmviz.worker import PaneView, Request, Snapshot

FORMAT = "harmviz-transcript-1"
WARNING = (
    "This file holds what language models wrote, unfiltered; it may be harmful, false or offensive. "
    "One prompt is an illustration, no measurement."
)
WARNING_WITHOUT = "The texts were left out of this file. One prompt is an illustration, no measurement."
LEFT_OUT = "[left out: ask for the texts to have them in the file]"
#: What else belongs to a comparison: when it was made, whose masks, on which weights, where.
FACTS = ("created", "run_id", "weight_hash", "device", "dtype")
#: What of a mask's provenance says which weights these are; hashes of prompts stay in the run.
_PROVENANCE = ("run_id", "set", "categories", "combine", "q", "p", "scope", "contrast", "control", "seed", "draw")


def record(
    request: Request, snapshot: Snapshot, labels: Sequence[PaneLabel], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The comparison as one JSON document.

    Args:
        facts: one entry for each of ``FACTS``.
    """
    panes = zip(request.panes, snapshot.panes, labels, strict=True)
    return {
        "format": FORMAT,
        "warning": WARNING,
        **{key: facts.get(key) for key in FACTS},
        "state": snapshot.state,
        "seconds": round(snapshot.elapsed_s, 3),
        "prompt": request.prompt,
        "opening": request.opening,
        "template": snapshot.template,
        "settings": {
            "model": request.model.name,
            "max_new_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        },
        "measures": {
            "surprise": "-log p of each token under the intact model, nats",
            "perplexity": "exp(mean surprise)",
            "repetition": "share of 3-grams of tokens that occurred before",
            "declines": "keywords in the opening of the answer: a lower bound, about half of all refusals are missed",
            "divergence": "KL(intact || pane) of the next token, nats, up to the first difference",
        },
        "panes": [_pane(view, label, pane.mask) for pane, view, label in panes],
    }


def _pane(view: PaneView, label: PaneLabel, mask: PruneMask | None) -> dict[str, Any]:
    return {
        "name": label.title,
        "caption": label.caption,
        "mask": None
        if mask is None
        else {
            "digest": view.mask_digest,
            "kind": mask.kind,
            "n_weights": view.n_weights,
            "strength": view.strength,
            **{k: mask.provenance[k] for k in _PROVENANCE if k in mask.provenance},
        },
        "text": view.text,
        "tokens": list(view.tokens),
        "finished": view.finished,
        "first_difference": view.first_difference,
        "perplexity": view.perplexity,
        "repetition": view.repetition,
        "declines": view.refusal,
        "tokens_per_s": round(view.tokens_per_s, 2),
        "surprise": None if view.surprise is None else [round(s, 4) for s in view.surprise],
        "divergence": [round(d, 6) for d in view.divergence],
    }


def without_texts(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with every number, and without a word of the prompt, of its opening and of the answers."""
    panes = [{**pane, "text": LEFT_OUT, "tokens": [LEFT_OUT] * len(pane["tokens"])} for pane in document["panes"]]
    hidden = {key: LEFT_OUT if document[key] else document[key] for key in ("prompt", "opening", "template")}
    return {**document, **hidden, "warning": WARNING_WITHOUT, "panes": panes}


def as_json(document: Mapping[str, Any]) -> bytes:
    """The document as UTF-8 JSON. Infinite numbers, which JSON cannot say, become null."""
    return json.dumps(_finite(document), ensure_ascii=False, indent=1, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


def as_text(document: Mapping[str, Any]) -> bytes:
    """The document as plain text, to read or to print; no markup of any kind."""
    settings = document["settings"]
    head = [
        document["warning"],
        "",
        *(f"{key.replace('_', ' ')}: {document[key]}" for key in FACTS if document.get(key)),
        "settings: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in settings.items()),
        "",
        "PROMPT",
        document["prompt"],
        *(["", "OPENING WORDS", document["opening"]] if document["opening"] else []),
    ]
    return "\n".join([*head, *(line for pane in document["panes"] for line in _pane_lines(pane))]).encode() + b"\n"


def _pane_lines(pane: Mapping[str, Any]) -> list[str]:
    measures = [
        ("perplexity under the intact model", _number(pane["perplexity"], 1)),
        ("repetition", _number(pane["repetition"], 2)),
        ("declines (keywords, lower bound)", {None: "not measured", True: "yes", False: "no"}[pane["declines"]]),
        ("tokens per second", _number(pane["tokens_per_s"], 1)),
        ("first token that differs from the intact answer", _place(pane["first_difference"])),
    ]
    mask = pane["mask"]
    which = (
        [] if mask is None else [f"mask {mask['digest']}, {mask['n_weights']} weights, strength {mask['strength']:g}"]
    )
    return [
        "",
        "",
        pane["name"].upper(),
        pane["caption"],
        *which,
        "",
        pane["text"],
        "",
        *(f"{name}: {value}" for name, value in measures),
    ]


def _number(value: float | None, digits: int) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _place(index: int | None) -> str:
    return "none, the same words" if index is None else f"token {index + 1}"


def file_name(created: str, ending: str) -> str:
    """``harmviz-transcript-20260102-030405.json``: the moment, never a word of the prompt."""
    digits = re.sub(r"\D", "", created)[:14]
    return f"harmviz-transcript-{digits[:8]}-{digits[8:]}.{ending}"
