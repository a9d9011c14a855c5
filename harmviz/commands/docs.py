"""``docs``: the tables and sentences of README and docs/, written anew from the committed runs."""

from __future__ import annotations

import argparse

from harmviz.claims.documents import write_documents
from harmviz.commands.output import print_json, say
from harmviz.errors import DataInvalid
from harmviz.paths import PACKAGE


def run(arguments: argparse.Namespace) -> None:
    changed = [str(path.relative_to(PACKAGE.parent)) for path in write_documents(check=arguments.check)]
    if arguments.json:
        print_json({"changed": changed, "written": not arguments.check})
    if arguments.check and changed:
        raise DataInvalid(
            f"{', '.join(changed)} differ from the committed runs; write them with `python -m harmviz docs`"
        )
    if not arguments.json:
        say(f"written: {', '.join(changed)}" if changed else "README and docs say what the committed runs say")
