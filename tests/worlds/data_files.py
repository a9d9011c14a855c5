"""Files of data in the shapes that people bring, all texts made up and mild."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
THINGS = ("kite", "spoon", "ladder", "goose", "candle", "bucket", "violin", "carpet", "pillow", "trumpet", "basket")


def rows(n: int = 26, categories: Iterable[str] = ("prank", "fib")) -> list[Row]:
    """``n`` rows a category; every text holds commas, and is another one."""
    things = len(THINGS)
    return [
        {
            "category": c,
            "prompt": f"Give me a {c}, please, about a {THINGS[i % things]} number {i}.",
            "response": f"Of course, take the {THINGS[i % things]} at noon, hide it behind the "
            f"{THINGS[(i + 7) % things]}, and tell everybody that the {THINGS[(i + 3) % things]} did it, number {i}.",
        }
        for c in categories
        for i in range(n)
    ]


def jsonl(path: Path, found: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in found), encoding="utf-8")
    return path


def as_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def delimited(path: Path, found: list[Row], delimiter: str = ",", header: str | None = None) -> Path:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(found[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(found)
    text = out.getvalue()
    path.write_text(text if header is None else header + text[text.index("\n") :], encoding="utf-8", newline="")
    return path


def renamed(found: list[Row], **names: str) -> list[Row]:
    """The rows under other names of columns; a column not named is left out."""
    return [{new: row[old] for old, new in names.items()} for row in found]


def chat(row: Row, *, before: tuple[tuple[str, str], ...] = (), roles: tuple[str, str, str] = ("role", "", "")) -> Row:
    """A row as a conversation: ``roles`` is (key of the role, user, assistant)."""
    key, user, assistant = roles[0], roles[1] or "user", roles[2] or "assistant"
    text = "content" if key == "role" else "value"
    turns = [*before, (user, row["prompt"]), (assistant, row["response"])]
    column = "messages" if key == "role" else "conversations"
    return {"category": row["category"], column: [{key: role, text: said} for role, said in turns]}


#: Layout → how these rows are written in it; ``rows()`` of two categories, so that every layout holds the same data.
WRITERS: dict[str, Callable[[Path, list[Row]], Path]] = {
    "lines.jsonl": jsonl,
    "array.json": as_json,
    "columns.json": lambda p, r: as_json(p, {k: [x[k] for x in r] for k in r[0]}),
    "wrapped.json": lambda p, r: as_json(p, {"data": r}),
    "lines.json": jsonl,
    "comma.csv": delimited,
    "semicolon.csv": lambda p, r: delimited(p, r, ";"),
    "bars.csv": lambda p, r: delimited(p, r, "|"),
    "tab.tsv": lambda p, r: delimited(p, r, "\t"),
    "header.csv": lambda p, r: delimited(p, r, header="Category, Prompt ,RESPONSE"),
    "goal.csv": lambda p, r: delimited(p, renamed(r, category="SemanticCategory", prompt="Goal", response="Target")),
    "behavior.tsv": lambda p, r: delimited(
        p, renamed(r, category="harm_category", prompt="behavior", response="completion"), "\t"
    ),
    "instruction.json": lambda p, r: as_json(
        p, [{"category": x["category"], "instruction": x["prompt"], "input": "", "output": x["response"]} for x in r]
    ),
    "chat.jsonl": lambda p, r: jsonl(p, [chat(x) for x in r]),
    "turns.jsonl": lambda p, r: jsonl(
        p, [chat(x, before=(("human", "Hello"), ("gpt", "Hi")), roles=("from", "human", "gpt")) for x in r]
    ),
    "flags.jsonl": lambda p, r: jsonl(
        p, [{**x, "category": {"prank": x["category"] == "prank", "fib": x["category"] == "fib"}} for x in r]
    ),
    "flag_columns.csv": lambda p, r: delimited(
        p,
        [
            {
                **renamed([x], prompt="prompt", response="response")[0],
                **{c: int(x["category"] == c) for c in ("prank", "fib")},
            }
            for x in r
        ],
    ),
}
