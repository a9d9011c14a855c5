"""Prompt sets: (prompt, response) pairs by set, loaded and validated. No text of theirs is ever printed or logged.

A set is named ``<category>`` (harmful responses of one harm type), ``safe:<category>`` (*same topic, no harm*),
``benign`` (harmless, written by others: off-policy) or, made later from the model itself, ``benign_own``.

Sources: ``pyrit`` (human-scored responses, fetched), ``scored`` (those and further labelled ones), ``builtin`` (mild
texts that ship with harmviz) and data of a reader's own in any common shape (``user_files``). Benign and same-topic
safe answers that a source lacks come from ``builtin``, and ``PromptData.notes`` says so.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from harmviz.data.categories import BENIGN, SAFE, fold
from harmviz.data.columns import AS_IT_IS, ReadOptions
from harmviz.data.fetched_answers import fetched_answers
from harmviz.data.folding import normalise
from harmviz.data.human_scores import HARMFUL_AT, HUMAN, PYRIT_FILES, scored_answers
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.data.tables import KINDS
from harmviz.data.user_files import SHIPPED, Reading, UserRows, is_user_source, read_user_rows
from harmviz.data.wheels import ANSWERS
from harmviz.errors import BadSetting, DataInvalid
from harmviz.models.assets import Say, ensure
from harmviz.paths import BUILTIN_DATA

MIN_HARMFUL_ROWS = 24  # below this a category is left out, and named
#: The source of what ships with harmviz.
WRITTEN_HERE = "built in"
MAX_REFUSAL_SHARE = 0.2  # a set above this is measurement-only (METHOD.md §6) and is left out


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


class SetSummary(NamedTuple):
    """One set of some data: its rows, its distinct prompts, and where they are from."""

    name: str
    rows: int
    prompts: int
    origin: str


@dataclass(frozen=True)
class PromptData:
    """All rows of one source.

    ``left_out`` maps a category to the reason why it is not used; ``reading``: how a reader's own data was read.
    """

    id: str
    rows: tuple[PromptRow, ...] = field(repr=False)
    left_out: dict[str, str]
    notes: tuple[str, ...]
    reading: Reading | None = None

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

    def summary(self) -> list[SetSummary]:
        """Every set with its size, harm categories first."""
        shipped = {(r.prompt, r.response) for r in _builtin("harmful", "safe", "benign")}
        order = sorted(self.sets, key=lambda s: (s not in self.categories, s))
        by_set: dict[str, list[PromptRow]] = {name: [] for name in order}
        for row in self.rows:
            by_set[row.set].append(row)
        return [
            SetSummary(name, len(rows), len({r.prompt_id for r in rows}), self._origin(rows, shipped))
            for name, rows in by_set.items()
        ]

    def _origin(self, rows: Sequence[PromptRow], shipped: set[tuple[str, str]]) -> str:
        inside = sum((r.prompt, r.response) in shipped for r in rows)
        return WRITTEN_HERE if inside == len(rows) else self.id if not inside else f"{self.id}, {WRITTEN_HERE}"


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
                rows.append(PromptRow(category if harmful else f"safe:{category}", prompt, response, HUMAN))
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
    return [PromptRow(set_of[n](r), r["prompt"], r["response"], WRITTEN_HERE) for n in names for r in read_builtin(n)]


def _from_user(source: str, options: ReadOptions, say: Say) -> tuple[UserRows, list[PromptRow], list[str]]:
    """(what was read, its rows, notes), with built-in rows where the data has no benign or no same-topic safe ones."""
    read = read_user_rows(source, options, say=say)
    rows, notes = [PromptRow(*row) for row in read.rows], list(read.notes)
    if not any(r.set == BENIGN for r in rows):
        rows += _builtin("benign")
        notes.append("the file has no benign rows: builtin ones are used")
    if not any(r.set.startswith(SAFE) for r in rows):
        # Under the spelling of the reader's own category, where it is one of the built-in ones.
        spelling = {fold(r.set): r.set for r in rows}
        own = [(r, spelling.get(fold(r.set.removeprefix(SAFE)))) for r in _builtin("safe")]
        rows += [r if name is None else replace(r, set=SAFE + name) for r, name in own]
        notes.append("the file has no safe:<category> rows: builtin ones are used")
    return read, rows, notes


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


def load_prompts(source: str = "pyrit", *, options: ReadOptions = AS_IT_IS, say: Say = lambda _: None) -> PromptData:
    """The prompt data named ``pyrit``, ``scored``, ``builtin``, or a reader's own: a file, a saved folder,
    ``hub:owner/name``.

    Args:
        options: how a reader's own data is to be read.

    Raises:
        DataInvalid: unknown source, a broken file (the message names file, rows and columns), or no usable category.
        BadSetting: options for data that ships or is fetched.
        AssetUnavailable: the fetched data set is not here and cannot be fetched.
    """
    notes: list[str] = []
    reading: Reading | None = None
    if source in SHIPPED and options != AS_IT_IS:
        raise BadSetting(f"--columns, --category and --drop-bad are for data of your own, not for {source!r}")
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
    elif is_user_source(source):
        read, rows, notes = _from_user(source, options, say)
        name, reading = read.id, read.reading
    else:
        raise DataInvalid(
            f"data {source!r} is neither 'pyrit' nor 'scored' nor 'builtin' nor a file that is read here ({KINDS}) "
            "nor hub:owner/name"
        )
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
    return PromptData(name, tuple(r for r in rows if r.set in wanted), left_out, data.notes, reading)


def load_again(source: str | None, stored: Mapping[str, Any], *, say: Say = lambda _: None) -> PromptData:
    """The data that a run was made on, read as it was then.

    Args:
        source: where it is; None: its id names it. stored: ``data`` of the run's manifest.

    Raises:
        DataInvalid, AssetUnavailable: as ``load_prompts``.
    """
    source = source or str(stored["id"])
    return load_prompts(source, options=AS_IT_IS if source in SHIPPED else ReadOptions.of_manifest(stored), say=say)
