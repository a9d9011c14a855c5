"""``verify``: is a run what it was when it was made, and do its scores mean what they say?"""

from __future__ import annotations

import argparse
from typing import Any

from harmviz.commands.output import print_json, say
from harmviz.errors import BadSetting, HarmvizError, RunIncompatible
from harmviz.runs import Run, is_covered, open_run, result_digest, verify_run

CAUSAL_LIMIT = 0.05


class VerificationFailed(HarmvizError):
    """The run is not what its manifest says, or its scores do not predict the measured change."""

    exit_code = 1


def run(arguments: argparse.Namespace) -> None:
    if arguments.data is not None and not arguments.causal:
        raise BadSetting("--data says where the data of --causal are: give both, or neither")
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
        report["causal"] = _causal(stored, arguments.data)
        if not report["causal"]["relative_error"] <= CAUSAL_LIMIT:
            problems.append(
                f"causal check: relative error {report['causal']['relative_error']:.2%} exceeds {CAUSAL_LIMIT:.0%}"
            )
    if arguments.json:
        print_json(report)
    else:
        print(f"{stored.id}: {len(stored.manifest['files'])} files, result digest {report['result_digest']}")
        if report["causal"]:
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


def _causal(stored: Run, source: str | None) -> dict[str, float]:
    """Repeats the run's causal check from its stored candidates, on the model and data it names."""
    from harmviz.claims.mapping.causality import check_mask_causally, fixed_point_mask
    from harmviz.claims.mapping.samples import scoring_samples
    from harmviz.claims.mapping.settings import RunSpec
    from harmviz.data.prompts import load_again
    from harmviz.masks.candidates import Candidates
    from harmviz.models.load import load_model

    spec = RunSpec.of_run(stored.manifest["parameters"])
    data = load_again(source, stored.manifest["data"], say=say)
    if data.hash != stored.manifest["data"]["hash"]:
        raise RunIncompatible(f"the data set {data.id!r} here is not the one run {stored.id} was made on")
    loaded = load_model(stored.model_id, dtype="float32", say=say)
    if loaded.weight_hash != stored.manifest["model"]["weight_hash"]:
        raise RunIncompatible(f"the model {loaded.name!r} here has other weights than run {stored.id} was made on")
    candidates = Candidates.load(stored.candidates_path)
    mask, predicted = fixed_point_mask(candidates, spec, loaded.weight_hash)
    groups = [scoring_samples(loaded, data, spec, c) for c in candidates.categories]
    check = check_mask_causally(loaded, mask, predicted, groups)
    if check.measured is None or check.relative_error is None:
        raise VerificationFailed("causal check: no ε stands out from rounding; the mask's scores are too small to test")
    return {"predicted": predicted, "measured": check.measured, "relative_error": check.relative_error}
