"""Names of tuned models and their files: the embedded aligned one, checkpoints of ladders, adapter files. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from harmviz.files import sha256_of_file
from harmviz.models.assets import ALIGNED
from harmviz.paths import ALIGNED_ADAPTER, assets_root, runs_root, shipped_runs_root

#: Written last into the folder of a merged model: where it is, the folder is complete.
MARKER = "harmviz.json"


def find_adapter(name: str) -> Path | None:
    """The adapter file that a model's name means, or None: the embedded aligned model, ``<ladder>/<checkpoint>``, or an
    adapter file. A ladder here comes before a shipped one of its id."""
    if name == ALIGNED:
        return ALIGNED_ADAPTER
    path = Path(name).expanduser()
    if path.suffix.lower() == ".safetensors" and path.is_file():
        return path
    ladder, _, checkpoint = name.partition("/")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        paths = (
            root / ladder / "adapters" / f"{checkpoint}.safetensors" for root in (runs_root(), shipped_runs_root())
        )
        return next((path for path in paths if path.is_file()), None)
    return None


def merged_dir(adapter: Path) -> Path:
    """Folder of the model with this adapter merged in, whether it was made already or not."""
    return assets_root() / f"merged-{sha256_of_file(adapter)[:16]}"
