"""``mask``: a mask out of a stored run, or read off two checkpoints; and what a mask shares with others.

Of a stored run no model is loaded. The stored lists settle every category and the mean of all of them up to the run's
q_max, but the mean of *some* only as far as it lies above what the lists cut off. With ``--from-model`` the sets are
scored again by the run's own settings and ranked for this very selection: exact for any q, at the cost of minutes and
of scratch disk. With ``--from-checkpoints`` two checkpoints are read instead (``harmviz.commands.mask_between``).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmviz.commands import mask_between, mask_overlap
from harmviz.commands.output import print_json, progress_printer, say
from harmviz.data.categories import split_names
from harmviz.errors import BadSetting, HarmvizError, SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.weights import WeightTable
from harmviz.runs import Run, open_run

#: What selects a mask in a run, what ranks it anew, and how a model is loaded; each as it is where nobody types it.
_SELECTING = {"categories": None, "q": None, "combine": "mean", "p": 0.01, "scope": "global", "contrast": "none"}
_READING, _LOADING = {"model": None, "data": None}, {"dtype": "auto", "device": "auto"}


def run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    mask, table, document, lines = _made(arguments)
    compared = mask_overlap.compared(mask, arguments.compare_with, table) if arguments.compare_with else None
    if arguments.out and not _is_mask_file(arguments.run):
        document["path"] = str(_save(mask, Path(arguments.out).expanduser()))
    if arguments.json:
        print_json(document if compared is None else {**document, "compared": mask_overlap.as_json(compared)})
        return
    if "path" in document:
        print(document["path"], end="  ")
    print("\n".join(lines))
    if compared is not None:
        mask_overlap.print_compared(arguments.compare_with, compared)


def _check(arguments: argparse.Namespace) -> None:
    """Raises BadSetting where what is given does not say where the mask comes from, or says it twice."""
    if bool(arguments.run) == bool(arguments.from_checkpoints):
        raise BadSetting("give RUN (a run, or a mask file) or --from-checkpoints BASE PRUNED, one of them; see --help")
    ranking = _typed(arguments, {**_READING, **_LOADING})
    if arguments.from_checkpoints or _is_mask_file(arguments.run):
        loading = {} if arguments.from_checkpoints else _LOADING  # checkpoints are loaded to judge what they differ by
        if given := _typed(arguments, {**_SELECTING, **_READING, **loading, "from_model": False}):
            raise BadSetting(f"{given[0]} selects a mask in a run, and this one is given whole; leave it out")
        if arguments.run and (arguments.out or not arguments.compare_with):
            raise BadSetting(f"{arguments.run} is a mask already; say what it is laid over with --compare-with")
        return
    if missing := [f"--{name}" for name in ("categories", "q", "out") if getattr(arguments, name) is None]:
        raise BadSetting(f"a mask out of a run needs {', '.join(missing)}; see --help")
    if ranking and not arguments.from_model:
        raise BadSetting(
            f"{ranking[0]} goes with --from-model: without that the mask comes from what the run stores, and no model "
            "or data is read; add it, or leave this out"
        )


def _typed(arguments: argparse.Namespace, options: Mapping[str, Any]) -> list[str]:
    """Those of the options that are not what they are where nobody types them."""
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if getattr(arguments, name) != value]


def _is_mask_file(name: str | None) -> bool:
    return name is not None and Path(name).expanduser().is_file()


def _made(arguments: argparse.Namespace) -> tuple[PruneMask, WeightTable | None, dict[str, Any], list[str]]:
    """(the mask, the matrices of its model where known, what JSON says of it, what people are told)."""
    if arguments.from_checkpoints:
        return mask_between.read(arguments)
    if _is_mask_file(arguments.run):
        mask = PruneMask.load(Path(arguments.run).expanduser())
        facts = {"digest": mask.digest, "kind": mask.kind, "n_weights": mask.n_weights}
        return mask, None, facts, [f"{arguments.run}  {mask.n_weights:,} weights, kind {mask.kind}"]
    return _out_of_run(arguments)


def _out_of_run(arguments: argparse.Namespace) -> tuple[PruneMask, WeightTable, dict[str, Any], list[str]]:
    source = open_run(arguments.run)
    model = source.manifest["model"]
    candidates = Candidates.load(source.candidates_path)
    named = split_names(arguments.categories, (*candidates.categories, *candidates.listed_baselines))
    names = candidates.categories if named == ["all"] else tuple(named)
    selection = Selection(
        names,
        combine=arguments.combine,
        q=arguments.q,
        p=arguments.p,
        scope=arguments.scope,
        contrast=arguments.contrast,
    )
    try:
        mask = make_mask(
            _from_model(arguments, source, selection) if arguments.from_model else candidates,
            selection,
            known=candidates.categories,
            model_hash=model["weight_hash"],
            run_id=source.id,
            scoring_prompts=source.manifest["data"].get("scoring_prompts", []),
        )
    except SelectionInexact as e:
        raise SelectionInexact(f"{e}; or add --from-model, which ranks again from the run's model and data") from e
    if mask.n_weights == 0:
        raise HarmvizError(
            f"this mask is empty: at q = {arguments.q:g} of {candidates.table.n_weights:,} weights nothing is "
            "selected; raise q"
        )
    document = {
        "path": "",
        "digest": mask.digest,
        "kind": mask.kind,
        "n_weights": mask.n_weights,
        "q": arguments.q,
        "p": arguments.p,
        "scope": arguments.scope,
        "categories": list(names),
        "combine": arguments.combine,
        "contrast": arguments.contrast,
    }
    of_scored, of_all = mask.n_weights / model["n_scored_weights"], mask.n_weights / model["n_parameters"]
    shares = f"{of_scored:.4%} of scored, {of_all:.4%} of all parameters"
    lines = [f"{mask.n_weights:,} weights ({shares}), kind {mask.kind}", f"digest {mask.digest}"]
    return mask, candidates.table, document, lines


def _save(mask: PruneMask, target: Path) -> Path:
    if target.is_dir():
        raise HarmvizError(f"--out {target} is a folder; give a file name such as {target / 'mask.safetensors'}")
    try:
        return mask.save(target)
    except OSError as e:
        raise HarmvizError(f"the mask cannot be written to {target} ({e.strerror}); choose another --out") from e


def _from_model(arguments: argparse.Namespace, source: Run, selection: Selection) -> Candidates:
    """Candidates that settle the selection, ranked anew from the run's model and data."""
    from harmviz.claims.mapping.again import candidates_again, open_again, taken_up

    loaded, data = open_again(
        source, model=arguments.model, data=arguments.data, device=arguments.device, say=say, dtype=arguments.dtype
    )
    with taken_up(source, loaded, data, progress_printer()) as work:
        return candidates_again(work, selection)
