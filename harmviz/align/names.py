"""Names of tuned models and where their files are: the embedded aligned model, checkpoints of ladders, adapter files. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from harmviz.assets import ALIGNED
from harmviz.paths import ALIGNED_ADAPTER, assets_root, ladders_root
from harmviz.store.files import sha256_of_file

#: Written last into the folder of a merged model: where it is, the folder is complete.
MARKER = "harmviz.json"
#: The same of a ladder.
LADDER_MANIFEST = "ladder.json"


def find_adapter(name: str) -> Path | None:
    """The adapter file that a model's name means, or None: the embedded aligned model, ``<ladder>/<checkpoint>`` of the
    cache's ladders, or an adapter file."""
    if name == ALIGNED:
        return ALIGNED_ADAPTER
    path = Path(name).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return path
    ladder, _, checkpoint = name.partition("/")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        path = ladders_root() / ladder / "adapters" / f"{checkpoint}.safetensors"
        return path if path.is_file() else None
    return None


def checkpoints() -> list[str]:
    """``<ladder>/<checkpoint>`` of every checkpoint in the cache's ladders, by name."""
    return sorted(f"{path.parent.parent.name}/{path.stem}" for path in ladders_root().glob("*/adapters/*.safetensors"))


def ladders() -> list[str]:
    """The ids of the cache's complete ladders, by name."""
    return sorted(path.parent.name for path in ladders_root().glob(f"*/{LADDER_MANIFEST}"))


def merged_dir(adapter: Path) -> Path:
    """Folder of the model with this adapter merged in, whether it was made already or not."""
    return assets_root() / f"merged-{sha256_of_file(adapter)[:16]}"
