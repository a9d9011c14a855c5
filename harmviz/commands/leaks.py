"""``leaks``: no text of the fetched data in git, stored runs, reports, logs; ends with 2 where there is one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from harmviz.commands.output import print_json, print_table, say
from harmviz.data import leaks
from harmviz.errors import DataInvalid
from harmviz.paths import PACKAGE, jobs_root, runs_root
from harmviz.report.document import report
from harmviz.runs import list_runs


def run(arguments: argparse.Namespace) -> None:
    """Checks, and says where. The texts themselves are never shown."""
    index = leaks.data_index(say)
    n, found = 0, []
    for place, content in _looked_at(arguments):
        n += 1
        if (leak := leaks.leak_in(index, place, content)) is not None:
            found.append(leak)
    if arguments.json:
        rows = [{"place": f.place, "shingles": f.match.shingles, "texts": f.match.texts} for f in found]
        print_json({"files": n, "shingles": len(index), "found": rows})
    elif found:
        lines = [(f.place, f"{f.match.shingles:,}", f"{f.match.texts:,}") for f in found]
        print_table(("file", "shingles", "texts"), lines)
    else:
        print(f"{n:,} files, compared with {len(index):,} shingles of the fetched data: no text of it")
    if found:
        raise DataInvalid(
            f"{len(found)} of {n:,} files repeat texts of the fetched data; take them out, of git's history too, and "
            "check again"
        )


def _looked_at(arguments: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    if arguments.paths:
        yield from leaks.files_in(Path(p).expanduser() for p in arguments.paths)
        return
    stored = [place for place in (runs_root(), jobs_root()) if place.is_dir()]
    yield from chain(leaks.files_of_git(PACKAGE.parent, history=arguments.history), leaks.files_in(stored))
    for made in list_runs() if arguments.reports else []:
        yield f"report of {made.id}.html", report(made).encode()
