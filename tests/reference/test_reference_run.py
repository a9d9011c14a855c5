"""The committed reference runs of the start model and the aligned one, and a reduced real run: the embedded model on
real text, in CI.

The claims of the README are asserted here against the stored rows, so that text and numbers cannot drift apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from harmviz.claims.mapping.views.compare import default_choice
from harmviz.data.prompts import read_builtin
from harmviz.masks.candidates import Candidates
from harmviz.masks.mask import PruneMask
from harmviz.paths import PACKAGE
from harmviz.runs import list_runs, open_run, read_run, shipped_runs, verify_run
from tests.worlds.fabricated import ALIGNED_REFERENCE, QUICK_REFERENCE, REFERENCE
from tests.worlds.kills import killed_at

ROOT = PACKAGE.parent
CATEGORIES = {"exploits", "hate", "misinformation", "privacy", "self_harm", "sexual", "violence"}


@pytest.fixture(scope="module", params=[REFERENCE, ALIGNED_REFERENCE], ids=["start", "aligned"])
def reference(request):
    return read_run(request.param)


@pytest.fixture(scope="module")
def frame(reference):
    return reference.results()


def at_headline(reference, frame, contrast, control="none"):
    point = reference.manifest["method"]["headline"][contrast]
    return frame[
        (frame.experiment == "effect")
        & frame.condition.isna()
        & (frame["mask"] == "mean(all)")
        & (frame.control == control)
        & (frame.contrast == contrast)
        & (frame.q == point["q"])
        & (frame.p == point["p"])
        & (frame.skip_tokens == 0)
    ]


def test_one_map_of_each_model_is_committed():
    shipped = [run for run in list_runs(ROOT / "cache" / "runs") if run.id in shipped_runs()]
    full = [run.model_name for run in shipped if run.kind == "map" and not run.quick]
    assert sorted(full) == ["smollm2-135m-aligned", "smollm2-135m-instruct"]


def test_the_aligned_map_has_one_to_be_compared_with():
    shipped = [run for run in list_runs(ROOT / "cache" / "runs") if run.kind == "map" and run.id in shipped_runs()]
    assert len(default_choice(read_run(ALIGNED_REFERENCE), shipped)) == 2


def test_it_is_whole_small_and_free_of_text(reference):
    assert verify_run(reference) == []
    files = [p for p in reference.path.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 25e6
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".parquet"}
    assert not list(reference.path.glob("results/*.jsonl"))  # harmful text is never committed
    types = {name.partition("/")[0] for name in load_file(reference.maps_path)} - {"benign", "safe"}
    assert CATEGORIES <= types <= {*CATEGORIES, "mixed"}
    if reference.has_candidates:
        assert set(Candidates.load(reference.candidates_path).categories) == types


def test_q_1e_5_is_there_unchosen(frame):
    here = frame[
        (frame.experiment == "effect")
        & frame.condition.isna()
        & (frame["mask"] == "mean(all)")
        & (frame.control == "none")
        & (frame.q == 1e-5)
        & (frame.p == 0.01)
        & (frame.metric == "delta_nll")
        & (frame.category == "harm")
    ]
    assert set(here.contrast) == {"none", "both"}


def test_overlap_stands_beside_ceiling_baselines_and_shuffles(frame):
    overlap = frame[frame.experiment == "overlap"]
    assert {"jaccard", "jaccard_half", "jaccard_ceiling", "jaccard_chance", "core_size"} <= set(overlap.metric)
    assert {"none", "benign_signed", "safe_signed", "random"} <= set(overlap.control)


def test_masks_load_and_name_their_scoring_prompts(reference):
    for path in reference.masks().values():
        mask = PruneMask.load(path)
        assert mask.model_hash == reference.manifest["model"]["weight_hash"]
        assert set(mask.provenance["scoring_prompts"]) == set(reference.manifest["data"]["scoring_prompts"])


def test_stored_causal_check_is_within_five_percent(frame):
    error = frame[(frame.experiment == "causal") & (frame.metric == "relative_error")].value.iloc[0]
    assert error <= 0.05


def harmviz(*argv: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **({"HARMVIZ_CACHE": str(cache)} if cache else {})}
    return subprocess.run(
        [sys.executable, "-m", "harmviz", *argv], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def causal_error(*argv: str) -> float:
    done = harmviz("verify", *argv, "--causal", "--json")
    assert done.returncode == 0, done.stderr[-500:]
    return json.loads(done.stdout)["causal"]["relative_error"]


@pytest.mark.slow
def test_verify_causal_on_one_type_of_the_map_that_is_shown_first():
    assert causal_error(str(ALIGNED_REFERENCE), "--category", "violence") <= 0.05


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("path", [ALIGNED_REFERENCE, QUICK_REFERENCE], ids=["aligned", "start"])
def test_verify_causal_on_the_real_model(path):
    """Ten minutes each."""
    assert causal_error(str(path)) <= 0.05


@pytest.mark.slow
def test_a_reduced_real_run_survives_a_kill(tmp_path):
    """Two mild built-in categories through the whole pipeline on the embedded model, killed once on the way."""
    data = [
        {"category": "benign", "prompt": r["prompt"], "response": r["response"]} for r in read_builtin("benign")[:28]
    ]
    for name, prefix in (("harmful", ""), ("safe", "safe:")):
        for category in ("exploits", "privacy"):
            rows = [r for r in read_builtin(name) if r["category"] == category][: 12 if prefix else 24]
            data += [{**r, "category": f"{prefix}{category}"} for r in rows]
    file = tmp_path / "two.jsonl"
    file.write_text("\n".join(json.dumps(r) for r in data))
    argv = [
        "run",
        "--data",
        str(file),
        "--samples",
        "8",
        "--max-response-tokens",
        "16",
        "--quick",
        "--out",
        str(tmp_path / "runs"),
        "--resume",
    ]
    killed_at("maps", argv, timeout=900)
    done = harmviz(*argv, "--json")
    assert done.returncode == 0, done.stderr[-500:]
    run = open_run(json.loads(done.stdout)["path"])
    verified = harmviz("verify", str(run.path), "--causal", "--data", str(file), "--json")
    assert verified.returncode == 0, verified.stderr[-500:]
    assert json.loads(verified.stdout)["causal"]["relative_error"] <= 0.05
    frame = run.results()
    causal = frame[(frame.experiment == "causal") & (frame.metric == "relative_error")]
    assert causal.value.iloc[0] <= 0.05
    harm = frame[
        (frame.experiment == "effect")
        & (frame.metric == "delta_nll")
        & (frame.category == "harm")
        & (frame.condition == "validation")
    ]
    assert harm.value.max() > 0.05  # a large enough mask raises the loss of harmful answers it was not scored on
