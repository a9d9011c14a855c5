"""The pictures of a stored run as its claim draws them with nothing chosen: what a report holds, and a notebook shows.

A claim tells its own in ``pictures.py``: ``pictures(run, theme)``, and where it has any, ``limits(run)``. One without
has none. No torch, no Streamlit.

    from harmviz import open_run
    from harmviz.claims.pictures import pictures_of

    pictures_of(open_run("latest"))["effect-both"].figure.show()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harmviz.claims import claim_of
from harmviz.display.picture import Picture
from harmviz.display.style import Theme

if TYPE_CHECKING:
    from harmviz.runs import Run


def pictures_of(run: Run, theme: Theme | None = None) -> dict[str, Picture]:
    """Key → picture, in the order of the claim's pages; empty where the run is of no claim, or its claim draws none.

    Raises:
        HarmvizError: the run lacks what a picture is made of.
    """
    claim = claim_of(run)
    if claim is None or not claim.has_face("pictures"):
        return {}
    drawn = claim.face("pictures").pictures(run, Theme() if theme is None else theme)
    return {picture.key: picture for picture in drawn}


def picture_of(run: Run, key: str, theme: Theme) -> Picture | None:
    """The picture of this key alone, without drawing those after it; None where the claim draws none of this name.

    Raises:
        HarmvizError: as ``pictures_of``.
    """
    claim = claim_of(run)
    if claim is None or not claim.has_face("pictures"):
        return None
    return next((p for p in claim.face("pictures").pictures(run, theme) if p.key == key), None)


def limits_of(run: Run) -> list[str]:
    """What a reader must not take from this very run, a sentence each; empty where its claim says nothing of it."""
    claim = claim_of(run)
    if claim is None or not claim.has_face("pictures"):
        return []
    limits = getattr(claim.face("pictures"), "limits", None)
    return [] if limits is None else list(limits(run))
