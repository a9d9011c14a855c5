"""Requests of a reader's own, asked held out: read from a file and parted into harmful and harmless ones.

Their texts are treated as fetched ones are: counts and hashes of them are stored, never a text or an answer to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harmviz.data.categories import BENIGN, SAFE
from harmviz.data.columns import AS_IT_IS, ReadOptions
from harmviz.data.user_files import read_requests
from harmviz.errors import DataInvalid

#: What results call the set of these requests.
OWN = "own"


@dataclass(frozen=True)
class OwnRequests:
    """Requests of a reader's own.

    Attributes:
        id: of the file, as runs call it.
        harmful: (harm type, request); the type is ``own`` where the file names none.
        benign: harmless requests. notes: how they were read.
    """

    id: str
    harmful: tuple[tuple[str, str], ...] = field(repr=False)
    benign: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...]


def own_requests(
    source: str, options: ReadOptions = AS_IT_IS, *, say: Callable[[str], None] = lambda _: None
) -> OwnRequests:
    """The requests of a file, a saved folder or a hub data set.

    Raises:
        DataInvalid: as ``read_requests``, or none of them is harmful.
    """
    read = read_requests(source, options, say=say)
    harmful = tuple((r.set or OWN, r.prompt) for r in read.rows if r.set != BENIGN and not r.set.startswith(SAFE))
    benign = tuple(r.prompt for r in read.rows if r.set == BENIGN)
    if not harmful:
        raise DataInvalid(f"{source}: all its requests are harmless; held-out harmful requests are needed")
    unused = len(read.rows) - len(harmful) - len(benign)
    notes = [f"{unused:,} requests of safe:<category> are not asked"] if unused else []
    return OwnRequests(read.id, harmful, benign, (*read.notes, *notes))
