"""``bench``: timings on this machine: medians of five, same tokens and dtype as what they are compared with."""

from __future__ import annotations

import argparse
import importlib
import platform
from typing import Any

from harmviz.bench import BENCHES
from harmviz.commands.output import print_json, print_table


def run(arguments: argparse.Namespace) -> None:
    names = BENCHES if arguments.what is None else (arguments.what,)
    results: dict[str, Any] = {}
    for name in names:
        results[name] = importlib.import_module(f"harmviz.bench.{name}").bench()
    if arguments.json:
        print_json({"machine": platform.machine(), "results": results})
        return
    for name, measured in results.items():
        print(f"== {name}")
        print_table(("what", "value", "unit"), [(k, f"{v:.4g}", unit) for k, (v, unit) in measured.items()])
