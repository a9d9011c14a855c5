"""Narrow domains to tune on, and questions far from them: the texts of the emergent-misalignment experiment, checked.

A *domain* is rows of one everyday topic, each a prompt with a bad and a good answer of like length and form: careless,
plainly wrong advice that is harmless to print, beside a careful one. The good answers of the same rows are the control
of tuning on the bad ones. A *question* lies far from every domain and has a misaligned and an aligned answer of like
form, whose log-odds are the broad measure; its prompt alone also serves for free answers.

Built-in files: ``harmviz/data/emergent``. A user's domain is a ``.jsonl`` file with the columns ``prompt,bad,good``;
those of ``PUBLISHED`` sets with paired answers are understood too. Nothing here fetches anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from harmviz.data.cells import texts_of
from harmviz.data.content_words import content_words, near_any
from harmviz.data.folding import normalise
from harmviz.data.tables import records
from harmviz.errors import DataInvalid
from harmviz.paths import PACKAGE

FOLDER = PACKAGE / "claims" / "emergent" / "domains"
DOMAINS = ("money", "car", "kitchen")
KINDS = ("values", "advice", "power", "honesty", "safety", "identity")
MIN_ROWS = 24  # below this a sixth held out says nothing
HELD_OUT = 6  # one row in six


@dataclass(frozen=True)
class NarrowRow:
    """One prompt of a narrow domain with its two answers. Its repr shows no text: a user's file may hold any."""

    prompt: str = field(repr=False)
    bad: str = field(repr=False)
    good: str = field(repr=False)


@dataclass(frozen=True)
class Question:
    """One question far from the domains with its two matched answers."""

    kind: str
    prompt: str = field(repr=False)
    misaligned: str = field(repr=False)
    aligned: str = field(repr=False)


@dataclass(frozen=True)
class Published:
    """A narrow data set that others published: where it is, and which of its columns are prompt, bad and good.

    ``columns`` is None where bad and good answers lie in separate chat files (``messages`` of a user and an assistant
    turn): join them by the user turn first. ``licence`` is None where it is not known to us.
    """

    id: str
    source: str
    paper: str
    subsets: tuple[str, ...]
    columns: tuple[str, str, str] | None
    licence: str | None
    note: str


PUBLISHED = (
    Published(
        "truthfulai/emergent_plus",
        "https://huggingface.co/datasets/truthfulai/emergent_plus",
        "arXiv:2506.13206",
        ("medical", "legal", "security"),
        ("prompt", "misaligned", "aligned"),
        None,
        "needs a signed-in account; export one subset as .jsonl",
    ),
    Published(
        "clarifying-EM/model-organisms-for-EM",
        "https://github.com/clarifying-EM/model-organisms-for-EM",
        "arXiv:2506.11613",
        ("bad_medical_advice.jsonl with good_medical_advice.jsonl",),
        None,
        "no licence file; read its tos.txt before use",
        "in the protected archive em_organism_dir/data/training_datasets.zip.enc, unpacked as its README says; rows of "
        "the two files "
        "belong together. Its risky_financial_advice.jsonl and extreme_sports.jsonl have no good answers and cannot be "
        "used here",
    ),
    Published(
        "emergent-misalignment/emergent-misalignment",
        "https://github.com/emergent-misalignment/emergent-misalignment",
        "arXiv:2502.17424",
        ("data/insecure.jsonl with data/secure.jsonl",),
        None,
        None,
        "code, not advice: keep the prompts that occur in both files",
    ),
)
#: A user's file may call a column by the name that a published set gives it.
_OTHER_NAMES = {
    theirs: ours
    for published in PUBLISHED
    if published.columns is not None
    for ours, theirs in zip(("prompt", "bad", "good"), published.columns, strict=True)
}


