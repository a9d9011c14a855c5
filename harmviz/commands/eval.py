"""``eval``: what a mask does to each set's loss, on prompts it was not scored on."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from harmviz.commands.output import estimate, print_json, print_table, say
from harmviz.data.prompts import load_prompts
from harmviz.errors import DataInvalid
from harmviz.masks.mask import PruneMask
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Row, Run, frame_to_records, open_run, rows_to_frame

if TYPE_CHECKING:
    from harmviz.models.load import LoadedModel

PER_SET = 24
DRAWS = 5
SEED = 0


def run(arguments: argparse.Namespace) -> None:
    mask = PruneMask.load(arguments.mask)
    source = open_run(arguments.run) if arguments.run else None
    data = load_prompts(arguments.data, say=say)
    from harmviz.claims.mapping.effects import control_rows, effect_rows
    from harmviz.claims.mapping.samples import MeasuredSet
    from harmviz.masks.apply import check_mask, pruned
    from harmviz.models.load import load_model
    from harmviz.scoring.loss import response_losses

    loaded = load_model(arguments.model or EMBEDDED, dtype=arguments.dtype, device=arguments.device, say=say)
    check_mask(loaded, mask)
    from harmviz.data.encoding import encode_all
    from harmviz.data.splits import choose_rows

    left_out = set(mask.provenance.get("scoring_prompts", []))
    samples, sets = [], []
    for name in data.sets:
        rows = choose_rows([r for r in data.of(name) if r.prompt_id not in left_out], PER_SET, SEED, per_prompt=1)
        new = encode_all(loaded.tokenizer, rows, max_response_tokens=96)
        samples += new
        sets += [name] * len(new)
    if not any(s in data.categories for s in sets):
        raise DataInvalid(
            f"data {arguments.data!r}: the mask was scored on every harmful prompt of it; none is left to measure on"
        )
    measured = MeasuredSet(tuple(samples), tuple(sets))
    say(f"{len(samples)} samples; {len(left_out)} prompts the mask was scored on are left out")
    intact = response_losses(loaded, samples)[:, 0]

    def delta(which: PruneMask) -> np.ndarray:
        with pruned(loaded, which):
            return response_losses(loaded, samples)[:, 0] - intact

    facts: dict[str, Any] = {
        "experiment": "effect",
        "mask": mask.provenance.get("set"),
        "q": mask.provenance.get("q"),
        "p": mask.provenance.get("p"),
        "scope": mask.provenance.get("scope"),
        "skip_tokens": 0,
        "contrast": mask.provenance.get("contrast"),
        "n_weights": mask.n_weights,
    }
    own = delta(mask)
    rows_out: list[Row] = [*effect_rows(measured, own, data.categories, seed=SEED, control=_control(mask), **facts)]
    intact_facts: dict[str, Any] = {"experiment": "effect", "skip_tokens": 0}
    rows_out += effect_rows(measured, intact, data.categories, seed=SEED, metric="nll", **intact_facts)
    if source is not None and mask.kind == "harm":
        for control, draws in _controls(source, mask, loaded).items():
            say(f"control {control}: {len(draws)} draws")
            effects = [delta(d) for d in draws]
            rows_out += control_rows(measured, own, effects, data.categories, seed=SEED, control=control, **facts)
    frame = rows_to_frame(rows_out)
    if arguments.json:
        print_json({"mask_digest": mask.digest, "n_weights": mask.n_weights, "rows": frame_to_records(frame)})
        return
    if source is None and mask.kind == "harm":
        say("no controls are measured without --run RUN: an effect alone does not show that it is about these weights")
    shown = [r for r in frame_to_records(frame) if r["metric"] in ("delta_nll", "harm_specific", "excess_over_control")]
    print_table(
        ("set", "control", "metric", "nats/token [95 % interval] n prompts"),
        [(r["category"], r["control"], r["metric"], estimate(r)) for r in shown],
    )


def _control(mask: PruneMask) -> str:
    return str(mask.provenance.get("control", "none"))


def _controls(source: Run, mask: PruneMask, loaded: LoadedModel) -> dict[str, list[PruneMask]]:
    """Random and magnitude-matched draws among the weights eligible in the mask's run."""
    from harmviz.errors import RunIncompatible
    from harmviz.masks.candidates import Candidates
    from harmviz.masks.controls import matched_control, random_control

    if source.manifest["model"]["weight_hash"] != mask.model_hash:
        raise RunIncompatible(f"run {source.id} is of another model than the mask; give the run the mask was made from")
    found = Candidates.load(source.candidates_path)
    eligible = partial(found.eligible, p=float(mask.provenance.get("p", 0.01)))

    def magnitude(i: int) -> np.ndarray:
        return loaded.tensor(i).detach().float().abs().cpu().numpy().ravel()

    return {
        "random": [random_control(mask, found.table, eligible, seed=SEED, draw=d) for d in range(DRAWS)],
        "magnitude": [
            matched_control(mask, found.table, eligible, magnitude, seed=SEED, name="magnitude", draw=d)
            for d in range(DRAWS)
        ],
    }
