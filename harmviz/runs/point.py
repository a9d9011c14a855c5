"""A mask's address: which set, how much of the model, how much protected, how ranked. One type, its names in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

#: How weights are ranked: ``none`` as in the paper, ``both`` against safe and benign text.
Contrast = Literal["none", "both"]
#: The same, or ``guarded``: guarded against over-refusal; ``twin``: by answers to harmful halves of twins against those
#: to their harmless halves.
Selector = Literal["none", "both", "guarded", "twin"]
#: What a fraction is a fraction of: all scored weights, or those of each matrix.
Scope = Literal["global", "matrix"]
#: The mean of all harm categories, as rows name it.
MEAN_OF_ALL = "mean(all)"


class SelectorWords(NamedTuple):
    """What a ranking is called. ``short``: beside a number; ``long``: introducing it; ``state``: a model pruned so."""

    short: str
    long: str
    state: str

    @property
    def heading(self) -> str:
        """``short`` as a heading begins: ``Contrastive``."""
        return self.short[:1].upper() + self.short[1:]


#: The only place that names rankings in words.
SELECTOR_WORDS: dict[str, SelectorWords] = {
    "none": SelectorWords("as in the paper", "plain, as in the paper", "plain"),
    "both": SelectorWords("contrastive", "contrastive", "contrastive"),
    "guarded": SelectorWords("guarded", "guarded against over-refusal", "guarded"),
    "twin": SelectorWords("twin-contrastive", "contrastive against author-matched twins", "twin"),
}


@dataclass(frozen=True, slots=True)
class Point:
    """The address of a mask.

    Attributes:
        set: a category id for its own mask, ``mean(all)``, ``union(a,b)``…, as rows name it.
        q, p: fraction of scored weights pruned, fraction protected by utility; in [0, 1].
        scope: ``global`` or ``matrix``. contrast: the ranking, a key of ``SELECTOR_WORDS``.
    """

    set: str
    q: float
    p: float
    scope: str = "global"
    contrast: str = "none"

    @property
    def words(self) -> str:
        """How its weights are ranked, briefly: ``as in the paper``, ``contrastive``, ``guarded``."""
        return selector_words(self.contrast).short

    def as_dict(self) -> dict[str, Any]:
        """The columns of a row that it fills."""
        return {"mask": self.set, "q": self.q, "p": self.p, "scope": self.scope, "contrast": self.contrast}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Point:
        """The address that a row of results carries."""
        return cls(str(row["mask"]), float(row["q"]), float(row["p"]), str(row["scope"]), str(row["contrast"]))


@dataclass(frozen=True, slots=True)
class Ranking:
    """An address at no single fraction: how weights are ranked and protected, whichever q is then taken of them."""

    set: str
    p: float
    scope: str = "global"
    contrast: str = "none"

    def as_dict(self) -> dict[str, Any]:
        """The columns of a row that it fills."""
        return {"mask": self.set, "p": self.p, "scope": self.scope, "contrast": self.contrast}


def selector_words(contrast: str) -> SelectorWords:
    """The words for a ranking; one that a later version made is named as it is stored."""
    return SELECTOR_WORDS.get(contrast, SelectorWords(contrast, contrast, contrast))
