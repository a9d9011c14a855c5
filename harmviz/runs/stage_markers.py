"""The markers of a run at work: one file for each stage that is done, with its place and the files that it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmviz.runs.json_text import read_json
from harmviz.runs.manifest_check import file_name_problem


class StageMarkers:
    """The markers in a folder, read again only where a file is another than before: a run asks hundreds of times."""

    def __init__(self, folder: Path):
        self._folder = folder
        #: What a file held, by (name, size, mtime, inode); None: damaged.
        self._read: dict[tuple[str, int, int, int], dict[str, Any] | None] = {}

    def all(self) -> list[dict[str, Any]]:
        """The readable markers, in the order in which their stages finished."""
        markers = filter(None, map(self._marker, self._folder.glob("*.json")))
        return sorted(markers, key=lambda m: m["order"])

    def _marker(self, path: Path) -> dict[str, Any] | None:
        """The marker in this file; None where it is damaged: its stage is done again."""
        try:
            stat = path.stat()
            key = (path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino)
            if key not in self._read:
                self._read[key] = None
                marker = read_json(path)
                if not any(map(file_name_problem, marker["files"])):
                    self._read[key] = {**marker, "order": int(marker["order"]), "files": dict(marker["files"])}
        except (ValueError, KeyError, TypeError, OSError):
            return None
        return self._read[key]
