"""Models of the hub: what their ids look like, and which of them lie complete in the cache on this disk. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from harmviz.errors import ModelUnavailable
from harmviz.models.assets import Say
from harmviz.models.folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_json

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?")
_INDEX = "model.safetensors.index.json"


def is_hub_id(name: str) -> bool:
    """Whether the name reads ``org/name`` or ``org/name@revision``."""
    return bool(_HUB_ID.fullmatch(name)) and ".." not in name


def check_hub_id(name: str) -> str:
    """The name itself, if it is a hub id.

    Raises:
        ModelUnavailable: it is not.
    """
    if not is_hub_id(name):
        raise ModelUnavailable(f"{name[:120]!r} is no hub id; it reads org/name or org/name@revision")
    return name


def cached_file_of(name: str, file: str) -> Path | None:
    """A file of this hub id in the hub's cache, or None. Asks the disk only."""
    from huggingface_hub import try_to_load_from_cache

    repo, _, revision = name.partition("@")
    found = try_to_load_from_cache(repo, file, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def cached_snapshot(name: str) -> Path | None:
    """The folder of a complete download of this model, or None. Asks the disk only."""
    config = cached_file_of(name, "config.json")
    if config is None:
        return None
    try:
        return config.parent if shards(config.parent) else None
    except ModelUnavailable:
        return None  # begun and not finished


def download(name: str, say: Say) -> Path:
    """The folder of this model's config and weights, downloaded where they are not in the hub's cache.

    Raises:
        ModelUnavailable: there is no such model, or no way to it; the message says which.
    """
    if (folder := cached_snapshot(name)) is not None:
        return folder
    from huggingface_hub import snapshot_download

    repo, _, revision = name.partition("@")
    say(f"{name}: downloading")
    try:
        return Path(
            snapshot_download(repo, revision=revision or None, allow_patterns=["config.json", "model*.safetensors*"])
        )
    except (OSError, ValueError) as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0][:300]
        raise ModelUnavailable(f"model {name!r} cannot be downloaded: {type(e).__name__}: {reason}") from e


def hub_adapter(name: str) -> Path | None:
    """The folder of the LoRA adapter that this hub id is, downloaded where it is not here; None where it is a model.

    Raises:
        ModelUnavailable: it holds both, or the adapter cannot be downloaded.
    """
    from transformers.utils import cached_file

    repo, _, revision = name.partition("@")

    def find(file: str) -> str | None:
        path: str | None = cached_file(
            repo,
            file,
            revision=revision or None,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        return path

    try:
        if (config := find(ADAPTER_CONFIG)) is None:
            return None
        weights = find(ADAPTER_WEIGHTS)
        whole = find("model.safetensors") or find(_INDEX)
        for file in ("tokenizer_config.json", "tokenizer.json", "chat_template.jinja"):
            find(file)
    except (OSError, ValueError):
        return None  # no such repository, or no way to it: loading it as a model says so
    if whole is not None:
        raise ModelUnavailable(
            f"{name} holds a whole model and a LoRA adapter, and which is meant cannot be told; download it and keep "
            "one of them in a folder"
        )
    if weights is None:
        raise ModelUnavailable(f"{name} is a LoRA adapter without {ADAPTER_WEIGHTS}; choose another revision")
    return Path(config).parent


def shards(folder: Path) -> list[Path]:
    """The weight files that are loaded: those the index names, where there is one (a folder may hold a second copy).

    Raises:
        ModelUnavailable: the index cannot be read, or names a file that is missing.
    """
    index = folder / _INDEX
    if not index.is_file():
        single = folder / "model.safetensors"
        return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(n, str) for n in named.values()):
        raise ModelUnavailable(f"{index} cannot be read (no weight_map); copy or download it again")
    names = sorted({Path(n).name for n in named.values()})
    if missing := [n for n in names if not (folder / n).is_file()]:
        raise ModelUnavailable(f"{folder / missing[0]} is missing; copy or download the model again")
    return [folder / n for n in names]
