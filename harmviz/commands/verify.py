"""``verify``: is a run what it was when it was made, and do its scores mean what they say?"""

from __future__ import annotations

import argparse
from typing import Any

from harmviz.commands.output import print_json, say
from harmviz.errors import BadSetting, HarmvizError, RunIncompatible
from harmviz.files import printable
from harmviz.runs import Run, is_covered, open_run, result_digest, verify_run

CAUSAL_LIMIT = 0.05


class VerificationFailed(HarmvizError):
    """The run is not what its manifest says, or its scores do not predict the measured change."""

    exit_code = 1


def run(arguments: argparse.Namespace) -> None:
    if not arguments.causal and (arguments.data is not None or arguments.category is not None):
        raise BadSetting("--data and --category say on what --causal is repeated: give --causal too, or neither")
    stored = open_run(arguments.run)
    problems = verify_run(stored)
    report: dict[str, Any] = {
        "run_id": stored.id,
        "result_digest": result_digest(stored),
        "problems": problems,
        "manifest_covered": is_covered(stored.manifest),
        "causal": None,
    }
    if arguments.causal and not problems:
        report["causal"] = _causal(stored, arguments.data, arguments.category)
        if (error := report["causal"]["relative_error"]) is None:
            problems.append("causal check: no ε stands out from rounding; the mask's scores are too small to test")
        elif not error <= CAUSAL_LIMIT:
            problems.append(
                f"causal check: relative error {report['causal']['relative_error']:.2%} exceeds {CAUSAL_LIMIT:.0%}"
            )
    if arguments.json:
        print_json(report)
    else:
        print(f"{stored.id}: {len(stored.manifest['files'])} files, result digest {report['result_digest']}")
        if report["causal"] and report["causal"]["measured"] is not None:
            measured, predicted, error = (report["causal"][k] for k in ("measured", "predicted", "relative_error"))
            print(
                f"causal check: measured {measured:.5f}, predicted {predicted:.5f} nats/token, "
                f"relative error {error:.2%}"
            )
    if problems:
        raise VerificationFailed(
            f"run {stored.id} fails: {'; '.join(problems[:3])}; make it again or restore its files"
        )
    if not arguments.json:
        old = "" if report["manifest_covered"] else "; manifest not covered: an older run, which carries no hash of it"
        print(f"verified{old}")


def _causal(stored: Run, source: str | None, category: str | None) -> dict[str, float | None]:
    """Repeats the run's causal check from its stored candidates, on the model and data it names.

    With a ``category`` the same mask is held against that type's scores, on the answers it was scored on.
    """
    from harmviz.claims.mapping.causality import check_mask_causally, fixed_point_mask
    from harmviz.claims.mapping.samples import scoring_samples
    from harmviz.claims.mapping.settings import RunSpec
    from harmviz.data.prompts import load_again
    from harmviz.masks.candidates import Candidates
    from harmviz.masks.lists import MEAN
    from harmviz.models.load import load_model

    candidates = Candidates.load(stored.candidates_path)
    if category is not None and category not in candidates.categories:
        known = ", ".join(candidates.categories)
        raise BadSetting(f"run {stored.id} has no harm type {printable(category)!r}; it has {known}")
    spec = RunSpec.of_run(stored.manifest["parameters"])
    data = load_again(source, stored.manifest["data"], say=say)
    if data.hash != stored.manifest["data"]["hash"]:
        raise RunIncompatible(f"the data set {data.id!r} here is not the one run {stored.id} was made on")
    loaded = load_model(stored.model_id, dtype="float32", say=say)
    if loaded.weight_hash != stored.manifest["model"]["weight_hash"]:
        raise RunIncompatible(f"the model {loaded.name!r} here has other weights than run {stored.id} was made on")
    mask, predicted = fixed_point_mask(candidates, spec, loaded.weight_hash, category or MEAN)
    groups = [scoring_samples(loaded, data, spec, c) for c in ((category,) if category else candidates.categories)]
    check = check_mask_causally(loaded, mask, predicted, groups)
    return {"predicted": predicted, "measured": check.measured, "relative_error": check.relative_error}
