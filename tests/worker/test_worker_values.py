"""What the worker is asked: bad requests fail at once and without torch; no text in any repr."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmviz.errors import MaskInvalid
from harmviz.masks.mask import PruneMask
from harmviz.worker import ModelKey, Pane, PaneView, Request, Snapshot, Worker
from harmviz.worker.values import check_request

ROOT = Path(__file__).resolve().parents[2]
GOOD = Request(ModelKey("org/name"), "Name a river.", (Pane("intact"),))


def mask(kind: Any) -> PruneMask:
    return PruneMask({"w": np.array([1, 2])}, kind, "0" * 64)


def test_a_good_request() -> None:
    check_request(GOOD)
    check_request(replace(GOOD, panes=(Pane("intact"), *[Pane("a", mask("control"), 0)] * 3), temperature=2, top_p=0.5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"panes": ()}, "panes must be 1 … 4, got 0"),
        ({"panes": (Pane("x"),) * 5}, "panes must be 1 … 4, got 5"),
        ({"panes": (Pane("x", mask("harm")),)}, "first pane must be the intact model, got a mask on 'x'"),
        ({"panes": (Pane("intact"), Pane("x", mask("harm"), 1.5))}, r"strength of 'x' must be .* in \[0, 1\], got 1.5"),
        ({"panes": (Pane("intact"), Pane("x", mask("harm"), float("nan")))}, "strength of 'x'"),
        ({"max_new_tokens": 0}, r"max_new_tokens must be a whole number in \[1, 256\], got 0"),
        ({"max_new_tokens": 257}, r"max_new_tokens must be a whole number in \[1, 256\], got 257"),
        ({"prompt": "a" * 15_999, "opening": "bb"}, "prompt and opening have 16,001 characters, at most 16,000"),
        ({"max_new_tokens": True}, "max_new_tokens must be a whole number"),
        ({"seed": -1}, "seed must be a whole number ≥ 0, got -1"),
        ({"temperature": -0.1}, "temperature must be a finite number"),
        ({"temperature": float("inf")}, "temperature must be a finite number"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0"),
        ({"top_p": 1.1}, "top_p must be a finite number"),
        ({"model": ModelKey(" ")}, "the model's name is empty"),
        ({"model": ModelKey("m", dtype="float16")}, "dtype must be one of auto, float32, bfloat16, got 'float16'"),
        ({"model": ModelKey("m", device="tpu")}, "device must be one of auto, cpu, cuda, got 'tpu'"),
    ],
)
def test_bad_requests_fail_at_once(change: dict[str, Any], message: str, worker: Worker) -> None:
    with pytest.raises(ValueError, match=message):
        worker.submit(replace(GOOD, **change))
    assert worker.state().queue == 0


def test_measurement_masks_are_refused(worker: Worker) -> None:
    with pytest.raises(MaskInvalid, match="'x' is measurement-only"):
        worker.submit(replace(GOOD, panes=(Pane("intact"), Pane("x", mask("measurement")))))


def test_bad_keys_cannot_be_loaded(worker: Worker) -> None:
    with pytest.raises(ValueError, match="got 'float64'"):
        worker.load(ModelKey("m", dtype="float64"))


def test_reprs_hold_no_text() -> None:
    secret = "xyzzy"
    asked = replace(GOOD, prompt=secret, opening=secret)
    view = PaneView("intact", 0, 1.0, None, (secret,), secret, None, None, (), 0.0, None, None, None, None)
    seen = Snapshot("running", 0, "writing", 0.0, secret, (view,), None)
    assert asked.prompt == seen.template == view.text == secret
    assert secret not in repr(asked) + repr(view) + repr(seen)


def test_neither_importing_nor_starting_a_worker_loads_torch() -> None:
    code = (
        "import sys; from harmviz.worker import *; w = Worker(); w.state(); w.unload(); w.close();"
        "print({'torch', 'transformers', 'streamlit'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
