"""``eval``: what a mask does to each set's loss, on prompts it was not scored on.

With ``--split report`` on the report prompts of ``--run``, encoded as that run encoded them: the rows of a mask that
the run measured come out again, to the digit on the machine that made them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from harmviz.commands.output import estimate, print_json, print_table, progress_printer, say
from harmviz.commands.user_data import load_told, typed_options
from harmviz.data.columns import AS_IT_IS
from harmviz.data.encoding import Sample, encode_all
from harmviz.data.prompts import PromptData
from harmviz.data.splits import choose_rows
from harmviz.errors import BadSetting, DataInvalid, RunIncompatible
from harmviz.masks.candidates import Candidates
from harmviz.masks.controls import matched_controls, random_control
from harmviz.masks.mask import PruneMask
from harmviz.models.assets import EMBEDDED
from harmviz.runs import Row, Run, frame_to_records, open_run, rows_to_frame
from harmviz.runs.rows import Where

if TYPE_CHECKING:
    from harmviz.claims.mapping.samples import MeasuredSet
    from harmviz.models.load import LoadedModel

PER_SET = 24
DRAWS = 5
SEED = 0
MAX_RESPONSE_TOKENS = 96
MAX_PROMPT_TOKENS = 512
_SHOWN = ("delta_nll", "harm_specific", "harm_specific_source", "harm_specific_matched", "excess_over_control")


def run(arguments: argparse.Namespace) -> None:
    mask = PruneMask.load(arguments.mask)
    source = open_run(arguments.run) if arguments.run else None
    if source is not None:
        from harmviz.claims.parent import check_parent

        check_parent(source)
    if arguments.split == "report":
        _show(arguments, mask, _repeated(arguments, mask, source), controls=True)
        return
    data = load_told(arguments)
    from harmviz.masks.apply import check_mask
    from harmviz.models.load import load_model

    loaded = load_model(arguments.model or EMBEDDED, dtype=arguments.dtype, device=arguments.device, say=say)
    check_mask(loaded, mask)
    measured = _measured_on(loaded, mask, data)
    if not any(s in data.categories for s in measured.sets):
        left = any(r.prompt_id not in _scoring_prompts(mask) for name in data.categories for r in data.of(name))
        why = "those it was not scored on do not fit, see above" if left else "the mask was scored on every one"
        raise DataInvalid(f"data {data.id!r}: no harmful prompt of it is left to measure on; {why}")
    if "scoring_prompts" in mask.provenance:
        say(f"{len(measured.sets)} samples; {len(_scoring_prompts(mask))} prompts the mask was scored on are left out")
    else:
        say(
            f"{len(measured.sets)} samples; what this mask was scored on is not known, so that some of them may be "
            "among it"
        )
    _show(arguments, mask, _rows(loaded, mask, source, data, measured), controls=source is not None)


def _repeated(arguments: argparse.Namespace, mask: PruneMask, source: Run | None) -> list[Row]:
    """The rows on the report prompts of the run.

    Raises:
        BadSetting: no run is given, or options of reading are. RunIncompatible: model, data or mask are not the run's.
    """
    if source is None:
        raise BadSetting("--split report takes prompts and settings from a run; name it with --run")
    if typed_options(arguments) != AS_IT_IS:
        raise BadSetting("--split report reads the data as its run did; leave out --columns, --category and --drop-bad")
    from harmviz.claims.mapping.again import open_again, report_rows, taken_up
    from harmviz.masks.apply import check_mask

    loaded, data = open_again(
        source, model=arguments.model, data=arguments.data, device=arguments.device, say=say, dtype=arguments.dtype
    )
    check_mask(loaded, mask)
    candidates = Candidates.load(source.candidates_path)
    with taken_up(source, loaded, data, progress_printer()) as work:
        return report_rows(work, mask, candidates, controls=mask.kind == "harm")


def _show(arguments: argparse.Namespace, mask: PruneMask, rows: list[Row], *, controls: bool) -> None:
    """One document, or a table of what matters most. ``controls``: whether controls were asked for."""
    frame = rows_to_frame(rows)
    if arguments.json:
        print_json({"mask_digest": mask.digest, "n_weights": mask.n_weights, "rows": frame_to_records(frame)})
        return
    if not controls and mask.kind == "harm":
        say("no controls are measured without --run RUN: an effect alone does not show that it is about these weights")
    shown = [r for r in frame_to_records(frame) if r["metric"] in _SHOWN]
    print_table(
        ("set", "control", "metric", "nats/token [95 % interval] n prompts"),
        [(r["category"], r["control"], r["metric"], estimate(r)) for r in shown],
    )


def _scoring_prompts(mask: PruneMask) -> set[str]:
    return set(mask.provenance.get("scoring_prompts", []))


def _measured_on(loaded: LoadedModel, mask: PruneMask, data: PromptData) -> MeasuredSet:
    """At most ``PER_SET`` samples a set, one a prompt, none that the mask was scored on."""
    from harmviz.claims.mapping.samples import MeasuredSet

    left_out = _scoring_prompts(mask)
    samples: list[Sample] = []
    sets: list[str] = []
    sources: list[str] = []
    for name in data.sets:
        rows = choose_rows([r for r in data.of(name) if r.prompt_id not in left_out], PER_SET, SEED, per_prompt=1)
        encoded = encode_all(
            loaded.tokenizer, rows, max_response_tokens=MAX_RESPONSE_TOKENS, max_prompt_tokens=MAX_PROMPT_TOKENS
        )
        if len(encoded) < len(rows):
            say(
                f"{len(rows) - len(encoded)} of {len(rows)} rows of {name} are left out: a prompt of more than "
                f"{MAX_PROMPT_TOKENS} tokens, or no response token"
            )
        samples += encoded
        sets += [name] * len(encoded)
        source_of = {row.id: row.source for row in rows}
        sources += [source_of[s.row_id] for s in encoded]
    return MeasuredSet(tuple(samples), tuple(sets), tuple(sources))


def _rows(
    loaded: LoadedModel,
    mask: PruneMask,
    source: Run | None,
    data: PromptData,
    measured: MeasuredSet,
) -> list[Row]:
    """The mask's effect, the intact loss and, out of the mask's own run, the effects of drawn controls."""
    from harmviz.claims.mapping.authorship import authorship_rows
    from harmviz.claims.mapping.effects import control_rows, effect_rows
    from harmviz.masks.apply import pruned
    from harmviz.scoring.loss import response_losses

    samples = measured.samples
    intact = response_losses(loaded, samples)[:, 0]

    def delta(applied: PruneMask) -> np.ndarray:
        with pruned(loaded, applied):
            return response_losses(loaded, samples)[:, 0] - intact

    control = str(mask.provenance.get("control", "none"))
    where = Where(experiment="effect", point=mask.point, control=control, n_weights=mask.n_weights, skip_tokens=0)
    of_intact = Where(experiment="effect", skip_tokens=0)
    effect = delta(mask)
    rows = [*effect_rows(measured, effect, data.categories, where, seed=SEED)]
    rows += authorship_rows(measured, effect, intact, data.categories, where, seed=SEED)
    rows += effect_rows(measured, intact, data.categories, of_intact, seed=SEED, metric="nll")
    if source is not None and mask.kind == "harm":
        for control, draws in _controls(source, mask, loaded).items():
            say(f"control {control}: {len(draws)} draws")
            effects = [delta(draw) for draw in draws]
            rows += control_rows(measured, effect, effects, data.categories, replace(where, control=control), seed=SEED)
    return rows


def _controls(source: Run, mask: PruneMask, loaded: LoadedModel) -> dict[str, list[PruneMask]]:
    """Random and magnitude-matched draws among the weights eligible in the mask's run.

    Raises:
        RunIncompatible: the run is of another model.
    """
    if source.manifest["model"]["weight_hash"] != mask.model_hash:
        raise RunIncompatible(f"run {source.id} is of another model than the mask; give the run the mask was made from")
    candidates = Candidates.load(source.candidates_path)
    table = candidates.table
    eligible = partial(candidates.eligible, p=float(mask.provenance.get("p", 0.01)))

    def magnitude(i: int) -> np.ndarray:
        return loaded.tensor(i).detach().float().abs().cpu().numpy().ravel()

    return {
        "random": [random_control(mask, table, eligible, seed=SEED, draw=d) for d in range(DRAWS)],
        "magnitude": matched_controls(
            mask, table, eligible, magnitude, seed=SEED, name="magnitude", draws=range(DRAWS)
        ),
    }
