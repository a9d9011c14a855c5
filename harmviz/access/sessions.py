"""Which browser sessions belong to an owner: what the guard asks before it takes an upload.

A page finds out the role whenever it is drawn and notes it here; the guard, which sees no page, reads it.
"""

from __future__ import annotations

from harmviz.access.roles import OWNER, Role

_OWNERS: set[str] = set()


def note(session: str, role: Role) -> None:
    """Remembers the role of a session."""
    if role == OWNER:
        _OWNERS.add(session)
    else:
        _OWNERS.discard(session)


def is_owner(session: str) -> bool:
    """Whether this session was last seen as an owner's."""
    return session in _OWNERS
