"""What an archive from elsewhere must be like, and how it is unpacked without believing it.

Rules: one folder named by the run's id; regular files only, each listed in the manifest; no absolute name, ``..``,
link, second copy of a name, encrypted or oddly compressed member; sizes within limits and exactly as declared; every
hash as the manifest says; safetensors, Parquet and JSON only (no format that can carry code), none of them a
measurement-only mask.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from safetensors import safe_open

from harmviz.errors import OutOfMemory, RunIncompatible
from harmviz.runs import json_text
from harmviz.runs.heads import safetensors_problem
from harmviz.runs.json_text import parse_json
from harmviz.runs.manifest import MANIFEST, check_run_id
from harmviz.runs.manifest_check import manifest_problems
from harmviz.runs.rows import rows_problem, table_problem
from harmviz.runs.stored import Run, verify_run

#: Largest archive, packed and unpacked.
MAX_BYTES = 512 << 20
MAX_MEMBERS = 2000
#: What an archive may unpack to for each byte it has, beyond some slack for small ones. Runs are stored uncompressed; a
#: zip program that packs them again saves a few times at most.
MAX_RATIO, RATIO_SLACK = 20, 16 << 20
SUFFIXES = (".safetensors", ".parquet", ".json", ".jsonl")
#: One part of a member's name. No leading dot: neither ``..`` nor a hidden file.
_PART = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9._()+,=-]{0,199}")
_MASK_KINDS = ("harm", "control")
_CHUNK = 1 << 20


def refused(why: str) -> RunIncompatible:
    """The error of every rule: what the archive did, and that nothing was kept of it."""
    return RunIncompatible(
        f"the archive is not imported: {why}; export the run again with `python -m harmviz runs export`"
    )


def unpack(source: Path | IO[bytes], folder: Path, max_bytes: int = MAX_BYTES) -> Run:
    """Unpacks an archive below ``folder`` and returns its run, with every rule checked and every byte verified.

    Raises:
        RunIncompatible: the archive breaks a rule, or is damaged. OutOfMemory: it holds more than ``max_bytes``.
        OSError: the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            run_id, members = _members(archive, max_bytes)
            manifest = _manifest(archive, members, run_id)
            target = folder / run_id
            for name, info in members.items():
                _extract(archive, info, target / name)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        UnicodeDecodeError,
    ) as e:
        raise refused(f"it is damaged or no zip file ({e})") from e
    run = Run(target, manifest)
    if problems := verify_run(run):
        raise refused(problems[0])
    for name in members:
        if name.endswith(".safetensors"):
            _check_safetensors(target / name, name)
        elif name.endswith(".parquet"):
            _check_parquet(target / name, name)
    return run


# -- before anything is unpacked -------------------------------------------------------------------------------------
def _plausible(archive: zipfile.ZipFile) -> int:
    """Bytes that an archive of this size may hold: nobody's small file fills the disk."""
    assert archive.fp is not None
    return MAX_RATIO * archive.fp.seek(0, 2) + RATIO_SLACK


