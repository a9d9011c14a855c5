"""How page tests open a page, and what they read of it: its figures' data and its markup."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]


def open_page(name: str, **query: str | list[str]) -> AppTest:
    """``pages/<name>.py`` as a link with this query opens it, its details unfolded."""
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    unfolded = {f"{name}_{part}": "true" for part in ("details", "limits")}
    for key, value in unfolded.items():
        app.query_params[key] = value
    app.run()
    for key, value in (unfolded | query).items():
        app.query_params[key] = value
    app.switch_page(f"pages/{name}.py").run()
    assert not app.exception, app.exception
    return app


def figures(app: AppTest) -> list[dict[str, Any]]:
    """Data and layout of every chart of the page, in order."""
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def numbers(values: Any) -> np.ndarray:
    """An array of a figure, also where plotly packed it as base64."""
    if isinstance(values, dict):
        flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=np.dtype(values["dtype"]))
        return flat.reshape([int(n) for n in values["shape"].split(",")]) if "shape" in values else flat
    return np.array(values, dtype=float)


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    """The one trace of this name."""
    (found,) = [t for t in figure["data"] if t.get("name") == name]
    return found


def markup(app: AppTest) -> str:
    """All HTML of the page."""
    return "\n".join(element.proto.body for element in app.get("html"))


def is_sent(app: AppTest, words: str) -> bool:
    """Whether any of the page's elements, of whatever kind, or the address carries these words to the browser.

    A bool, not the text: where a test fails, pytest would compare megabytes.
    """
    address = [f"{name}={value}" for name, value in app.query_params.items()]
    return any(words in str(getattr(element, "proto", "")) for element in app._tree) or words in " ".join(address)
