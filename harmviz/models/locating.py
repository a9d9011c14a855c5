"""Where a model's files are: from the name that somebody typed to a folder that transformers can load, or a hub id.

A name is ``smollm2-135m-instruct`` (embedded), ``smollm2-135m-aligned`` (the same after safety tuning),
``<ladder>/<checkpoint>`` or an adapter file of ``python -m harmviz align``, a local folder or ``.gguf`` file, or a hub
id with an optional ``@revision``. What has to be made first (a merged adapter, a converted GGUF file) is made once.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from harmviz.errors import ModelUnavailable
from harmviz.files import sha256_of_file
from harmviz.models.adapters import tuned_model_dir
from harmviz.models.assets import EMBEDDED, Say, embedded_model_dir
from harmviz.models.gguf import convert_gguf
from harmviz.models.names import find_adapter
from harmviz.paths import assets_root

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Location(NamedTuple):
    """``name``: what the model is called from now on; ``source``: its folder, or a hub id."""

    name: str
    revision: str | None
    source: Path | str


def locate(name: str, say: Say) -> Location:
    """Where the model of this name is.

    Raises:
        ModelUnavailable: nothing that could be loaded has this name.
        AssetUnavailable: the embedded model can neither be found nor fetched.
        OutOfMemory: the disk is full.
    """
    if name == EMBEDDED:
        return Location(EMBEDDED, None, embedded_model_dir(say))
    if (adapter := find_adapter(name)) is not None:
        return Location(name, None, tuned_model_dir(adapter, embedded_model_dir(say), say))
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return Location(path.stem, None, _converted_dir(path, say))
    if path.is_dir():
        return Location(path.name, None, _model_dir(path, say))
    hub, _, revision = name.partition("@")
    if _HUB_ID.fullmatch(hub) and not name.startswith((".", "/", "~")):
        return Location(hub, revision or None, hub)
    raise ModelUnavailable(
        f"model {name!r} is neither {EMBEDDED!r}, an existing folder or .gguf file, "
        "nor a hub id like 'org/name@revision'"
    )


def _model_dir(folder: Path, say: Say) -> Path:
    """The folder itself; where it holds nothing but one GGUF file, that of the converted copy."""
    if not (folder / "config.json").is_file():
        ggufs = sorted(folder.glob("*.gguf"))
        if len(ggufs) == 1:
            return _converted_dir(ggufs[0], say)
        raise ModelUnavailable(f"{folder} holds no config.json; give the folder of a saved transformers model")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"{folder} holds no .safetensors file; save the model with safe_serialization first")
    return folder


def _converted_dir(gguf: Path, say: Say) -> Path:
    """Folder of the safetensors copy of ``gguf`` in the asset cache, made on first use."""
    folder = assets_root() / f"gguf-{sha256_of_file(gguf)[:16]}"
    if not folder.is_dir():
        say(f"{gguf.name}: converting GGUF to safetensors (once)")
        assets_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=assets_root()) as part:
            convert_gguf(gguf, Path(part) / "model")
            (Path(part) / "model").replace(folder)
    return folder
