"""harmviz: find, show and prune the weights of a language model that harmful generation hangs on.

The names below are the public API. They are looked up on first use (PEP 562), so that ``import harmviz`` costs nothing
and loads neither torch nor streamlit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "load_model": "harmviz.models.load",
    "LoadedModel": "harmviz.models.load",
    "load_prompts": "harmviz.data.prompts",
    "score_signed": "harmviz.scoring.signed",
    "score_absolute": "harmviz.scoring.absolute",
    "select": "harmviz.masks.selection",
    "PruneMask": "harmviz.masks.mask",
    "pruned": "harmviz.masks.apply",
    "open_run": "harmviz.runs",
    "list_runs": "harmviz.runs",
}

__all__ = [  # noqa: RUF022 - in the order of use: model, data, scores, masks, runs
    "load_model",
    "LoadedModel",
    "load_prompts",
    "score_signed",
    "score_absolute",
    "select",
    "PruneMask",
    "pruned",
    "open_run",
    "list_runs",
]

if TYPE_CHECKING:
    from harmviz.data.prompts import load_prompts
    from harmviz.masks.apply import pruned
    from harmviz.masks.mask import PruneMask
    from harmviz.masks.selection import select
    from harmviz.models.load import LoadedModel, load_model
    from harmviz.runs import list_runs, open_run
    from harmviz.scoring.absolute import score_absolute
    from harmviz.scoring.signed import score_signed


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'harmviz' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
