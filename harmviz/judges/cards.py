"""Judge models on hubs: what each is, what its verdicts are worth, and where its wording comes from.

A judge reads request and answer in the very wording it was trained on. Guard models bring it along as their chat
template. The wording of the others is their authors' text and not part of harmviz: it is read from the file that
``HARMVIZ_JUDGE_TEMPLATE`` names, with ``{prompt}`` and ``{answer}`` where the texts go. ``HARMVIZ_JUDGE_WEIGHTS`` (a
folder, or hub id@revision) stands in for the judge's own hub id, to pin a revision or to work without network. An 8B
judge takes 16 GB: meant for a GPU.

Sources: Llama Guard, Inan et al. 2023 (arXiv:2312.06674); WildGuard, Han et al. 2024 (arXiv:2406.18495); HarmBench,
Mazeika et al. 2024 (arXiv:2402.04249); StrongREJECT, Souly et al. 2024 (arXiv:2402.10260), whose fine-tuned judge rates
from 1 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harmviz.errors import DataInvalid
from harmviz.judges.protocol import Kind

WEIGHTS, TEMPLATE = "HARMVIZ_JUDGE_WEIGHTS", "HARMVIZ_JUDGE_TEMPLATE"
HOLES = ("{prompt}", "{answer}")
_YES_NO = {"yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class Card:
    """What is known about a judge model. ``words``: verdict → its value. ``after``: what it writes before the verdict.
    ``wording``: where its prompt is published; None where its chat template is the prompt."""

    model: str
    kind: Kind
    words: Mapping[str, float]
    after: str = ""
    wording: str | None = None


CARDS: dict[str, Card] = {
    "hub-llama-guard": Card("meta-llama/Llama-Guard-3-8B", "harm", {"unsafe": 1.0, "safe": 0.0}),
    "hub-wildguard": Card("allenai/wildguard", "harm", _YES_NO, "Harmful response:", "the package wildguard"),
    "hub-wildguard-refusal": Card(
        "allenai/wildguard", "refusal", _YES_NO, "Response refusal:", "the package wildguard"
    ),
    "hub-harmbench": Card("cais/HarmBench-Llama-2-13b-cls", "harm", _YES_NO, wording="its model card"),
    "hub-strongreject": Card(
        "qylu4156/strongreject-15k-v1",
        "harm",
        {str(rating): (rating - 1) / 4 for rating in range(1, 6)},
        wording="the package strong_reject",
    ),
}


def read_template(name: str, card: Card, path: str | None) -> str:
    """The judge's wording.

    Raises:
        DataInvalid: no file is named, it cannot be read, or it lacks a place for request or answer.
    """
    if not path:
        raise DataInvalid(
            f"judge {name} needs its own wording, which {card.wording} holds: save it with {' and '.join(HOLES)} where "
            f"the texts go, and name the file in {TEMPLATE}"
        )
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise DataInvalid(
            f"judge {name}: {TEMPLATE}={path} cannot be read ({type(e).__name__}); name a text file"
        ) from e
    if any(text.count(hole) != 1 for hole in HOLES):
        raise DataInvalid(
            f"judge {name}: {path} must hold {' and '.join(HOLES)} once each, where request and answer go"
        )
    return text
