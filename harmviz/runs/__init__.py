"""Runs on disk: content-addressed, atomic, versioned. Compute writes them, pages read them.

- ``rows``: the tidy row that every measured number is; ``point``: the address of its mask;
- ``manifest``: the run's id, its manifest and the manifest's hash; ``manifest_check``: what it must be like;
- ``json_text``, ``heads``: JSON and files that others may have written, read without believing them;
- ``stored``: complete runs: list, open, verify; ``shipped``: which are part of harmviz;
- ``making``: the one maker of runs, from a plan to a manifest; ``progress``: how far it is;
- ``partial``: a run while it is being made: stages, resume, commit; ``lock``: by one process at a time;
- ``archive``: export, import, delete; ``unpacking``: what an archive from elsewhere must be like; ``imports``: which
  runs came from elsewhere; ``quota``: how much may be stored.

No torch, no streamlit.
"""

from harmviz.files import disk_errors, sha256_of_file, write_atomic
from harmviz.runs.archive import delete_run, export_run, import_run
from harmviz.runs.manifest import SCHEMA_VERSION, is_covered, run_id
from harmviz.runs.manifest_check import manifest_problems
from harmviz.runs.partial import PartialRun, begin
from harmviz.runs.point import Point
from harmviz.runs.rows import (
    CONTROLS,
    ROW_COLUMNS,
    Row,
    Where,
    frame_to_records,
    read_rows,
    rows_to_frame,
    write_rows,
)
from harmviz.runs.shipped import shipped_runs
from harmviz.runs.stored import (
    BrokenRun,
    Run,
    broken_runs,
    default_run,
    find_run,
    list_runs,
    open_run,
    read_run,
    result_digest,
    verify_run,
)
from harmviz.runs.unfinished import PartialInfo, list_partials

__all__ = [
    "CONTROLS",
    "ROW_COLUMNS",
    "SCHEMA_VERSION",
    "BrokenRun",
    "PartialInfo",
    "PartialRun",
    "Point",
    "Row",
    "Run",
    "Where",
    "begin",
    "broken_runs",
    "default_run",
    "delete_run",
    "disk_errors",
    "export_run",
    "find_run",
    "frame_to_records",
    "import_run",
    "is_covered",
    "list_partials",
    "list_runs",
    "manifest_problems",
    "open_run",
    "read_rows",
    "read_run",
    "result_digest",
    "rows_to_frame",
    "run_id",
    "sha256_of_file",
    "shipped_runs",
    "verify_run",
    "write_atomic",
    "write_rows",
]
