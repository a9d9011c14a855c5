"""Stored runs as rows of a table: when, of which model, which claim, what was found, and where it is shown.

Cells are plain text: the table draws no markup, wherever a run comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from harmviz.claims import claim_of
from harmviz.runs import Run
from harmviz.ui import picker
from harmviz.ui.run_card import sentence

_LADDER = "Aligned checkpoints"


def rows(runs: Sequence[Run]) -> pd.DataFrame:
    """A row a run, in their order: ``made``, ``model``, ``result``, ``open``, ``found``, ``data``, ``run``."""
    return pd.DataFrame(
        [
            {
                "made": datetime.fromisoformat(run.created).date(),
                "model": run.model_name,
                "result": title(run),
                "open": address(run),
                "found": found(run),
                "data": str(run.manifest["data"]["id"]),
                "run": run.id,
            }
            for run in runs
        ]
    )


def title(run: Run) -> str:
    """What kind of result it is: a claim's title, or a ladder; marks such as *quick* or *imported* behind it."""
    claim = claim_of(run)
    return " · ".join((_LADDER if claim is None else claim.title, *run.tags))


def found(run: Run) -> str:
    """The finding's sentence; of a ladder its arms and its seed."""
    if (claim := claim_of(run)) is None:
        arms, seed = run.manifest["method"].get("arms", []), run.manifest.get("seeds", {}).get("run")
        return "; ".join((", ".join(map(str, arms)), f"seed {seed}")) if arms else ""
    return sentence(run, claim)


def address(run: Run) -> str | None:
    """The page that shows it, from the root of the dashboard; None where no page does.

    An experiment that other pages show is reached by the map run that it was made from.
    """
    claim = claim_of(run)
    if claim is None:
        return None
    base = f"/{str(st.get_option('server.baseUrlPath')).strip('/')}".rstrip("/")
    if run.kind == "map" or not claim.pages:
        maps = [run.id] if run.kind == "map" else [str(p) for p in run.manifest["parents"]]
        return f"{base}/?{urlencode({picker.PARAMETER: maps[0]})}" if maps else None
    return f"{base}/{claim.pages[0].file}?{urlencode({f'{claim.name}_result': run.id})}"
