"""Data sets on the Hugging Face hub, for those with a network: ``hub:owner/name[@revision][:file]``.

The data files are fetched into the hub's own cache and read like a reader's own files; nothing of a data set is run.
Where a data set holds several tables the line says which, and one is named behind a colon. A table in parts
(``train-00000-of-00003.parquet``) is read whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from harmviz.data.faults import Fault
from harmviz.data.table import Table, check_rows
from harmviz.data.tables import SUFFIXES, read_table, readable
from harmviz.errors import DataInvalid

HUB = "hub:"
_NAME = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[^:]+))?", re.ASCII)
_PART = re.compile(r"-\d{5}-of-\d{5}(?=[.-])")


def is_hub(source: str) -> bool:
    """Whether the source names a data set on the hub."""
    return source.startswith(HUB)


def read_hub(source: str, say: Callable[[str], None]) -> tuple[Table, str, str]:
    """(the table, the id that runs call it by, a note on what was read) of a data set on the hub.

    Raises:
        DataInvalid: no such name, data set, revision or file, no network, several tables, or none that can be read.
    """
    match = _NAME.fullmatch(source)
    if match is None:
        raise DataInvalid(f"data {source[:100]!r} is no hub data set: write hub:owner/name, with @revision and :file")
    repo, revision, wanted = match["repo"], match["revision"], match["file"]
    info = _asked(repo, lambda api: api.dataset_info(repo, revision=revision))
    commit = str(info.sha)
    files = sorted(s.rfilename for s in info.siblings or () if readable(Path(s.rfilename)))
    parts = _chosen(source, files, wanted)
    table: Table | None = None
    for name in parts:
        say(f"{repo}: fetching {PurePosixPath(name).name}")
        part = read_table(_fetched(repo, name, commit))
        if table is None:
            table = Table(source, part.format, [], [])
        base = len(table.records) + len(table.faults) if len(parts) > 1 else 0
        table.records += [(base + n, record) for n, record in part.records]
        table.faults += [Fault(base + fault.row, fault.kind, fault.detail) for fault in part.faults]
        check_rows(source, len(table.records))
    assert table is not None, "at least one part was chosen"
    note = f"data set {repo} of the hub at {commit}: {', '.join(parts)}"
    return table, repo.replace("/", "-"), note


def _fetched(repo: str, name: str, commit: str) -> Path:
    """The file in the hub's own cache, fetched where it is not there yet."""
    return Path(_asked(repo, lambda api: api.hf_hub_download(repo, name, repo_type="dataset", revision=commit)))


def _chosen(source: str, files: list[str], wanted: str | None) -> list[str]:
    """The parts of the one table to read."""
    tables: dict[str, list[str]] = {}
    for name in files:
        tables.setdefault(_PART.sub("", name), []).append(name)
    if wanted is not None:
        found = tables.get(_PART.sub("", wanted))
        if found is None:
            raise DataInvalid(f"{source}: there is no such file; {_listed(tables)}")
        return [wanted] if wanted in files and wanted not in tables else found
    if not tables:
        raise DataInvalid(
            f"{source} holds no file that is read here ({', '.join(SUFFIXES)}); export it as one of these"
        )
    if len(tables) > 1:
        raise DataInvalid(f"{source} holds {len(tables)} tables; name one behind a colon: {_listed(tables)}")
    return next(iter(tables.values()))


def _listed(tables: dict[str, list[str]]) -> str:
    names = list(tables)
    return "; ".join(f":{name}" for name in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _asked(repo: str, question: Callable[[Any], Any]) -> Any:
    """What the hub answers.

    Raises:
        DataInvalid: it cannot be reached, or has no such data set, revision or file for this reader.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return question(HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None))
    except GatedRepoError as e:
        raise DataInvalid(f"data set {repo}: its owner asks for consent on its page; give it there, and log in") from e
    except RevisionNotFoundError as e:
        raise DataInvalid(f"data set {repo} has no such revision; leave out @revision for the newest") from e
    except RepositoryNotFoundError as e:
        raise DataInvalid(f"the hub has no data set {repo} that can be read without logging in") from e
    except Exception as e:  # the client and what it calls raise many types: all mean that it is not to be had
        raise DataInvalid(
            f"data set {repo} cannot be fetched from the hub ({type(e).__name__}): without a network, "
            "give the path of a file of it"
        ) from e
