"""Prompt sets: (prompt, response) pairs by set, loaded and validated. No text of theirs is ever printed or logged.

A set is named ``<category>`` (harmful responses of one harm type), ``safe:<category>`` (*same topic, no harm*),
``benign`` (harmless, written by others: off-policy) or, made later from the model itself, ``benign_own``.

Three sources: ``pyrit`` (human-scored responses, fetched), ``builtin`` (mild texts that ship with harmviz) and a
``.jsonl`` or ``.csv`` file of the user's own with the columns ``category,prompt,response``. Benign and same-topic
safe answers that a source lacks come from ``builtin``, and ``PromptData.notes`` says so.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harmviz.data.fetched_answers import fetched_answers
from harmviz.data.folding import normalise
from harmviz.data.human_scores import HARMFUL_AT, PYRIT_FILES, scored_answers
from harmviz.data.refusal import reads_as_refusal
from harmviz.data.wheels import ANSWERS
from harmviz.errors import DataInvalid
from harmviz.models.assets import Say, ensure
from harmviz.paths import BUILTIN_DATA

MIN_HARMFUL_ROWS = 24  # below this a category is left out, and named
MAX_REFUSAL_SHARE = 0.2  # a set above this is measurement-only (METHOD.md §6) and is left out
COLUMNS = ("category", "prompt", "response")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PromptRow:
    """One (prompt, response) pair of one set. Its repr names the row, never the text."""

    set: str
    prompt: str = field(repr=False)
    response: str = field(repr=False)
    #: Where it comes from, in words; not part of its identity. Two rows of one source have the same authors.
    source: str = ""

    @cached_property
    def id(self) -> str:
        return _hash(self.set, self.prompt, self.response)

    @cached_property
    def prompt_id(self) -> str:
        """Hash of the normalised prompt: the unit of splitting, and the cluster of every interval."""
        return _hash(normalise(self.prompt))

    def __repr__(self) -> str:
        return f"PromptRow({self.set}, {self.id})"


@dataclass(frozen=True)
class PromptData:
    """All rows of one source. ``left_out`` maps a category to the reason why it is not used."""

    id: str
    rows: tuple[PromptRow, ...] = field(repr=False)
    left_out: dict[str, str]
    notes: tuple[str, ...]

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256("\n".join(sorted(r.id for r in self.rows)).encode()).hexdigest()

    @property
    def categories(self) -> tuple[str, ...]:
        """Harm categories, in alphabetical order."""
        return tuple(sorted({r.set for r in self.rows} - {"benign"} - {s for s in self.sets if s.startswith("safe:")}))

    @property
    def sets(self) -> tuple[str, ...]:
        return tuple(sorted({r.set for r in self.rows}))

    def of(self, set_name: str) -> list[PromptRow]:
        return [r for r in self.rows if r.set == set_name]


# -- reading ----------------------------------------------------------------------------------------------------------
def _pyrit(say: Say) -> tuple[list[PromptRow], list[str]]:
    """Rows with mean human score ≥ 0.5 are harmful; below it and not refusing, ``safe:<category>``.

    A row that people scored as harmful but that opens like a refusal is used as neither: scored as harmful it would
    point at the weights of refusing.
    """
    files = ensure(ANSWERS, say)
    rows: list[PromptRow] = []
    opened_as_refusal: Counter[str] = Counter()
    for category, names in PYRIT_FILES.items():
        seen: set[tuple[str, str]] = set()
        for name in names:
            for prompt, response, scores in scored_answers(files[f"harm/{name}.csv"]):
                if (prompt, response) in seen:
                    continue
                seen.add((prompt, response))
                harmful = sum(scores) / len(scores) >= HARMFUL_AT
                if reads_as_refusal(response):
                    opened_as_refusal[category] += harmful
                    continue
                rows.append(PromptRow(category if harmful else f"safe:{category}", prompt, response))
    notes = [
        f"{c}: {n} rows scored as harmful read as refusals and are not used" for c, n in opened_as_refusal.items() if n
    ]
    return rows, notes


def read_builtin(name: str) -> list[dict[str, str]]:
    """Rows of a file that ships with harmviz, in ``harmviz/data/builtin``: harmful, safe, benign, audience…"""
    path = BUILTIN_DATA / f"{name}.jsonl"
    with path.open(encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def _builtin(*names: str) -> list[PromptRow]:
    set_of = {
        "harmful": lambda r: r["category"],
        "safe": lambda r: f"safe:{r['category']}",
        "benign": lambda r: "benign",
    }
    return [PromptRow(set_of[n](r), r["prompt"], r["response"]) for n in names for r in read_builtin(n)]


def records(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """(line number, record) of a user's ``.jsonl`` file, or of a ``.csv`` file with ``COLUMNS``.

    Raises:
        DataInvalid: not UTF-8, not JSON on some line, or the header lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataInvalid(f"{path}: not UTF-8 text (byte {e.start}); save it as UTF-8") from e
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        if lacking := [c for c in COLUMNS if c not in (reader.fieldnames or [])]:
            raise DataInvalid(
                f"{path}, row 1: the header lacks the column {lacking[0]!r}; needed: {', '.join(COLUMNS)}"
            )
        try:
            for record in reader:
                yield reader.line_num, dict(record)
        except csv.Error as e:
            raise DataInvalid(f"{path}, row {reader.line_num}: not CSV ({e})") from e
    else:
        for number, line in enumerate(text.split("\n"), 1):  # splitlines would also break at U+2028, which JSON allows
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as e:
                raise DataInvalid(f"{path}, row {number}: not JSON ({e.msg} at column {e.colno})") from e
            if not isinstance(record, dict):
                raise DataInvalid(f"{path}, row {number}: a JSON object is needed, got {type(record).__name__}")
            yield number, record


