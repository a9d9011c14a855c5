"""The kernel of the absolute scores without a GPU: interpreted against float64, compiled for GPUs that are not here,
and left alone wherever it cannot run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harmviz.scoring import abs_kernel, absolute
from harmviz.scoring.abs_kernel import add_in_tiles, usable
from harmviz.scoring.absolute import add_abs_gradients

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="Triton has a wheel for Linux on x86-64 alone"
)


def said_by(module: str, cache: Path) -> dict[str, Any]:
    """What ``python -m MODULE`` prints."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**settings, "TRITON_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@needs_triton
def test_interpreted_it_is_exact_to_the_stated_bound(tmp_path: Path) -> None:
    errors = said_by("tests.worlds.interpreted", tmp_path)
    of_models = {name: errors.pop(name) for name in list(errors) if name.startswith("model")}
    assert len(errors) == 2 * (5 + 2) + 3
    assert {name: error for name, error in errors.items() if not error <= 1} == {}
    assert errors.pop("padding") <= 1e-6
    assert max(errors.values()) > 0, "nothing was rounded: not the kernel was measured"
    assert set(of_models) == {"model llama", "model gpt2"}
    assert max(of_models.values()) <= 1e-6


@needs_triton
def test_it_compiles_for_ampere_and_hopper_and_fits(tmp_path: Path) -> None:
    programs = said_by("tests.worlds.compiled", tmp_path)
    # Shared memory of one block: 99 KB on the smallest cards from Ampere on (8.6, 8.9), 227 KB on Hopper.
    for name, program in programs.items():
        assert program["shared"] <= (227 << 10 if name.endswith("90") else 99 << 10), name
        assert program["stack"] == 0, f"{name}: the accumulators do not fit into registers"
        assert program["cp.async"], f"{name}: tiles are not fetched ahead"
        assert not program["tf32"], name
    assert programs["bfloat16 80"]["mma.sync"]
    assert programs["bfloat16 90"]["wgmma.mma_async"]


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [((2, 3, 4), (2, 3, 5), (5, 4)), ((2, 3, 4), (2, 2, 5), (4, 5)), ((2, 3, 4), (1, 3, 5), (4, 5))],
)
def test_shapes_that_do_not_belong_together_are_refused(left, right, total) -> None:
    with pytest.raises(ValueError, match=r"left, right and total must be .*, got \[2, 3, 4\]"):
        add_in_tiles(torch.zeros(total), torch.zeros(left), torch.zeros(right))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_sample_and_no_position_add_nothing(shape: tuple[int, int]) -> None:
    total = torch.ones(4, 5)
    for add in (add_in_tiles, add_abs_gradients):
        add(total, torch.zeros(*shape, 4), torch.zeros(*shape, 5))
    assert torch.equal(total, torch.ones(4, 5))
    add_abs_gradients(torch.zeros(4, 0), torch.zeros(1, 2, 4), torch.zeros(1, 2, 0))


# -- where it is used -------------------------------------------------------------------------------------------------
def on(device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    return SimpleNamespace(device=torch.device(device), dtype=dtype)


def test_it_is_used_where_all_tensors_lie_on_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(abs_kernel, "_agrees", lambda device, dtype: bool(asked.append((str(device), dtype))) or True)
    total = on("cuda:1", torch.float32)
    assert usable(total, on("cuda:1"), on("cuda:1"))
    assert usable(total, on("cuda:1"), on("cuda:1", torch.float32))
    assert asked == [("cuda:1", torch.bfloat16), ("cuda:1", torch.float32)]
    assert not usable(on("cpu", torch.float32), on("cuda:1"), on("cuda:1")), "sums in main memory"
    assert not usable(total, on("cuda:0"), on("cuda:1"))
    assert not usable(total, on("cuda:1", torch.float64), on("cuda:1"))
    assert not usable(on("cuda:1", torch.bfloat16), on("cuda:1"), on("cuda:1"))
    assert not usable(*(on("cpu", torch.float32) for _ in range(3)))
    assert len(asked) == 2


def test_the_scores_ask_and_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right, plain = torch.randn(2, 3, 4), torch.randn(2, 3, 5), torch.zeros(4, 5)
    add_abs_gradients(plain, left, right)
    monkeypatch.setattr(absolute, "usable", lambda *tensors: True)
    monkeypatch.setattr(absolute, "add_in_tiles", lambda total, left, right: total.fill_(7))
    tiled = torch.zeros(4, 5)
    add_abs_gradients(tiled, left, right)
    assert bool((plain > 0).all())
    assert bool((tiled == 7).all())


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that says it is a Hopper; what is computed for it is computed on the CPU."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(abs_kernel.importlib.util, "find_spec", lambda name, *_: name)
    return torch.device("cpu")


def right_sum(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    total += (left.float().mT @ right.float()).abs().sum(0)


def test_what_it_gives_is_compared_once_before_it_is_trusted(gpu, monkeypatch, caplog) -> None:
    def a_sample_is_forgotten(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        right_sum(total, left[:-1], right[:-1])

    def signs_are_kept(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        total += (left.float().mT @ right.float()).sum(0)

    agrees = abs_kernel._agrees.__wrapped__
    for dtype in abs_kernel.DTYPES:
        monkeypatch.setattr(abs_kernel, "add_in_tiles", right_sum)
        assert agrees(gpu, dtype)
        assert caplog.text == ""
        for wrong in (a_sample_is_forgotten, signs_are_kept):
            monkeypatch.setattr(abs_kernel, "add_in_tiles", wrong)
            assert not agrees(gpu, dtype)
            assert "are computed by plain torch: Triton's kernel fails (it is off by" in caplog.text
            caplog.clear()


@pytest.mark.parametrize("error", [RuntimeError("Failed to find C compiler\nmore"), ImportError(), OSError("no")])
def test_where_it_fails_plain_torch_goes_on_and_it_is_said(error: Exception, gpu, monkeypatch, caplog) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(abs_kernel, "add_in_tiles", fail)
    assert not abs_kernel._agrees.__wrapped__(gpu, torch.float32)
    assert f"fails ({(str(error) or 'ImportError').splitlines()[0]})" in caplog.text


def test_memory_that_runs_out_meanwhile_is_no_verdict(gpu, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(abs_kernel, "add_in_tiles", fail)
    with pytest.raises(torch.OutOfMemoryError):
        abs_kernel._agrees.__wrapped__(gpu, torch.float32)


def test_older_cards_others_and_a_missing_triton_do_without(gpu, monkeypatch, caplog) -> None:
    agrees = abs_kernel._agrees.__wrapped__
    monkeypatch.setattr(abs_kernel, "add_in_tiles", right_sum)
    with monkeypatch.context() as m:
        m.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
        assert not agrees(gpu, torch.float32)
    with monkeypatch.context() as m:
        m.setattr(torch.version, "cuda", None)  # torch for AMD calls its devices cuda too
        assert not agrees(gpu, torch.float32)
    assert caplog.text == ""
    monkeypatch.setattr(abs_kernel.importlib.util, "find_spec", lambda *_: None)
    assert not agrees(gpu, torch.float32)
    assert "Triton is not installed" in caplog.text


def test_the_library_is_imported_without_triton() -> None:
    code = "import sys; sys.modules['triton'] = None; import harmviz.scoring.absolute; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
