"""Names of tuned models and where their files are: the embedded aligned model, checkpoints of ladders, adapter files. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from harmviz.files import sha256_of_file
from harmviz.models.assets import ALIGNED
from harmviz.paths import ALIGNED_ADAPTER, SHIPPED_LADDERS, assets_root, ladders_root

#: Written last into the folder of a merged model: where it is, the folder is complete.
MARKER = "harmviz.json"
#: The same of a ladder.
LADDER_MANIFEST = "ladder.json"


def find_adapter(name: str) -> Path | None:
    """The adapter file that a model's name means, or None: the embedded aligned model, ``<ladder>/<checkpoint>``, or an
    adapter file."""
    if name == ALIGNED:
        return ALIGNED_ADAPTER
    path = Path(name).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return path
    ladder, _, checkpoint = name.partition("/")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        paths = (root / ladder / "adapters" / f"{checkpoint}.safetensors" for root in _roots())
        return next((path for path in paths if path.is_file()), None)
    return None


def _roots() -> tuple[Path, ...]:
    return (ladders_root(), SHIPPED_LADDERS)


def checkpoints() -> list[str]:
    """``<ladder>/<checkpoint>`` of every checkpoint of the ladders made here, by name."""
    return sorted(f"{path.parent.parent.name}/{path.stem}" for path in ladders_root().glob("*/adapters/*.safetensors"))


def ladders() -> dict[str, Path]:
    """Id → folder of every complete ladder, made here or shipped, by id; one made here comes before a shipped one of its id."""
    found = {path.parent.name: path.parent for root in reversed(_roots()) for path in root.glob(f"*/{LADDER_MANIFEST}")}
    return dict(sorted(found.items()))


def merged_dir(adapter: Path) -> Path:
    """Folder of the model with this adapter merged in, whether it was made already or not."""
    return assets_root() / f"merged-{sha256_of_file(adapter)[:16]}"