def _members(archive: zipfile.ZipFile, max_bytes: int) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """(the top folder, members by their name inside it)."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise refused(f"it holds {len(infos):,} files, at most {MAX_MEMBERS:,} are taken")
    members: dict[str, zipfile.ZipInfo] = {}
    tops: set[str] = set()
    folded: set[str] = set()
    for info in infos:
        parts = _checked_name(info)
        tops.add(parts[0])
        if info.is_dir():
            continue
        if len(parts) < 2:
            raise refused(f"{_shown(info)} lies outside the run's folder")
        if info.filename.lower() in folded:  # a file system may take both spellings for one name
            raise refused(f"{_shown(info)} is in it twice")
        folded.add(info.filename.lower())
        members["/".join(parts[1:])] = info
    if len(tops) != 1:
        raise refused(f"it must hold one folder, it holds {len(tops)}")
    n_bytes, most = sum(i.file_size for i in members.values()), min(MAX_BYTES, _plausible(archive))
    if n_bytes > most:
        raise refused(f"it would unpack to more than {most >> 20} MB")
    if n_bytes > max_bytes:
        raise OutOfMemory(
            f"the archive is not imported: it would unpack to {n_bytes / 1e6:.3g} MB, and imports may take "
            f"{max_bytes / 1e6:.3g} MB more; delete some, or raise HARMVIZ_IMPORT_LIMIT"
        )
    if MANIFEST not in members:
        raise refused(f"it has no {MANIFEST}")
    return tops.pop(), members


def _shown(info: zipfile.ZipInfo) -> str:
    return ascii(info.orig_filename[:120])


def _checked_name(info: zipfile.ZipInfo) -> list[str]:
    """The parts of a member's name, once the member is known to be a plain file (or folder) with a plain name."""
    # orig_filename is what the archive says; filename has been cut at a NUL and had separators replaced.
    parts = info.orig_filename.removesuffix("/").split("/")
    if info.orig_filename != info.filename or not all(_PART.fullmatch(p) for p in parts) or len(info.filename) > 400:
        raise refused(f"{_shown(info)} is no plain name inside the run's folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise refused(f"{_shown(info)} is a link or a special file")
    if info.flag_bits & 0x1:
        raise refused(f"{_shown(info)} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(f"{_shown(info)} is compressed in a way that is not read here")
    return parts


def _manifest(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], run_id: str) -> dict[str, Any]:
    info = members[MANIFEST]
    if info.file_size > json_text.MAX_BYTES:
        raise refused(f"its {MANIFEST} is larger than {json_text.MAX_BYTES >> 20} MB")
    try:
        with archive.open(info) as f:
            manifest = parse_json(f.read(json_text.MAX_BYTES + 1))
    except ValueError as e:
        raise refused(f"its {MANIFEST} cannot be read ({e})") from e
    if problems := manifest_problems(manifest):
        raise refused(f"{MANIFEST}: {problems[0]}")
    try:
        check_run_id(run_id)
    except ValueError as e:
        raise refused(str(e)) from e
    if manifest["run_id"] != run_id:
        raise refused(f"its folder is named {run_id!r}, its {MANIFEST} says {manifest['run_id'][:120]!r}")
    listed = set(manifest["files"])
    if extra := sorted(set(members) - listed - {MANIFEST}):
        raise refused(f"{extra[0]!r} is not listed in its {MANIFEST}")
    if missing := sorted(listed - set(members)):
        raise refused(f"{missing[0]!r} is listed in its {MANIFEST} and missing")
    if odd := sorted(n for n in listed if PurePosixPath(n).suffix not in SUFFIXES):
        raise refused(f"{odd[0]!r} is none of {', '.join(SUFFIXES)}")
    return dict(manifest)


# -- while unpacking -------------------------------------------------------------------------------------------------
def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Writes one member, counting what really comes out of it: a declared size is only a claim."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(info) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > info.file_size:
                raise refused(f"{_shown(info)} unpacks to more than the {info.file_size:,} bytes it declares")
            sink.write(chunk)
    if written != info.file_size:
        raise refused(f"{_shown(info)} unpacks to {written:,} bytes, it declares {info.file_size:,}")


# -- after unpacking -------------------------------------------------------------------------------------------------
def _check_safetensors(path: Path, name: str) -> None:
    if why := safetensors_problem(path):
        raise refused(f"{name} is {why}")
    with safe_open(path, framework="numpy") as f:
        text = (f.metadata() or {}).get("harmviz", "{}")
    try:
        header = parse_json(text.encode())
    except ValueError as e:
        raise refused(f"{name} says of itself what cannot be read ({e})") from e
    kind = header.get("kind") if isinstance(header, dict) else None
    if kind == "measurement":
        raise refused(f"{name} is a measurement-only mask: it marks weights that refusals rest on")
    if name.startswith("masks/") and kind not in _MASK_KINDS:
        raise refused(f"{name} is no mask")


def _check_parquet(path: Path, name: str) -> None:
    # Results are rows of one format; what else a run keeps as a table, such as its samples' losses, has its own.
    if why := (rows_problem if name.startswith("results/") else table_problem)(path):
        raise refused(f"{name}: {why}")
