"""The lecture: its scenes in order, what each asks, and the pictures it shows. Pure.

A scene is one screen: a question, one chart whole, and where there is a second view, one key between the two. Every
picture is drawn from a stored run, so that a lecture needs no model and no network; only the scene of the Playground
can be played live, and its recorded answer stands there until the live one is whole. The stage and the map run open it;
every further claim that declares a ``lecture`` has one screen, in the order of the menu.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harmviz.claims import CLAIMS


@dataclass(frozen=True)
class Scene:
    """One screen of the lecture.

    Attributes:
        page: the page it belongs to, by its script's name: where presenter mode begins if it is switched on there.
        claim: whose stored run it shows.
        question: its heading.
        pictures: key → what the view is called; one, or two between which a key switches.
        kind: a ``picture``, the recorded answers (``stage``), or what must not be concluded (``limits``).
        sentence: whether the claim's finding stands under the heading, where no title of its picture says it.
    """

    page: str
    claim: str
    question: str
    pictures: tuple[tuple[str, str], ...] = ()
    kind: Literal["picture", "stage", "limits"] = "picture"
    sentence: bool = False

    @property
    def views(self) -> tuple[str, ...]:
        """What its views are called, in the order of the switch."""
        return ("intact", "pruned") if self.kind == "stage" else tuple(name for _, name in self.pictures)


SCENES: tuple[Scene, ...] = (
    Scene("playground", "scene", "Talked into it, what does the model say without these weights?", kind="stage"),
    Scene(
        "overview",
        "scene",
        "Not one answer, but many: how often are they turned away?",
        (("scene-rates", "rates"),),
    ),
    Scene(
        "overview",
        "mapping",
        "What does zeroing them do to each kind of text?",
        (("effect-both", "contrastive"), ("effect-none", "as in the paper")),
        sentence=True,
    ),
    Scene(
        "harm_map",
        "mapping",
        "Where do these weights sit?",
        (("harm-map-both", "contrastive"), ("harm-map-none", "as in the paper")),
    ),
    Scene(
        "overlap",
        "mapping",
        "One mechanism or many?",
        (("overlap-jaccard-both", "shared weights"), ("overlap-transfer-both", "transfer")),
    ),
    *(
        Scene(claim.pages[0].file, claim.name, claim.question, claim.lecture)
        for claim in CLAIMS.values()
        if claim.lecture
    ),
    Scene("overview", "mapping", "What does this not show?", kind="limits"),
)


def begins_at(scenes: Sequence[Scene], page: str) -> int:
    """The place of the page's first scene; 0 where it has none."""
    return next((i for i, scene in enumerate(scenes) if scene.page == page), 0)


def linked(value: str, n: int) -> int | None:
    """The place that a link names as 1 … n; None where it names none."""
    return int(value) - 1 if value.isascii() and value.isdigit() and len(value) < 4 and 1 <= int(value) <= n else None
