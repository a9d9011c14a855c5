"""The menu: the pages of every claim, and those that belong to none."""

from __future__ import annotations

import streamlit as st

from harmviz.claims import CLAIMS
from harmviz.claims import claim as claims

#: Sections in their order; claims name the one they are listed in.
SECTIONS = ("Explore", "Claims", "Live", "Manage", "Understand")
_OWN = (
    claims.Page("playground", "Playground", ":material/play_circle:", "Live"),
    claims.Page("runs", "Runs", ":material/stacks:", "Manage"),
    claims.Page("learn", "Learn", ":material/school:", "Understand"),
)


def entries() -> tuple[claims.Page, ...]:
    """Every page, in the order of the menu. The first one is where the dashboard opens."""
    listed = (*(page for claim in CLAIMS.values() for page in claim.pages), *_OWN)
    return tuple(sorted(listed, key=lambda page: SECTIONS.index(page.section)))


def pages() -> dict[str, list[st.Page]]:
    """Section → its pages, as ``st.navigation`` takes them."""
    first = entries()[0]
    menu: dict[str, list[st.Page]] = {}
    for entry in entries():
        script = st.Page(f"pages/{entry.file}.py", title=entry.title, icon=entry.icon, default=entry == first)
        menu.setdefault(entry.section, []).append(script)
    return menu
