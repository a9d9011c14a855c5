"""``bench``: timings on this machine, each beside its floor and beside what a plain way takes: medians of five, same
tokens and dtype as what they are compared with."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Any

from harmviz.bench import BENCHES, OF_A_MODEL
from harmviz.bench.figure import Figure
from harmviz.bench.shapes import SHAPES
from harmviz.commands.output import print_json, print_table
from harmviz.display.text import size
from harmviz.errors import BadSetting
from harmviz.models.assets import EMBEDDED

if TYPE_CHECKING:
    from harmviz.bench.subject import Subject

HEADER = ("what", "value", "unit", "floor", "of floor", "reference", "peak memory")


def run(arguments: argparse.Namespace) -> None:
    names = _chosen(arguments)
    subject = _subject(arguments, names) if set(names) & set(OF_A_MODEL) else None
    results: dict[str, list[Figure]] = {}
    if not arguments.json:
        print(_machine_line(subject), flush=True)
    for name in names:
        bench = importlib.import_module(f"harmviz.bench.{name}").bench
        results[name] = bench(subject) if name in OF_A_MODEL else bench()
        if not arguments.json:  # one by one: who stops it keeps what was measured
            print(f"== {name}")
            print_table(HEADER, list(map(_row, results[name])))
            sys.stdout.flush()
    measured_on = _measured_on(subject)
    if arguments.json:
        figures = {name: [figure.as_dict() for figure in of_bench] for name, of_bench in results.items()}
        print_json({**measured_on, "results": figures})
        return
    for line in _lines(measured_on):
        print(line)


def _chosen(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The benches that are asked for.

    Raises:
        BadSetting: options of a model are given for a bench that measures none, or two models at once.
    """
    if arguments.model is not None and arguments.shape is not None:
        raise BadSetting("--model and --shape name two models; give one of them")
    given = [
        f"--{option}"
        for option, default in (("model", None), ("shape", None), ("dtype", "auto"), ("device", "auto"))
        if getattr(arguments, option) != default
    ]
    if arguments.what is None:
        return OF_A_MODEL if given else BENCHES
    if given and arguments.what not in OF_A_MODEL:
        raise BadSetting(
            f"bench {arguments.what} measures stored runs, no model: leave {given[0]} out, or choose one of "
            f"{', '.join(OF_A_MODEL)}"
        )
    return (arguments.what,)


def _subject(arguments: argparse.Namespace, names: tuple[str, ...]) -> Subject:
    from harmviz.bench import subject

    where = {"dtype": arguments.dtype, "device": arguments.device}
    if arguments.shape is None:
        return subject.named_model(arguments.model or EMBEDDED, **where)
    return subject.random_shape(SHAPES[arguments.shape], **where, scored="scoring" in names)


def _measured_on(subject: Subject | None) -> dict[str, Any]:
    """The machine, what it was measured to do at best, and the model."""
    from harmviz.bench.machine import describe, rates_as_json

    loaded = None if subject is None else subject.loaded
    document = {"machine": describe(None if loaded is None else loaded.device), "rates": rates_as_json()}
    if subject is not None and loaded is not None:
        document["model"] = {
            "name": loaded.name,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "device": str(loaded.device),
            "n_parameters": subject.sizes.n_parameters,
            "n_scored_weights": subject.sizes.n_scored,
            "weight_bytes": loaded.dtype.itemsize * subject.sizes.n_parameters,
        }
    return document


def _machine_line(subject: Subject | None) -> str:
    from harmviz.bench.machine import describe

    machine = describe(None if subject is None else subject.loaded.device)
    gpu = f"{machine['gpu']}; " if machine["gpu"] else ""
    cores = f"{machine['cores']} cores, threads: {machine['threads']}"
    return f"{gpu}{machine['processor']}, {cores}; torch {machine['torch']}"


def _lines(measured_on: dict[str, Any]) -> list[str]:
    """What the machine was measured to do at best while the benches ran, and the model."""
    lines = [
        f"measured on {rates['device']}: products of {rates['dtype']} matrices {rates['flops'] / 1e9:,.0f} GFLOP/s, "
        f"copies {rates['bandwidth'] / 1e9:,.1f} GB/s"
        for rates in measured_on["rates"]
    ]
    if "model" in measured_on:
        model = measured_on["model"]
        lines.append(f"{model['name']}, {model['dtype']} on {model['device']}: weights {size(model['weight_bytes'])}")
    return lines


def _row(figure: Figure) -> tuple[str, ...]:
    """One line of the table; what there is not is left blank."""
    reference = figure.reference
    return (
        figure.what,
        f"{figure.value:,}" if isinstance(figure.value, int) else f"{figure.value:.4g}",
        figure.unit,
        "" if figure.floor is None else f"{figure.floor:.3g}",
        "" if figure.of_floor is None else _percent(figure.of_floor),
        "" if reference is None else f"{reference.value:.4g} ({reference.what})",
        "" if figure.peak_bytes is None else size(figure.peak_bytes),
    )


def _percent(share: float) -> str:
    """``42 %``, ``7.3 %``, ``0.12 %``"""
    return f"{100 * share:.{0 if share >= 0.1 else 1 if share >= 0.01 else 2}f} %"