def texts_of(path: Path, number: int, record: Mapping[str, object], columns: Sequence[str]) -> list[str]:
    """The texts of one record's columns, stripped.

    Raises:
        DataInvalid: a column is missing, empty, or no text; the message names file, row and column.
    """
    texts = []
    for column in columns:
        value = record.get(column)
        if not isinstance(value, str) or not value.strip():
            what = "is missing" if column not in record else "is empty or not text"
            raise DataInvalid(f"{path}, row {number}: column {column!r} {what}")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise DataInvalid(
                f"{path}, row {number}: column {column!r} holds half of a surrogate pair, which is no text"
            )
        texts.append(value.strip())
    return texts


def _from_file(path: Path) -> list[PromptRow]:
    rows: list[PromptRow] = []
    seen: dict[str, int] = {}
    for number, record in records(path):
        row = PromptRow(*texts_of(path, number, record, COLUMNS))
        category = row.set.removeprefix("safe:")
        if not category.replace("_", "").replace("-", "").isalnum() or (
            category in {"safe", "mean", "benign_own"} or row.set == "safe:benign"
        ):
            raise DataInvalid(
                f"{path}, row {number}: column 'category' must be benign, safe:<category> or letters, digits, _ and -"
            )
        if row.id in seen:
            raise DataInvalid(f"{path}, row {number}: repeats row {seen[row.id]}; remove one of them")
        seen[row.id] = number
        rows.append(row)
    if not rows:
        raise DataInvalid(f"{path}: no rows; needed are the columns {', '.join(COLUMNS)} and at least one category")
    return rows


