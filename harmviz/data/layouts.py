"""What the columns of a file mean: the layouts that are recognised, and the line that asks where none is.

==================  ==================================================================================================
plain               category, prompt, response
goal and target     other names for these (``columns.NAMES``), as AdvBench, HarmBench and others use them
instruction         instruction, input, output: the input follows the instruction after an empty line
chat                messages or conversations: the last answer, and the user's turn before it (``turns``)
pairs               chosen and rejected: which of them is harmful the file does not say, so ``--columns`` must
flags               a column of 0 and 1 for each harm type, or one column of an object of them, often with is_safe
==================  ==================================================================================================

Where no column says the harm type, ``--category`` names one for all rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harmviz.data.columns import ReadOptions, find_uses
from harmviz.data.table import Table, shown_column
from harmviz.data.turns import exchange, turns_of
from harmviz.errors import DataInvalid

_TRUE, _FALSE = frozenset(("1", "1.0", "true", "yes")), frozenset(("0", "0.0", "false", "no", ""))
#: Columns of 0 and 1 that flag no harm type.
_NO_FLAGS = frozenset(("", "id", "idx", "index", "label", "score", "split", "turn", "success", "refused", "unnamed: 0"))
#: Rows that say what the columns hold.
_LOOKED_AT = 1000


@dataclass(frozen=True)
class Layout:
    """How rows are read.

    Attributes:
        name: one of the module's table.
        uses: use (``columns.NAMES``) → column.
        flags: columns that each flag a harm type; empty where ``uses`` or ``category`` say it.
        category: the harm type of every row, where it was given.
    """

    name: str
    uses: dict[str, str]
    flags: tuple[str, ...] = ()
    category: str | None = field(default=None)

    @property
    def shown(self) -> dict[str, str]:
        """Use → column, as a reader is told."""
        told = {use: shown_column(column).strip("'") for use, column in self.uses.items()}
        if self.flags:
            told["flags"] = ", ".join(shown_column(flag).strip("'") for flag in self.flags)
        return told


def truth(value: Any) -> bool | None:
    """What a flag says, as a boolean, 0 or 1, or their words; None where it is no flag."""
    if isinstance(value, bool):
        return value
    if value is None:
        return False
    word = str(value).strip().casefold() if isinstance(value, int | float | str) else "?"
    return True if word in _TRUE else False if word in _FALSE else None


def recognise(table: Table, options: ReadOptions, *, requests: bool = False) -> Layout:
    """The layout of a table, by what was said, then by the names of its columns.

    Args:
        requests: prompts are wanted alone; answers and categories need not be there.

    Raises:
        DataInvalid: a named column is missing, or the columns do not say what is needed; the message lists the columns
            and a mapping that would read them.
    """
    columns = table.columns
    for role, column in options.columns.items():
        if column not in columns:
            raise DataInvalid(f"{table.where}: --columns {role}={column}: there is no such column; {_found(columns)}")
    uses = find_uses(columns, options.columns)
    if options.category is not None and (column := uses.pop("category", "")):
        _one_name(table, column)
    if _is_chat(table, uses, options):
        if not requests and not any(
            _answered(record.get(uses["messages"])) for _, record in table.records[:_LOOKED_AT]
        ):
            raise DataInvalid(_requests_alone(table))
        name = "chat"
        uses = {use: column for use, column in uses.items() if use in ("category", "messages", "is_safe")}
    else:
        uses.pop("messages", None)
        name = _told_apart(table, uses, options, requests=requests)
    if name != "instruction":
        uses.pop("input", None)
    uses.pop("chosen", None)
    uses.pop("rejected", None)
    flags: tuple[str, ...] = ()
    if not requests and "category" not in uses and options.category is None:
        flags = _flags(table, uses)
        if not flags:
            raise DataInvalid(
                f"{table.where}: no column says the harm type; give one for all rows with --category NAME, or the "
                f"column with --columns category=COLUMN; {_found(columns)}"
            )
        name = f"{name}, flags" if name == "chat" else "flags"
    elif "category" in uses and any(isinstance(r.get(uses["category"]), dict) for _, r in table.records[:_LOOKED_AT]):
        name = f"{name}, flags" if name == "chat" else "flags"
    return Layout(name, uses, flags, options.category)


def _one_name(table: Table, column: str) -> None:
    """Nothing, where a column of categories says the same of every row: the option may name it otherwise.

    Raises:
        DataInvalid: it tells rows apart, so that one harm type for all would make harm of harmless ones.
    """
    said = {str(record.get(column)).strip().casefold() for _, record in table.records}
    if len(said) > 1:
        raise DataInvalid(
            f"{table.where}: the column {shown_column(column)} says the category of each row, {len(said)} different "
            "ones; leave out --category, or rename the column if it means something else"
        )


def _is_chat(table: Table, uses: dict[str, str], options: ReadOptions) -> bool:
    """Whether conversations are read: where they were named, or stand there and no texts were named."""
    if "messages" in options.columns:
        return True
    if "messages" not in uses or {"prompt", "response"} & set(options.columns):
        return False
    return any(turns_of(record.get(uses["messages"])) for _, record in table.records[:_LOOKED_AT])


def _told_apart(table: Table, uses: dict[str, str], options: ReadOptions, *, requests: bool) -> str:
    """The name of a layout of texts in columns.

    Raises:
        DataInvalid: pairs, or the columns of the texts are not known.
    """
    if {"chosen", "rejected"} <= set(table.columns) and "response" not in uses and not requests:
        raise DataInvalid(
            f"{table.where} holds pairs of a chosen and a rejected answer, and does not say which of them is harmful: "
            "--columns response=rejected reads the rejected ones as harmful, --columns response=rejected,safe=chosen "
            "also the chosen ones as safe answers on the same topic; " + _found(table.columns)
        )
    if "response" not in uses and not requests:
        if "prompt" in uses:
            raise DataInvalid(_requests_alone(table))
        raise DataInvalid(_unknown(table, options))
    if "prompt" not in uses and not _whole_conversations(table, uses):
        raise DataInvalid(_unknown(table, options))
    if uses.get("response") in ("chosen", "rejected"):
        return "pairs"
    if uses.get("prompt") == "instruction" and "input" in uses:
        return "instruction"
    usual = {"prompt": "prompt", "response": "response", "category": "category"}
    return "plain" if all(usual.get(use, column) == column for use, column in uses.items()) else "goal and target"


def _answered(cell: Any) -> bool:
    """Whether a cell is no conversation, which is a fault of its row, or one with an answer."""
    turns = turns_of(cell)
    return turns is None or exchange(turns).response is not None


def _whole_conversations(table: Table, uses: dict[str, str]) -> bool:
    """Whether the answers come with their questions, as conversations."""
    column = uses.get("response", "")
    return any(turns_of(record.get(column)) for _, record in table.records[:_LOOKED_AT])


def _flags(table: Table, uses: dict[str, str]) -> tuple[str, ...]:
    """The columns that hold flags in every row, and a set one somewhere."""
    free = [c for c in table.columns if c not in uses.values() and c not in _NO_FLAGS]
    values = {c: [truth(record.get(c)) for _, record in table.records] for c in free}
    return tuple(c for c in free if None not in values[c] and any(values[c]))


# -- words for what is not known --------------------------------------------------------------------------------------
def _found(columns: Sequence[str]) -> str:
    shown = [shown_column(column) for column in columns[:30]]
    return f"columns found: {', '.join(shown)}" + (f" and {len(columns) - 30} more" if len(columns) > 30 else "")


def _requests_alone(table: Table) -> str:
    return (
        f"{table.where} holds requests without answers, which cannot score a model: add a column of harmful "
        "answers (or name it: --columns response=COLUMN), or ask them as held-out requests with --requests "
        f"{shlex.quote(table.where)} of `align` or of an experiment that asks for answers; " + _found(table.columns)
    )


def _unknown(table: Table, options: ReadOptions) -> str:
    """What to say where prompt and answer are not recognised: the columns, and the mapping that would read them."""
    said = {role: column for role, column in options.columns.items() if role in ("prompt", "response")}
    lengths = {c: _mean_letters(table, c) for c in table.columns if c not in options.columns.values()}
    longest = sorted((c for c in lengths if lengths[c] > 0), key=lambda c: -lengths[c])[: 2 - len(said)]
    free = sorted(longest, key=table.columns.index)  # people write the question before the answer
    guess = dict(said)
    for role in ("prompt", "response"):
        if role not in guess and free:
            guess[role] = free.pop(0)
    line = f"{table.where}: no columns are recognised as prompt and response; {_found(table.columns)}"
    if len(guess) < 2 or any(shown_column(column) != repr(column) for column in guess.values()):
        return f"{line}; needed are the columns category, prompt, response, or --columns prompt=A,response=B"
    mapping = ",".join(f"{role}={guess[role]}" for role in ("prompt", "response"))
    harm_type = "" if options.category or "category" in find_uses(table.columns, {}) else " --category NAME"
    return f"{line}; if this is how it is meant: --columns {shlex.quote(mapping)}{harm_type}"


def _mean_letters(table: Table, column: str) -> float:
    """Mean length of the texts in a column; 0 where it holds something else."""
    values = [record.get(column) for _, record in table.records[:_LOOKED_AT]]
    texts = [v for v in values if isinstance(v, str)]
    return sum(map(len, texts)) / len(texts) if texts and 2 * len(texts) >= len(values) else 0.0