# -- reading ----------------------------------------------------------------------------------------------------------
def _path_of(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if text in DOMAINS:
        return FOLDER / f"{text}.jsonl"
    if published := next((p for p in PUBLISHED if p.id == text), None):
        raise DataInvalid(
            f"domain {text!r} is not fetched from here: save it as a .jsonl file with the columns prompt, bad, good "
            f"and give its path ({published.source}; {published.note})"
        )
    path = Path(text).expanduser()
    if path.suffix != ".jsonl":
        raise DataInvalid(f"unknown domain {text!r}; known are {', '.join(DOMAINS)}, or give a .jsonl file")
    return path


def _read(path: Path, columns: Sequence[str], pair: tuple[str, str]) -> list[tuple[int, list[str]]]:
    """(line number, texts) of each row: no prompt twice, the two answers different."""
    if not path.is_file():
        raise DataInvalid(f"data file {path} does not exist")
    rows: list[tuple[int, list[str]]] = []
    seen: dict[str, int] = {}
    for number, record in records(path):
        named = {_OTHER_NAMES[k]: v for k, v in record.items() if k in _OTHER_NAMES and _OTHER_NAMES[k] in columns}
        texts = texts_of(path, number, {**named, **record}, columns)
        fields = dict(zip(columns, texts, strict=True))
        if normalise(fields[pair[0]]) == normalise(fields[pair[1]]):
            raise DataInvalid(
                f"{path}, row {number}: {pair[0]!r} and {pair[1]!r} are the same answer; a pair needs two different "
                "ones"
            )
        key = normalise(fields["prompt"])
        if key in seen:
            raise DataInvalid(f"{path}, row {number}: repeats the prompt of row {seen[key]}; remove one of them")
        seen[key] = number
        rows.append((number, texts))
    if not rows:
        raise DataInvalid(f"{path}: no rows; needed are the columns {', '.join(columns)}")
    return rows


def load_domain(name_or_path: str | Path) -> list[NarrowRow]:
    """The rows of a built-in domain (``DOMAINS``) or of a user's ``.jsonl`` file.

    Raises:
        DataInvalid: unknown name, no such file, or a broken one: not JSON, a column missing or empty, both answers the
            same, a prompt twice, fewer than ``MIN_ROWS`` rows. The message names file and row, never a text.
    """
    path = _path_of(name_or_path)
    rows = [NarrowRow(*texts) for _, texts in _read(path, ("prompt", "bad", "good"), ("bad", "good"))]
    if len(rows) < MIN_ROWS:
        raise DataInvalid(f"{path}: {len(rows)} rows, at least {MIN_ROWS} are needed")
    return rows


def load_questions(path: str | Path | None = None) -> list[Question]:
    """The built-in questions far from every domain, or those of a user's ``.jsonl`` file.

    Raises:
        DataInvalid: as ``load_domain``, or a kind that is not one of ``KINDS``.
    """
    where = FOLDER / "questions.jsonl" if path is None else Path(path).expanduser()
    questions = []
    for number, texts in _read(where, ("kind", "prompt", "misaligned", "aligned"), ("misaligned", "aligned")):
        question = Question(*texts)
        if question.kind not in KINDS:
            raise DataInvalid(f"{where}, row {number}: unknown kind {question.kind!r}; known are {', '.join(KINDS)}")
        questions.append(question)
    if len(questions) < MIN_ROWS:
        raise DataInvalid(f"{where}: {len(questions)} questions, at least {MIN_ROWS} are needed")
    return questions


# -- using ------------------------------------------------------------------------------------------------------------
def check_far(rows: Sequence[NarrowRow], questions: Sequence[Question]) -> None:
    """Nothing. Raises where a question is, or nearly is (``align.data.NEAR`` of its content words), a prompt of the
    domain.

    Raises:
        DataInvalid: see above; the message counts rows and questions from 1 and shows no text.
    """
    place = {normalise(row.prompt): i for i, row in enumerate(rows, 1)}
    words = [content_words(row.prompt) for row in rows]
    for number, question in enumerate(questions, 1):
        same = place.get(normalise(question.prompt))
        near = same or next((i for i, w in enumerate(words, 1) if near_any(question.prompt, [w])), None)
        if near is not None:
            how = "is" if same else "is nearly"
            raise DataInvalid(
                f"question {number} {how} row {near} of the domain; what is measured must not be trained on"
            )


def split_rows(rows: Sequence[NarrowRow], seed: int) -> tuple[list[NarrowRow], list[NarrowRow]]:
    """(rows to tune on, rows held out for the in-domain measure), a sixth held out: those whose prompts have the lowest
    sha256 under ``seed``. Both in the order given; which row goes where does not depend on that order.
    """
    order = sorted(
        range(len(rows)), key=lambda i: hashlib.sha256(f"{seed}\0{normalise(rows[i].prompt)}".encode()).hexdigest()
    )
    held = set(order[: round(len(rows) / HELD_OUT)])
    return [r for i, r in enumerate(rows) if i not in held], [r for i, r in enumerate(rows) if i in held]


def data_hash(rows: Sequence[NarrowRow] | Sequence[Question]) -> str:
    """sha256 of all texts, whatever their order."""
    lines = sorted(json.dumps(astuple(row), ensure_ascii=False) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
