"""``mask``: a mask for any categories, q, p, scope and contrast, out of a stored run; no model is loaded.

The stored lists settle every category and the mean of all of them up to the run's q_max, but the mean of *some* only as
far as it lies above what the lists cut off. With ``--from-model`` the sets are scored again by the run's own settings
and ranked for this very selection: exact for any q, at the cost of minutes and of scratch disk.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harmviz.commands.output import print_json, progress_printer, say
from harmviz.data.categories import split_names
from harmviz.errors import HarmvizError, SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection, make_mask
from harmviz.runs import Run, open_run


def run(arguments: argparse.Namespace) -> None:
    source = open_run(arguments.run)
    model = source.manifest["model"]
    candidates = Candidates.load(source.candidates_path)
    named = split_names(arguments.categories, (*candidates.categories, *candidates.baselines))
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
    target = Path(arguments.out).expanduser()
    if target.is_dir():
        raise HarmvizError(f"--out {target} is a folder; give a file name such as {target / 'mask.safetensors'}")
    try:
        mask.save(target)
    except OSError as e:
        raise HarmvizError(f"the mask cannot be written to {target} ({e.strerror}); choose another --out") from e
    document = {
        "path": str(target),
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
    if arguments.json:
        print_json(document)
        return
    of_scored, of_all = mask.n_weights / model["n_scored_weights"], mask.n_weights / model["n_parameters"]
    shares = f"{of_scored:.4%} of scored, {of_all:.4%} of all parameters"
    print(f"{target}  {mask.n_weights:,} weights ({shares}), kind {mask.kind}")
    print(f"digest {mask.digest}")


def _from_model(arguments: argparse.Namespace, source: Run, selection: Selection) -> Candidates:
    """Candidates that settle the selection, ranked anew from the run's model and data."""
    from harmviz.claims.mapping.again import candidates_again, open_again, taken_up

    loaded, data = open_again(
        source, model=arguments.model, data=arguments.data, device=arguments.device, say=say, dtype=arguments.dtype
    )
    with taken_up(source, loaded, data, progress_printer()) as work:
        return candidates_again(work, selection)
