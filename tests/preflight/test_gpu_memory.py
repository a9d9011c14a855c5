"""The GPU whose free memory is asked for is the one that a run would use."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harmviz.preflight import machine


@pytest.mark.parametrize(("visible", "free"), [(None, 1000), ("", None), ("1", 2000), ("1,0", 2000)])
def test_the_first_visible_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, free: int | None
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *"-i 1"*) echo 2000;; *) echo 1000; echo 2000;; esac\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(machine.importlib.metadata, "version", lambda name: "2.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.free_gpu_memory() == (None if free is None else free << 20)
