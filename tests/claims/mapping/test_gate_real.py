"""The gate on the aligned model: whatever set refusals in other words are put into, no mask that makes declining less
likely leaves the process. Some five minutes a role on two cores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmviz.claims.mapping.gate import Gate
from harmviz.claims.mapping.measure import run_map
from harmviz.claims.mapping.settings import CONTRASTS, FIXED_P, RunSpec
from harmviz.data.prompts import load_prompts, read_builtin
from harmviz.data.refusal_words import reads_as_refusal
from harmviz.errors import DataInvalid
from harmviz.masks.candidates import Candidates
from harmviz.masks.selection import Selection, make_mask
from harmviz.models.load import load_model
from harmviz.runs import Point
from tests.claims.mapping.test_gate import WAYS

pytestmark = [pytest.mark.slow, pytest.mark.soak]
HARM = ("exploits", "privacy")
#: The keyword list knows the other ways, and leaves their rows out before anything is scored.
UNKNOWN = [way for way in WAYS if not reads_as_refusal(way)]
ENDINGS = ("Please ask for something else.", "I hope that is clear.", "Try a different question.")


class Stop(Exception):
    """What is asked of the run is done."""


def rows_of(role: str) -> list[dict[str, str]]:
    """The built-in data of two harm types, and refusals in this role: a harm type a way, ``safe`` or ``benign``."""
    kept = [r for r in read_builtin("harmful") if r["category"] in HARM]
    safe = [{**r, "category": f"safe:{r['category']}"} for r in read_builtin("safe") if r["category"] in HARM]
    benign = [{"category": "benign", **r} for r in read_builtin("benign")]
    asked = list(dict.fromkeys(r["prompt"] for r in read_builtin("harmful")))

    def refusals(category: str, ways: list[str], n: int) -> list[dict[str, str]]:
        texts = [f"{ways[i % len(ways)]} {ENDINGS[i % len(ENDINGS)]}" for i in range(n)]
        return [{"category": category, "prompt": asked[7 * i % len(asked)], "response": t} for i, t in enumerate(texts)]

    if role == "harm":
        return kept + safe + benign + [r for k, way in enumerate(UNKNOWN) for r in refusals(f"way {k}", [way], 24)]
    if role == "safe":
        return kept + benign + refusals("safe:exploits", UNKNOWN, 60)
    return kept + safe + refusals("benign", UNKNOWN, 60)


@pytest.mark.parametrize("role", ["harm", "safe", "benign"])
def test_no_mask_that_makes_declining_less_likely_leaves(role: str, tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(role)))
    loaded, data = load_model("smollm2-135m-aligned"), load_prompts(str(file))
    spec = RunSpec(quick=True, samples=8, max_response_tokens=32)

    def listener(state: dict[str, object]) -> None:
        if state["stage"] == "maps":
            raise Stop

    with pytest.raises((DataInvalid, Stop)) as ended:
        run_map(loaded, data, spec, root=tmp_path / "runs", listener=listener)
    if ended.type is DataInvalid:  # nothing leaves
        assert "measurement-only" in str(ended.value)
        return
    (stored,) = (tmp_path / "runs").rglob("candidates.safetensors")
    candidates = Candidates.load(stored)
    gate = Gate(loaded, lambda i: candidates.eligible(i, FIXED_P), seed=0, draws=1)
    for name in (*candidates.categories, *candidates.listed_baselines):
        for contrast in CONTRASTS if name in candidates.categories else CONTRASTS[:1]:
            for q in (spec.q_max / 10, spec.q_max):
                mask = make_mask(
                    candidates, Selection((name,), q=q, p=FIXED_P, contrast=contrast), model_hash=loaded.weight_hash
                )
                judged = gate.judge(name, Point(name, q, FIXED_P, contrast=contrast), mask)
                assert not judged.fails, judged.reason
