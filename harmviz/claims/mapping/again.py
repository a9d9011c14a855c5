"""A map run taken up again from its settings: the same samples, and then its scores or its losses, to the digit.

What a run leaves out when it is stored (the scores of all weights, the losses of every sample) comes out again from
model, data and settings, by the very stages that made it, in a scratch folder that is deleted at the end. Two questions
need it: what does a mask do to the report prompts (``eval --split report``), and which weights does a mask hold that
the stored lists do not settle (``mask --from-model``)?
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harmviz.claims.mapping.evaluation import Evaluation
from harmviz.claims.mapping.measure import map_plan
from harmviz.claims.mapping.samples import build_samples
from harmviz.claims.mapping.settings import MAX_ROWS, RunSpec
from harmviz.claims.mapping.stages import MapWork
from harmviz.claims.mapping.work import ABSOLUTE_UNITS, SCORE_UNITS, answer_units
from harmviz.claims.parent import check_same_model
from harmviz.data.prompts import PromptData, load_again
from harmviz.errors import BadSetting, RunIncompatible
from harmviz.masks.candidates import Candidates, build_candidates
from harmviz.masks.lists import BASELINES
from harmviz.masks.mask import PruneMask
from harmviz.masks.selection import Selection
from harmviz.models.assets import Say
from harmviz.models.load import LoadedModel, load_model
from harmviz.paths import cache_root
from harmviz.runs import Row, Run
from harmviz.runs.making import Making
from harmviz.runs.partial import begin
from harmviz.runs.progress import Listener, Progress
from harmviz.runs.rows import Where

#: Controls that can be drawn again without the scores of all weights.
_DRAWN = ("random", "magnitude")


def open_again(
    stored: Run, *, model: str | None, data: str | None, device: str, say: Say, dtype: str = "auto"
) -> tuple[LoadedModel, PromptData]:
    """The model and the data of a map run, checked to be those it was made with.

    Args:
        model, data: where they are now; None: under the names that the run gives them.
        dtype: to compute in; ``auto`` is the run's.

    Raises:
        RunIncompatible: no map run, or model or data are others.
        DataInvalid, ModelUnavailable: they are not here.
    """
    if stored.kind != "map":
        raise RunIncompatible(
            f"run {stored.id} is an {stored.kind}; give a map run (`python -m harmviz runs` lists them)"
        )
    prompts = load_again(data, stored.manifest["data"], say=say)
    if prompts.hash != stored.manifest["data"]["hash"]:
        raise RunIncompatible(
            f"the data set {prompts.id!r} here is not the one run {stored.id} was made on; give that one with --data"
        )
    chosen = stored.manifest["model"]["dtype"] if dtype == "auto" else dtype
    loaded = load_model(model or stored.model_id, dtype=chosen, device=device, say=say)
    check_same_model(stored, loaded)
    return loaded, prompts


@contextmanager
def taken_up(stored: Run, loaded: LoadedModel, data: PromptData, listener: Listener) -> Iterator[MapWork]:
    """The run at work again, its samples built, none of its results kept."""
    spec = RunSpec.of_run(stored.manifest["parameters"])
    cache_root().mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".again-", dir=cache_root()) as root,
        begin(stored.id, Path(root)) as partial,
    ):
        plan = map_plan(loaded, data, spec)
        work = MapWork(
            loaded, data, spec, Making(plan, partial, Progress(answer_units(spec), listener), dict(plan.data))
        )
        samples = build_samples(loaded, data, spec, work.answer())
        # What the gate left out is measurement-only: it is not ranked anew either.
        left_out = stored.manifest["data"]["left_out"]
        kept = tuple(c for c in samples.categories if c not in left_out)
        work.samples = replace(samples, categories=kept)
        yield work


def report_rows(work: MapWork, mask: PruneMask, candidates: Candidates, *, controls: bool) -> list[Row]:
    """What the mask does to the report prompts of the run, as rows of the run; ``controls``: beside draws of the random
    and the magnitude-matched control, on their subset of the prompts.

    A mask that the run measured has the values of its stored rows, on the machine that made them.
    """
    evaluation = Evaluation(work, candidates)
    draws = work.making.plan.parameters["control_draws"]
    subset = len(work.samples.control_subset.samples)
    report = len(work.samples.held_out["report"].samples)
    progress = work.making.progress
    progress.total += 2 * report + (1 + draws * len(_DRAWN)) * subset * controls
    skip = work.spec.skip_tokens
    control = str(mask.provenance.get("control", "none"))
    where = Where(experiment="effect", point=mask.point, control=control, n_weights=mask.n_weights, skip_tokens=skip)
    rows = list(evaluation.intact("report"))
    rows += evaluation.effect(mask, "report", where)
    if controls:
        rows += evaluation.drawn_controls(mask, where, _DRAWN)
    return rows


def candidates_again(work: MapWork, selection: Selection) -> Candidates:
    """Lists that settle ``selection`` exactly, whatever its categories and q: ranked anew from the scores of all
    weights. Their mean is the mean of the selection's categories, and no list is longer than the selection needs.

    Raises:
        BadSetting: harm categories alone can be ranked anew, and those that the run scored.
        OutOfMemory: the lists are too long.
    """
    known = work.samples.categories
    if unknown := [c for c in selection.categories if c not in known]:
        raise BadSetting(f"--from-model ranks harm categories, not {unknown[0]!r}; this run has {', '.join(known)}")
    chosen = tuple(c for c in known if c in selection.categories)  # the run's order is the order of summation
    baselines = BASELINES if selection.contrast == "both" else ()
    needed = {key: s for key, s in work.samples.scoring.items() if key[0] in (*chosen, *baselines)}
    work.samples = replace(work.samples, scoring=needed)
    work.making.progress.total += SCORE_UNITS * sum(map(len, needed.values()))
    work.making.progress.total += ABSOLUTE_UNITS * len(work.samples.preserve)
    work.score()
    return build_candidates(
        work.loaded.table,
        work.scores.harm,
        work.scores.utility,
        categories=chosen,
        baselines=baselines,
        q_max=selection.q,
        p_grid=(selection.p,),
        matrix_p=(selection.p,) if selection.scope == "matrix" else (),
        mean_only_p=(selection.p,) if selection.combine == "mean" and len(chosen) > 1 else (),
        max_rows=MAX_ROWS,
    )
