"""What was begun and not completed, as lists show it: read from the folders, whoever works on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harmviz.paths import runs_root
from harmviz.runs.json_text import read_json
from harmviz.runs.lock import holder
from harmviz.runs.manifest import MANIFEST
from harmviz.runs.partial import PREFIX, lock_path


@dataclass(frozen=True)
class PartialInfo:
    """Partial work found on disk. ``pid`` is the process working on it, or None where it waits to be resumed."""

    run_id: str
    path: Path
    stages: tuple[str, ...]
    pid: int | None


def list_partials(root: Path | None = None) -> list[PartialInfo]:
    """Runs that were begun and not completed, by name; ``stages`` are those with a marker (contents not checked)."""
    where = root or runs_root()
    partials = []
    for folder in sorted(where.glob(f"{PREFIX}*")) if where.is_dir() else []:
        run_id = folder.name.removeprefix(PREFIX)
        if not folder.is_dir() or (where / run_id / MANIFEST).is_file():
            continue
        names = []
        for marker in (folder / "stages").glob("*.json"):
            try:
                content = read_json(marker)
                names.append((int(content["order"]), str(content["stage"])))
            except (ValueError, KeyError, TypeError, OSError):
                continue
        stages = tuple(name for _, name in sorted(names))
        partials.append(PartialInfo(run_id, folder, stages, holder(lock_path(run_id, where))))
    return partials
