"""How much memory is free: within a container's limit, what the kernel keeps of files aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmviz.models import memory


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path if name == "/sys/fs/cgroup" else Path(name))
    return tmp_path


def put(group: Path, limit: str, current: int, stat: str) -> None:
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(stat)


def test_files_that_were_read_do_not_count_as_used(group: Path) -> None:
    put(group, "1000", 900, "anon 300\nfile 600\ninactive_file 550\n")
    assert memory._from_cgroup() == 1000 - 350
    put(group, "1000", 900, "anon 900\n")
    assert memory._from_cgroup() == 100
    put(group, "1000", 1200, "inactive_file 50\n")
    assert memory._from_cgroup() == 0


@pytest.mark.parametrize("limit", ["max", "what"])
def test_no_limit_or_none_that_can_be_read(group: Path, limit: str) -> None:
    put(group, limit, 900, "inactive_file 1\n")
    assert memory._from_cgroup() is None


def test_no_group_at_all(group: Path) -> None:
    assert memory._from_cgroup() is None