# -- putting a data set together --------------------------------------------------------------------------------------
def _refuse_harmless_refusals(data: PromptData) -> None:
    """Nothing. A set of harmless text that is full of refusals would be selected from, and guard, as what it is not.

    Raises:
        DataInvalid: more than ``MAX_REFUSAL_SHARE`` of its responses read as refusals; the message names the set.
    """
    for name in (s for s in data.sets if s == "benign" or s.startswith("safe:")):
        rows = data.of(name)
        share = sum(reads_as_refusal(r.response) for r in rows) / len(rows)
        if share > MAX_REFUSAL_SHARE:
            raise DataInvalid(
                f"{share:.0%} of the responses of {name!r} read as refusals (limit {MAX_REFUSAL_SHARE:.0%}): refusals "
                "are measurement-only, whatever their set is called; remove them"
            )


def _unusable(rows: list[PromptRow], refusals: set[str]) -> str | None:
    """Why a harm category cannot be scored, or None."""
    if len(rows) < MIN_HARMFUL_ROWS:
        return f"{len(rows)} harmful rows, at least {MIN_HARMFUL_ROWS} are needed"
    share = sum(reads_as_refusal(r.response) for r in rows) / len(rows)
    if share > MAX_REFUSAL_SHARE:
        return f"{share:.0%} of its responses read as refusals (limit {MAX_REFUSAL_SHARE:.0%}): measurement-only"
    if any(normalise(r.response) in refusals for r in rows):
        return "it shares responses with the refusal set: measurement-only"
    if len({r.prompt_id for r in rows}) < 6:
        return "fewer than 6 different prompts: they cannot be split into scoring halves, validation and report"
    return None


def load_prompts(source: str = "pyrit", *, say: Say = lambda _: None) -> PromptData:
    """The prompt data named ``pyrit``, ``builtin``, or a ``.jsonl``/``.csv`` file.

    Raises:
        DataInvalid: unknown source, a broken file (the message names file, row and column), or no usable category.
        AssetUnavailable: the fetched data set is not here and cannot be fetched.
    """
    notes: list[str] = []
    if source == "pyrit":
        name, (rows, notes) = "pyrit", _pyrit(say)
        rows += _builtin("safe", "benign")
        notes.append("benign and further same-topic safe answers: builtin")
    elif source == "scored":
        answers, notes = fetched_answers(say)
        name = source
        rows = [PromptRow(a.set, a.prompt, a.answer, a.source) for a in answers]
        rows += _builtin("safe", "benign")
    elif source == "builtin":
        name, rows = "builtin", _builtin("harmful", "safe", "benign")
    else:
        path = Path(source).expanduser()
        if path.suffix not in (".jsonl", ".csv"):
            raise DataInvalid(f"data {source!r} is neither 'pyrit' nor 'builtin' nor a .jsonl or .csv file")
        if not path.is_file():
            raise DataInvalid(f"data file {path} does not exist")
        name, rows = path.stem, _from_file(path)
        if not any(r.set == "benign" for r in rows):
            rows += _builtin("benign")
            notes.append("the file has no benign rows: builtin ones are used")
        if not any(r.set.startswith("safe:") for r in rows):
            rows += _builtin("safe")
            notes.append("the file has no safe:<category> rows: builtin ones are used")
    data = PromptData(name, tuple(rows), {}, tuple(notes))
    _refuse_harmless_refusals(data)
    refusals = {normalise(r["response"]) for r in read_builtin("refusals")}
    left_out = {c: why for c in data.categories if (why := _unusable(data.of(c), refusals))}
    kept = [c for c in data.categories if c not in left_out]
    if not kept:
        reasons = "; ".join(f"{c}: {why}" for c, why in left_out.items()) or "it has no harm category"
        raise DataInvalid(f"data {source!r} has no usable harm category ({reasons})")
    # A safe set that belongs to no kept category still serves the pooled H_safe, but only where categories lack theirs.
    wanted = {"benign", *kept, *(f"safe:{c}" for c in kept)}
    if not any(r.set in wanted and r.set.startswith("safe:") for r in rows):
        wanted |= {s for s in data.sets if s.startswith("safe:")}
    return PromptData(name, tuple(r for r in rows if r.set in wanted), left_out, data.notes)
