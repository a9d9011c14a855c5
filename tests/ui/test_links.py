"""Links that no control wrote: impossible values are dropped, controls show their defaults, no page fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from harmviz.ui import menu
from harmviz.ui.links import MAX_LENGTH, possible

ROOT = Path(__file__).resolve().parents[2]
#: Every name that stands for a control anywhere, those of the masks' controls, and names that nobody reads.
_SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "harmviz").rglob("*.py"))
NAMES = sorted(
    {
        *re.findall(r'\bkey="([a-z]+_[a-z_]+)"', _SOURCES),
        *re.findall(r'^_?[A-Z_]+ = "([a-z]+_[a-z_]+)"', _SOURCES, re.MULTILINE),
        *(f"{page}_{name}" for page in ("map", "play") for name in ("types", "combine", "contrast", "scope", "q", "p")),
        *(f"{claim}_result" for claim in ("compression", "dissociation", "jailbreak", "emergent", "scene")),
        "run",
        "unknown",
    }
)
ODD: tuple[str | list[str], ...] = ("nan", "1e999", "9" * 30, "x" * 900, "<b>*[x](y)", ["a", "inf", "a"], "-1", "none")
HOSTILE: dict[str, list[str | list[str]]] = {
    "infinite": ["inf"] * len(NAMES),
    "empty": [""] * len(NAMES),
    "all kinds": [ODD[i % len(ODD)] for i in range(len(NAMES))],
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("page", [page.file for page in menu.entries()])
def test_no_link_makes_a_page_fail(page: str, kind: str) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for name, value in zip(NAMES, HOSTILE[kind], strict=True):
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    app.switch_page(f"pages/{page}.py").run()
    assert not app.exception, app.exception


@pytest.mark.parametrize("value", ["inf", "-Infinity", "nan", "1e999", "x" * (MAX_LENGTH + 1), "a\x00b", "a\nb"])
def test_what_no_control_writes_is_impossible(value: str) -> None:
    assert not possible(value)


@pytest.mark.parametrize("value", ["", "0.01", "1e-05", "both", "org/name@main", "-1", "true", "käse", "0x10"])
def test_what_a_control_may_write_is_possible(value: str) -> None:
    assert possible(value)


def _controls() -> None:
    from harmviz.playground.settings import sampling_controls
    from harmviz.ui import links

    links.clean()
    sampling_controls()


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["inf", "nan", "1e999", "-1e999", "", "true", "[", "9" * 400, "0.5", "1e-320"]),
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.dictionaries(
        st.sampled_from(["play_tokens", "play_temperature", "play_top_p", "play_seed", "x"]),
        st.lists(_TEXTS, min_size=1, max_size=3),
        max_size=4,
    )
)
def test_any_values_leave_controls_inside_their_range(values: dict[str, list[str]]) -> None:
    app = AppTest.from_function(_controls, default_timeout=60)
    for name, texts in values.items():
        app.query_params[name] = [t.encode(errors="ignore").decode() for t in texts]
    app.run()
    assert not app.exception, app.exception
    assert 16 <= app.slider(key="play_tokens").value <= 256
    assert 0 <= app.slider(key="play_temperature").value <= 1.5
    assert 0 <= app.number_input(key="play_seed").value < 2**31
