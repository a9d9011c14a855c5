"""Which column is what: the names that public data sets use, and what a reader says with ``--columns``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harmviz.errors import BadSetting

#: What a column can be used as → names that are understood without being told, the most exact first.
NAMES: dict[str, tuple[str, ...]] = {
    "category": ("category", "harm_category", "semanticcategory", "semantic_category", "harm_type", "categories"),
    "prompt": (
        "prompt",
        "goal",
        "instruction",
        "question",
        "request",
        "forbidden_prompt",
        "behavior",
        "behaviour",
        "query",
        "user_prompt",
    ),
    "response": (
        "response",
        "target",
        "output",
        "answer",
        "completion",
        "assistant_response",
        "model_response",
        "model_output",
    ),
    "input": ("input", "context"),
    "messages": ("messages", "conversations", "conversation", "chat"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "is_safe": ("is_safe", "is_response_safe", "is_harmless"),
    # Another answer to the same prompt, to go into ``safe:<category>``; never understood without being told.
    "safe": (),
}
KNOWN_NAMES = frozenset(name for names in NAMES.values() for name in names)
#: What ``--columns`` takes.
ROLES = ("category", "prompt", "response", "input", "messages", "is_safe", "safe")


@dataclass(frozen=True)
class ReadOptions:
    """How a reader says what a file holds.

    Attributes:
        columns: use → name of the column, folded for case; e.g. ``{"prompt": "goal"}``.
        category: the harm type of every row, where no column says it.
        drop_bad: leave out rows that cannot be used, and count them, instead of refusing the file.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    category: str | None = None
    drop_bad: bool = False

    @property
    def as_json(self) -> dict[str, Any]:
        """What a manifest says of it: what is not the default."""
        said = {"columns": dict(self.columns), "category": self.category, "drop_bad": self.drop_bad}
        return {name: value for name, value in said.items() if value}

    @property
    def typed_columns(self) -> str:
        """``columns`` as ``read_options`` takes it."""
        return ",".join(f"{role}={column}" for role, column in self.columns.items())

    @property
    def as_arguments(self) -> tuple[str, ...]:
        """What says the same on the command line; ``--x=value``: no value can pass for an option."""
        given = {"columns": self.typed_columns, "category": self.category}
        return (*(f"--{k}={v}" for k, v in given.items() if v), *(["--drop-bad"] if self.drop_bad else []))

    @classmethod
    def of_json(cls, said: Any) -> ReadOptions:
        """What ``as_json`` said; the defaults for whatever is not of its form."""
        known: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        columns, category = known.get("columns"), known.get("category")
        return cls(
            {str(k): str(v) for k, v in columns.items() if k in ROLES} if isinstance(columns, Mapping) else {},
            category if isinstance(category, str) else None,
            known.get("drop_bad") is True,
        )

    @classmethod
    def of_manifest(cls, data: Mapping[str, Any]) -> ReadOptions:
        """How the data of a run was read, by its manifest's ``data``."""
        reading = data.get("reading")
        return cls.of_json(reading.get("options") if isinstance(reading, Mapping) else None)


#: A file as it is.
AS_IT_IS = ReadOptions()


def read_options(columns: str | None, category: str | None, drop_bad: bool) -> ReadOptions:
    """The options as they are typed: ``columns`` is ``use=column,use=column``.

    Raises:
        BadSetting: a use is unknown, named twice or without a column, or both say the category.
    """
    named: dict[str, str] = {}
    for part in re.split(rf"(?i),(?=\s*(?:{'|'.join(ROLES)})\s*=)", columns) if columns else []:
        role, equals, column = part.partition("=")
        role, column = role.strip().casefold(), column.strip().casefold()
        if role not in ROLES or not equals or not column:
            raise BadSetting(
                f"--columns must be use=column, comma-separated, with uses among {', '.join(ROLES)}; got {part[:60]!r}"
            )
        if role in named:
            raise BadSetting(f"--columns names a column for {role!r} twice; name one")
        named[role] = column
    if category is not None and not category.strip():
        raise BadSetting("--category must name a harm type, got nothing")
    if category is not None and "category" in named:
        raise BadSetting("--category names one harm type for all rows and --columns a column for it; give one of them")
    return ReadOptions(named, category, drop_bad)


def find_uses(columns: Sequence[str], said: Mapping[str, str]) -> dict[str, str]:
    """Use → column: what was said, else the first known name that is there and not used otherwise."""
    uses = dict(said)
    for role, names in NAMES.items():
        if role not in uses and (found := _first(names, columns, uses.values())):
            uses[role] = found
    return uses


def _first(names: Iterable[str], columns: Sequence[str], taken: Iterable[str]) -> str | None:
    used = set(taken)
    return next((name for name in names if name in columns and name not in used), None)
