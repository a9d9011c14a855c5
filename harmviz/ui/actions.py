"""The owner's actions, each with its check: pages start, cancel, import, export and delete here and nowhere else.

A control that is not drawn is no protection: what a browser sends is its own choice. So each of these asks for the role
itself, at the moment it acts.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import IO

from harmviz import jobs
from harmviz import runs as store
from harmviz.jobs import Job, Upload
from harmviz.runs import Run, quota
from harmviz.ui import visitor


def start(arguments: Sequence[str], upload: Upload | None = None) -> Job:
    """Starts a job; as ``jobs.start``.

    Raises:
        NotAllowed: this visitor may not. OutOfMemory: the cache is as large as it may get.
    """
    visitor.require("start")
    if upload is not None:
        visitor.require("import")
    quota.check_cache()
    return jobs.start(arguments, upload) if upload is not None else jobs.start(arguments)


def resume(job: Job) -> Job:
    """Starts a job again; as ``jobs.resume``.

    Raises:
        NotAllowed: this visitor may not. OutOfMemory: the cache is as large as it may get.
    """
    visitor.require("start")
    quota.check_cache()
    return jobs.resume(job)


def cancel(job: Job) -> None:
    """Stops a job; as ``jobs.cancel``.

    Raises:
        NotAllowed: this visitor may not.
    """
    visitor.require("cancel")
    jobs.cancel(job)


def forget(job: Job) -> None:
    """Puts a job away; as ``jobs.forget``.

    Raises:
        NotAllowed: this visitor may not.
    """
    visitor.require("forget")
    jobs.forget(job)


def take_in(archive: IO[bytes]) -> Run:
    """Imports a run, within what imports may take; as ``import_run``.

    Raises:
        NotAllowed: this visitor may not. OutOfMemory: imports take as much as they may already.
    """
    visitor.require("import")
    return store.import_run(archive, max_bytes=quota.room_for_import())


def delete(name: str) -> None:
    """Deletes a run for good; as ``delete_run``.

    Raises:
        NotAllowed: this visitor may not.
    """
    visitor.require("delete")
    store.delete_run(name)


def archive_of(run: Run) -> Callable[[], bytes]:
    """Makes the run's archive, with its masks, when it is asked for. The right to it is settled here: what makes the
    archive is called later, outside the page, where nobody is known.

    Raises:
        NotAllowed: this visitor may not.
    """
    visitor.require("export")

    def make() -> bytes:
        packed = io.BytesIO()
        store.export_run(run, packed)
        return packed.getvalue()

    return make
