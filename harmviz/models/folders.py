"""What a local path holds: a whole model, a GGUF file in one or several parts, or a LoRA adapter. No torch.

Names of files are compared without regard to case (``.GGUF``). Where a folder could mean two things it is refused, and
the message names both and says how to choose.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harmviz.errors import ModelUnavailable

#: What a LoRA adapter in PEFT's format consists of.
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.gguf", re.IGNORECASE)
#: What vision projectors are called, which lie beside the GGUF file of their language model.
_PROJECTOR = "mmproj"


@dataclass(frozen=True)
class Held:
    """What a path holds. ``name``: what the model is called, after the folder or the GGUF file that was given.
    ``files``: the parts of a GGUF file in order; empty for the others, whose ``folder`` tells."""

    kind: Literal["model", "gguf", "adapter"]
    name: str
    folder: Path
    files: tuple[Path, ...] = ()


def held_at(path: Path) -> Held:
    """What lies at this path, a folder or a file.

    Raises:
        ModelUnavailable: nothing that could be loaded, or more than one thing; the message says what is there.
    """
    try:
        return _of_folder(path) if path.is_dir() else _of_file(path)
    except OSError as e:
        raise ModelUnavailable(f"{path} cannot be read ({e.strerror}); check its permissions") from e


def is_gguf(path: Path) -> bool:
    """Whether the file is of a GGUF model, by its name."""
    return path.suffix.lower() == ".gguf" and not path.name.lower().startswith(_PROJECTOR)


def begins_gguf(path: Path) -> bool:
    """Whether the file is a GGUF model or the first of its parts, by its name."""
    part = _PART.fullmatch(path.name)
    return is_gguf(path) and (part is None or int(part["number"]) == 1)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model.

    Raises:
        ModelUnavailable: the file is missing, no JSON, or no object.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        reason = e.strerror if isinstance(e, OSError) else type(e).__name__
        raise ModelUnavailable(f"{path} cannot be read as JSON ({reason}); copy or download the model again") from e
    if not isinstance(value, dict):
        raise ModelUnavailable(f"{path} holds no JSON object; copy or download the model again")
    return value


def _of_file(path: Path) -> Held:
    if not is_gguf(path):
        raise ModelUnavailable(f"{path} is no GGUF model; of a model or an adapter in another format give the folder")
    part = _PART.fullmatch(path.name)
    return Held("gguf", part["stem"] if part else path.stem, path.parent, _parts(path))


def _parts(path: Path) -> tuple[Path, ...]:
    """All parts of the GGUF file that ``path`` is, or is one part of."""
    part = _PART.fullmatch(path.name)
    if part is None:
        return (path,)
    beside = {p.name.lower(): p for p in path.parent.iterdir()}
    wanted = [f"{part['stem']}-{i:05d}-of-{part['total']}.gguf" for i in range(1, int(part["total"]) + 1)]
    if missing := [name for name in wanted if name.lower() not in beside]:
        raise ModelUnavailable(
            f"{path.parent / missing[0]} is missing, one of {len(wanted)} parts of {part['stem']} "
            f"({len(missing)} missing); put all parts into one folder"
        )
    if not wanted:
        raise ModelUnavailable(f"{path} is a part of none by its name; rename it")
    return tuple(beside[name.lower()] for name in wanted)


def _of_folder(folder: Path) -> Held:
    called = folder.name or folder.resolve().name
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    has_config, has_adapter = "config.json" in names, ADAPTER_CONFIG in names
    weights = [n for n in names if n.endswith(".safetensors") and not n.startswith("adapter_model")]
    if has_adapter and has_config and weights:
        raise ModelUnavailable(
            f"{folder} holds a whole model ({weights[0]}) and a LoRA adapter ({ADAPTER_CONFIG}), and which is meant "
            f"cannot be told; move {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} to a folder of their own: that folder is the "
            "tuned model, this one the model without the adapter"
        )
    if has_adapter:
        if ADAPTER_WEIGHTS not in names:
            raise ModelUnavailable(
                f"{folder} is a LoRA adapter without {ADAPTER_WEIGHTS}; save it with safe_serialization"
            )
        return Held("adapter", called, folder)
    if has_config and weights:
        return Held("model", called, folder)
    if ggufs := _gguf_files(folder, names):
        return Held("gguf", called, folder, ggufs)
    raise ModelUnavailable(_nothing(folder, names, has_config))


def _gguf_files(folder: Path, names: list[str]) -> tuple[Path, ...]:
    """The one GGUF file of the folder, in parts or whole; none where there is none.

    Raises:
        ModelUnavailable: there are several, or parts are missing.
    """
    sets = {_parts(folder / n) for n in names if is_gguf(folder / n)}
    if len(sets) > 1:
        firsts = sorted(parts[0].name for parts in sets)
        shown = ", ".join(firsts[:6]) + (f" and {len(firsts) - 6} more" if len(firsts) > 6 else "")
        raise ModelUnavailable(
            f"{folder} holds {len(firsts)} GGUF models: {shown}; name one of them, e.g. {folder / firsts[0]}"
        )
    return sets.pop() if sets else ()


def _nothing(folder: Path, names: list[str], has_config: bool) -> str:
    """Why the folder is no model, and what to do."""
    if has_config:
        capital = [n for n in names if n.lower().endswith(".safetensors") and not n.endswith(".safetensors")]
        if capital:
            return f"{folder} holds no .safetensors file but {capital[0]}; rename it to {capital[0].lower()}"
        return f"{folder} holds no .safetensors file; save the model with safe_serialization first"
    below = sorted(p.parent for p in folder.glob("*/config.json"))
    hint = f"; {below[0]} has one" if below else ""
    return f"{folder} holds no config.json; give the folder of a saved transformers model{hint}"
