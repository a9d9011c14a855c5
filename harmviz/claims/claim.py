"""What a claim says of itself: name, question, settings on the command line, pages. Light, so that menus cost nothing.

A claim is one package below ``harmviz.claims``. These modules are its face, found by name (``Claim.face``):

    claim.py     CLAIM, an instance of ``Claim``; imports nothing heavy
    command.py   run(arguments): computes and stores it; print_result(run): the tables that ``show`` ends with
    finding.py   finding(run) -> Finding: the verdict, by a rule, and its sentence; no torch, no Streamlit
    figures.py   tidy numbers -> plotly; no torch, no Streamlit
    pictures.py  pictures(run, theme): with nothing chosen, for reports and notebooks; limits(run); both optional
    counts.py    counts(run, kind): how often a mask did what is seen of it in the Playground; optional
    document.py  PARTS: its tables in docs and reports; optional
    objections.py  objections(run): the strongest objection to each of the paper's claims it is about, the control that
                 answers it, and a verdict by a rule (``claims.objection``); optional
    page.py      show(): the page; settings(): the form on the Runs page where ``offer`` has one of its own

What else a claim needs (settings, measure, rows, …) lies beside them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Option:
    """One argument on the command line: what ``argparse.ArgumentParser.add_argument`` takes."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]


def option(*names: str, **settings: Any) -> Option:
    """An ``Option``, written as one writes ``add_argument``."""
    return Option(names, settings)


@dataclass(frozen=True)
class Page:
    """A page in the menu.

    ``file``: its script below ``pages/``, without the suffix; ``section``: where it is listed.
    """

    file: str
    title: str
    icon: str
    section: str = "Claims"


@dataclass(frozen=True)
class Offer:
    """How the Runs page offers to compute it.

    ``own_form``: ``page.settings()`` draws its form; else a map run is asked for.
    """

    question: str
    own_form: bool = False


@dataclass(frozen=True)
class Finding:
    """What a stored run says of its claim.

    Attributes:
        verdict: the rule's outcome, one word or a few of the claim's own list, e.g. ``undecided``.
        sentence: the finding in one plain sentence with its numbers; title of the page, and what ``show`` and docs say.
        numbers: what the rule looked at, as JSON.
    """

    verdict: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {"verdict": self.verdict, "sentence": self.sentence, "numbers": dict(self.numbers)}


@dataclass(frozen=True)
class Claim:
    """One claim, as menus, command line, Runs page, rows, docs and tests know it.

    Attributes:
        name: its folder, and what manifests and commands call it.
        order: its place in menus and lists.
        title: in the menu.
        question: what its page answers.
        paper: its number in METHOD.md, e.g. ``C6``; a word where it is none of the paper's.
        help: its line in ``--help``.
        experiments: what its rows carry in the column ``experiment``.
        options: its arguments on the command line.
        pages: its entries in the menu; none where others show it.
        offer: how the Runs page offers it, or None.
        stage_words: a stage's name → what a reader is told of it while it runs; None: as it is.
        lecture: its pictures in presenter mode, key → what the view is called: one, or two that a key switches between;
            none: it has no screen of its own there.
        phases: the parts of a long computation, in order, and the stages (up to the first dot) that belong to each.
        shares: whether its command shares its work among several devices (``harmviz.models.ranks``).
    """

    name: str
    order: int
    title: str
    question: str
    paper: str
    help: str
    experiments: tuple[str, ...]
    options: tuple[Option, ...] = ()
    pages: tuple[Page, ...] = ()
    offer: Offer | None = None
    stage_words: Callable[[str], str] | None = None
    lecture: tuple[tuple[str, str], ...] = ()
    phases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shares: bool = False

    def __post_init__(self) -> None:
        if self.lecture and not self.pages:
            raise ValueError(f"the claim {self.name} has a lecture and no page that it belongs to")

    @property
    def is_of_the_paper(self) -> bool:
        """Whether it is one of the paper's eight; else it is about the method, or somebody's own."""
        return re.match(r"C[1-8]", self.paper) is not None

    def phase_of(self, stage: str) -> int | None:
        """The place of the stage's phase in ``phases``; None before the first."""
        head = stage.partition(".")[0]
        return next((i for i, heads in enumerate(self.phases.values()) if head in heads), None)

    def has_face(self, module: str) -> bool:
        """Whether it has this module."""
        return find_spec(f"{__package__}.{self.name}.{module}") is not None

    def face(self, module: str) -> ModuleType:
        """One of its modules, imported now.

        Raises:
            ModuleNotFoundError: the claim has no such module.
        """
        return import_module(f"{__package__}.{self.name}.{module}")
