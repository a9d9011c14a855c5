"""``data``: what would be read of a file, a folder or a hub data set, before anything is computed."""

from __future__ import annotations

import argparse
from typing import Any

from harmviz.commands.output import print_json, print_table, say
from harmviz.commands.user_data import typed_options
from harmviz.data.prompts import PromptData, load_prompts


def run(arguments: argparse.Namespace) -> None:
    """Reads it and says what a run would use; ends with 2 where no run could be made of it."""
    data = load_prompts(arguments.source, options=typed_options(arguments), say=say)
    if arguments.json:
        print_json(document(data))
        return
    print_data(data)


def document(data: PromptData) -> dict[str, Any]:
    """What was read, as JSON: no text of it."""
    return {
        "id": data.id,
        "digest": data.hash,
        "categories": list(data.categories),
        "sets": {s.name: {"rows": s.rows, "prompts": s.prompts, "from": s.origin} for s in data.summary()},
        "left_out": data.left_out,
        "notes": list(data.notes),
        "reading": None if data.reading is None else data.reading.as_json,
    }


def print_data(data: PromptData) -> None:
    """The same for people."""
    if (reading := data.reading) is not None:
        columns = ", ".join(f"{use} = {column}" for use, column in reading.columns.items())
        print(f"{data.id}: {reading.format}, {reading.records:,} rows; layout {reading.layout} ({columns})")
    sizes = [(s.name, f"{s.rows:,}", f"{s.prompts:,}", s.origin) for s in data.summary()]
    print_table(("set", "rows", "prompts", "from"), sizes)
    for category, why in data.left_out.items():
        print(f"left out: category {category}: {why}")
    for note in data.notes:
        print(f"note: {note}")
    print(f"digest {data.hash}")
