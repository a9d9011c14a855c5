"""Names of tuned models and their files: the embedded aligned one, checkpoints of ladders, adapter files. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from harmviz.errors import ModelUnavailable
from harmviz.files import sha256_of_file
from harmviz.models.assets import ALIGNED
from harmviz.paths import ALIGNED_ADAPTER, assets_root, runs_root, shipped_runs_root

#: Written last into the folder of a merged model: where it is, the folder is complete.
MARKER = "harmviz.json"


def find_adapter(name: str) -> Path | None:
    """The adapter file that a model's name means, or None: the embedded aligned model, ``<ladder>/<checkpoint>``, or an
    adapter file. A ladder here comes before a shipped one of its id.

    Raises:
        ModelUnavailable: the checkpoint was deleted on purpose, its ladder is still there.
    """
    if name == ALIGNED:
        return ALIGNED_ADAPTER
    path = Path(name).expanduser()
    if path.suffix.lower() == ".safetensors" and path.is_file():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        ladder, _, checkpoint = name.partition("/")
        folders = [root / ladder for root in (runs_root(), shipped_runs_root())]
        file = f"adapters/{checkpoint}.safetensors"
        if (found := next((folder / file for folder in folders if (folder / file).is_file()), None)) is not None:
            return found
        if any(file in _let_go(folder) for folder in folders):
            raise ModelUnavailable(
                f"the weights of {name} were deleted once they were measured (runs slim); delete the ladder and make "
                "it again with `python -m harmviz align` and its settings"
            )
    return None


def _let_go(ladder: Path) -> Collection[str]:
    """Names of the files that were deleted of this ladder; none where the folder is no run."""
    try:
        manifest = json.loads((ladder / "manifest.json").read_bytes())
        return dict(manifest.get("let_go", {}))
    except (OSError, ValueError, AttributeError, TypeError):
        return ()


def merged_dir(adapter: Path) -> Path:
    """Folder of the model with this adapter merged in, whether it was made already or not."""
    return assets_root() / f"merged-{sha256_of_file(adapter)[:16]}"
