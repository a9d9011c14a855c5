"""Where a model's files are: from the name that somebody typed to a folder that transformers can load, or a hub id.

A name is ``smollm2-135m-instruct`` (embedded), ``smollm2-135m-aligned`` (the same after safety tuning),
``<ladder>/<checkpoint>`` or an adapter file of ``python -m harmviz align``, a local folder or ``.gguf`` file, or a hub
id with an optional ``@revision``. A folder holds a model, a GGUF file, or a LoRA adapter (``harmviz.models.folders``).
What has to be made first (a merged adapter of a ladder, a converted GGUF file) is made once.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import NamedTuple

from harmviz.errors import ModelUnavailable
from harmviz.files import sha256_of_file
from harmviz.models.adapters import tuned_model_dir
from harmviz.models.assets import ALIGNED, EMBEDDED, Say, embedded_model_dir
from harmviz.models.folders import Held, held_at
from harmviz.models.gguf import convert_gguf
from harmviz.models.gguf_parts import join_gguf
from harmviz.models.hub import cached_snapshot, hub_adapter, is_hub_id
from harmviz.models.names import find_adapter
from harmviz.models.peft_adapters import base_of
from harmviz.paths import assets_root


class Location(NamedTuple):
    """``name``: what the model is called from now on; ``source``: its folder, or a hub id; ``adapter``: the folder of a
    LoRA adapter that is merged into it."""

    name: str
    revision: str | None
    source: Path | str
    adapter: Path | None = None


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
        return Location(name, None, tuned_model_dir(adapter, say))
    path = Path(name).expanduser()
    if _is_there(path):
        held = held_at(path)
        if held.kind == "adapter":
            return _with_base(held.name, held.folder, say, fetch=False)
        return Location(held.name, None, _folder_of(held, say))
    if is_hub_id(name):
        if (folder := hub_adapter(name)) is not None:
            return _with_base(name.partition("@")[0], folder, say, fetch=True)
        hub, _, revision = name.partition("@")
        return Location(hub, revision or None, hub)
    raise ModelUnavailable(
        f"model {name!r} is neither {EMBEDDED!r}, an existing folder or .gguf file, "
        "nor a hub id like 'org/name@revision'"
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name that a file could have
        return False


def _folder_of(held: Held, say: Say) -> Path:
    return held.folder if held.kind == "model" else _converted_dir(held, say)


def _with_base(name: str, adapter: Path, say: Say, *, fetch: bool) -> Location:
    """Where the base of a LoRA adapter is. ``fetch``: whether transformers may download it, as it may the adapter.

    Raises:
        ModelUnavailable: the adapter is damaged or of another kind, or its base is not here.
    """
    base = base_of(adapter)
    if isinstance(base, Path):
        return Location(name, None, _folder_of(held_at(base), say), adapter)
    if base in (EMBEDDED, ALIGNED):
        return locate(base, say)._replace(name=name, adapter=adapter)
    if is_hub_id(base):
        if (folder := cached_snapshot(base)) is not None:
            return Location(name, None, folder, adapter)
        if fetch:
            return Location(name, None, base, adapter)
    raise ModelUnavailable(
        f"{adapter} is a LoRA adapter of {base!r}, which is not on this machine; download it, or write the folder it "
        "lies in into base_model_name_or_path of adapter_config.json"
    )


def _converted_dir(held: Held, say: Say) -> Path:
    """Folder of the safetensors copy of a GGUF file in the asset cache, made on first use."""
    digests = [sha256_of_file(part) for part in held.files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    folder = assets_root() / f"gguf-{digest[:16]}"
    if not folder.is_dir():
        say(f"{held.files[0].name}: converting GGUF to safetensors (once)")
        assets_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=assets_root()) as part:
            single = held.files[0]
            if len(held.files) > 1:
                single = Path(part) / f"{held.name}.gguf"
                join_gguf(held.files, single)
            convert_gguf(single, Path(part) / "model")
            (Path(part) / "model").replace(folder)
    return folder
