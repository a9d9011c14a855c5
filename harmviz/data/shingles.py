"""Does a text repeat the fetched data? By shingles, hashes of ``WORDS`` consecutive words folded to letters and digits.

A text of the data that has fewer words counts as one shingle, if it has ``SHORTEST`` at least: less is everyday
language. A shingle that stands in many texts of the data or in what ships with harmviz tells nothing and is left out;
and a text counts as repeated only from ``LEAST`` of its shingles on (one that has fewer: all of them), since one alone
may be what many write alike, the head of an HTML page, say. The texts are read, hashed and forgotten; what a match
names is the text's number, never its words.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

#: Consecutive words of a shingle; fewest words of a whole text; texts of the data that may share a shingle; shingles
#: of one text that make a match.
WORDS, SHORTEST, COMMON, LEAST = 10, 7, 4, 3
_WORD = re.compile(r"[^\W_]+")
_FIELD_LIMIT = 10 << 20


def words(text: str) -> list[str]:
    """The words of a text, folded: letters and digits in lower case; escapes of JSON and HTML are no letters."""
    plain = text.replace("\\n", " ").replace("\\t", " ").replace("&#x27;", "'").replace("&quot;", '"')
    return _WORD.findall(plain.replace("'", "").replace("’", "").lower())


def shingles(folded: list[str]) -> Iterator[int]:
    """The hashes of all runs of ``WORDS`` words; valid within this process."""
    for i in range(len(folded) - WORDS + 1):
        yield hash(" ".join(folded[i : i + WORDS]))


@dataclass(frozen=True)
class Match:
    """A text repeats the data: how many shingles, of how many texts, and the first one's number."""

    shingles: int
    texts: int
    first: int


class Index:
    """The shingles of the data: what texts are compared with.

    Args:
        texts: the data's texts.
        known: texts that may stand anywhere, because they ship with harmviz.
    """

    def __init__(self, texts: Iterable[str], known: Iterable[str] = ()):
        self._long: dict[int, int] = {}
        self._short: dict[int, dict[int, int]] = {}
        self._least: dict[int, int] = {}
        counts: dict[int, int] = {}
        for number, text in enumerate(dict.fromkeys(texts)):
            folded = words(text)
            if len(folded) >= WORDS:
                self._least[number] = min(LEAST, len(folded) - WORDS + 1)
                for key in set(shingles(folded)):
                    self._long.setdefault(key, number)
                    counts[key] = counts.get(key, 0) + 1
            elif len(folded) >= SHORTEST:
                self._short.setdefault(len(folded), {}).setdefault(hash(" ".join(folded)), number)
        for text in known:
            for key in shingles(folded := words(text)):
                self._long.pop(key, None)
            for n, keys in self._short.items():
                for i in range(len(folded) - n + 1):
                    keys.pop(hash(" ".join(folded[i : i + n])), None)
        for key, n in counts.items():
            if n > COMMON:
                self._long.pop(key, None)

    def __len__(self) -> int:
        return len(self._long) + sum(map(len, self._short.values()))

    def match(self, text: str) -> Match | None:
        """What of the data this text repeats; None: nothing."""
        folded = words(text)
        of_text = Counter(self._long[key] for key in set(shingles(folded)) if key in self._long)
        found = [number for number, n in of_text.items() if n >= self._least[number] for _ in range(n)]
        for n, keys in self._short.items():
            windows = (hash(" ".join(folded[i : i + n])) for i in range(len(folded) - n + 1))
            found += [keys[key] for key in windows if key in keys]
        return Match(len(found), len(set(found)), found[0]) if found else None


def texts_in(path: Path) -> Iterator[str]:
    """All texts of a fetched file, whatever its columns: cells of CSV, values of JSON, values of YAML."""
    content = path.read_text(encoding="utf-8", errors="replace")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        body = content.split("\n", 1)[1] if content.startswith("#") else content
        for row in _table(body):
            yield from row
    elif suffix in (".json", ".jsonl"):
        # Not splitlines: a text may hold U+2028, which ends no line of JSON.
        for document in [content] if suffix == ".json" else filter(str.strip, content.split("\n")):
            yield from strings(json.loads(document))
    elif suffix in (".prompt", ".yaml", ".yml"):
        yield from strings(yaml.safe_load(content))
    else:
        yield from content.splitlines()


def _table(content: str) -> list[list[str]]:
    """The rows of a CSV file, however long a cell. The limit is one for the whole process, and is put back."""
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        return list(csv.reader(io.StringIO(content)))
    finally:
        csv.field_size_limit(before)


def strings(value: object) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
