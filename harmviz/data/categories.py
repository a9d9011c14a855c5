"""Categories as people write them: folded to one spelling, told from names that mean harmless, named safely on disk.

Any text may name a harm type: spaces, slashes, any script. Two spellings that differ in case or blanks alone are one
category, shown as it was written first. A name that means *harmless* is read as ``benign``, or asked about where it may
also mean that nobody said; it is never a harm type. What harmviz itself calls sets and means cannot be a harm type.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from harmviz.errors import DataInvalid

BENIGN = "benign"
#: What begins the name of a set on the same topic as a harm type, without harm.
SAFE = "safe:"
MAX_LETTERS = 200
#: Names that say that an answer is harmless.
HARMLESS = frozenset(
    re.split(
        r"\|",
        "acceptable|benign|clean|good|gutartig|harm free|harmless|harmlos|inoffensif|inofensivo|innocent|innocuous|"
        "neutral|ok|no harm|no risk|non harmful|non toxic|non violating|non violation|nonharmful|nontoxic|normal|"
        "not harmful|not toxic|not unsafe|okay|safe|safe content|unbedenklich|unharmful|unschädlich|"
        "без вреда|безвредно|безопасно|无害|安全",
    )
)
#: A word of these in a longer name: its answers may be harmless all the same.
_SOUNDS_HARMLESS = frozenset(name for name in HARMLESS if " " not in name) | {"control", "controls"}
#: Names that may mean harmless, or that nobody said.
UNSAID = frozenset(
    re.split(
        r"\|",
        "0|false|n a|na|nan|nil|no|no category|no label|none|not labeled|not labelled|null|unlabeled|unlabelled",
    )
)
#: What rows of results and options call means and sets of their own.
RESERVED = frozenset(("all", "benign_own", "harm", "mean"))
_COMBINED = re.compile(r"(mean|union|intersection|difference|snip_abs|magnitude|wanda)\(.*\)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,60}")


def tidy(name: str) -> str:
    """The name as it is shown: outer blanks gone, inner ones single, composed letters (NFC)."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def fold(name: str) -> str:
    """What two spellings of one category have in common: case and blanks folded."""
    return tidy(name).casefold()


def _words(name: str) -> str:
    """The folded name as words: marks between them are blanks."""
    return " ".join(re.sub(r"[\W_]+", " ", fold(name)).split())


def sounds_harmless(name: str) -> bool:
    """Whether the name of a harm type holds a word that means harmless, ``benign_control``, say."""
    return not _SOUNDS_HARMLESS.isdisjoint(_words(name).split())


def read_category(name: str) -> str:
    """The set that a category names: ``benign``, ``safe:<category>``, or the category, tidied.

    Raises:
        DataInvalid: it names no harm type; the message says why and what to write instead. It begins without a subject,
            since the caller knows file and row, and it holds no more of the name than a reserved word.
    """
    shown = tidy(name)
    if fold(shown).startswith(SAFE):
        topic = tidy(shown[len(SAFE) :])
        return SAFE + _harm_type(topic, f"the category after {SAFE!r}")
    if _words(shown) in HARMLESS:
        return BENIGN
    return _harm_type(shown, "the category")


def _harm_type(shown: str, what: str) -> str:
    words = _words(shown)
    if not shown or not words:
        raise DataInvalid(f"{what} has no letters or digits; name a harm type, or {BENIGN}")
    if len(shown) > MAX_LETTERS:
        raise DataInvalid(f"{what} has {len(shown)} letters, at most {MAX_LETTERS} are taken; is it the right column?")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in shown):
        raise DataInvalid(f"{what} holds control characters; name the harm type in letters")
    if words in UNSAID:
        raise DataInvalid(
            f"{what} is {words!r}: harmless, or not known? write {BENIGN} for harmless answers, or leave such rows out"
        )
    if what != "the category" and words in HARMLESS:
        raise DataInvalid(f"{what} means harmless; write {BENIGN}, or {SAFE}<harm type>")
    if fold(shown) in RESERVED or _COMBINED.fullmatch(fold(shown)):
        raise DataInvalid(f"{what} is {fold(shown)[:40]!r}, which names a mean or set of harmviz's own; rename it")
    return shown


def file_name(name: str) -> str:
    """A name for files and stages: the set itself where it is plain, else its letters and a hash of the whole.

    ASCII, at most 60 letters. Different sets have different names.
    """
    if _PLAIN.fullmatch(name):
        return name
    slug = re.sub(r"[^a-z0-9]+", "-", unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode())
    return f"{slug.strip('-')[:40] or 'set'}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def is_combined(name: str) -> bool:
    """Whether the name of a mask is that of several categories together, ``mean(all)`` or ``union(a,b)``."""
    return _COMBINED.fullmatch(name) is not None


def split_names(text: str, known: Sequence[str]) -> list[str]:
    """The names in a comma-separated list, each in the spelling of ``known``, whose names may hold commas themselves.

    Case and blanks do not matter. The longest known name that begins a rest of the list is taken; what begins with none
    stays as it was written, up to the next comma.
    """
    spelling = {fold(name): name for name in known}
    parts, names = text.split(","), []
    while parts:
        ends = range(len(parts), 0, -1)
        end = next((n for n in ends if fold(",".join(parts[:n])) in spelling), 1)
        written = ",".join(parts[:end])
        names.append(spelling.get(fold(written), tidy(written)))
        parts = parts[end:]
    return names


class Spellings:
    """One spelling for each category: the one written first."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        #: How many spellings were folded into another.
        self.folded: set[str] = set()

    def of(self, set_name: str) -> str:
        """The set under the spelling of its category that came first."""
        prefix = SAFE if set_name.startswith(SAFE) else ""
        written = set_name.removeprefix(prefix)
        first = self._first.setdefault(fold(written), written)
        if first != written:
            self.folded.add(written)
        return prefix + first
