"""The mask controls that pages share: what they offer, what they hold back, and what a link brings back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from harmviz.display import text
from harmviz.errors import SelectionInexact
from harmviz.masks.candidates import Candidates
from harmviz.masks.lists import MEAN
from harmviz.masks.selection import Selection, largest_exact_q, select
from harmviz.ui import mask_settings
from tests.worlds.masks import CATEGORIES, World, table_of


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    rng = np.random.default_rng(0)
    table = table_of((30, 40), (40, 20))
    scores = {s: rng.normal(size=table.n_weights).astype(np.float32) for s in (*CATEGORIES, "benign", "safe")}
    return World(table, rng.random(table.n_weights).astype(np.float32), scores).build(q_max=0.05)


@pytest.fixture
def page(candidates: Candidates, tmp_path: Path) -> Callable[..., AppTest]:
    """A page with nothing but the controls; what they describe stands in session state as ``chosen``."""
    stored = tmp_path / "candidates.safetensors"
    stored.write_bytes(candidates.to_bytes())
    script = (
        "import streamlit as st\nfrom harmviz.masks.candidates import Candidates\nfrom harmviz.masks.selection import "
        "Selection\nfrom harmviz.ui import mask_settings\n"
        f"c = Candidates.load({str(stored)!r})\n"
        "st.session_state['chosen'] = mask_settings.controls(c, key='m', "
        "default=Selection(c.categories, q=0.01, p=0.1, contrast='both'))\n"
    )

    def opened(**query: str | list[str]) -> AppTest:
        app = AppTest.from_string(script, default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        return app

    return opened


@pytest.mark.parametrize("q_max", [1e-4, 0.05, 1.23e-4, 3e-6, 1.0, 9.99e-5])
def test_steps_ascend_to_q_max_and_no_two_read_alike(q_max: float) -> None:
    steps = mask_settings.q_steps(q_max)
    assert steps == sorted(steps)
    assert steps[-1] == q_max
    assert steps[0] >= q_max / 100 * 0.99
    assert len({text.percent(q) for q in steps}) == len(steps) > 15


def test_protection_offers_what_is_stored_and_steps_between_that_are_what_they_read(candidates: Candidates) -> None:
    levels = mask_settings.p_steps(candidates, "none", "global", [MEAN])
    assert levels == [0.0, 0.1, 0.17, 0.23, 0.3]
    assert [text.percent(p) for p in levels] == ["0 %", "10 %", "17 %", "23 %", "30 %"]
    assert mask_settings.p_steps(candidates, "none", "matrix", ["hate"]) == [0.1]


def test_the_controls_begin_at_the_default(page: Callable[..., AppTest]) -> None:
    assert page().session_state["chosen"] == Selection(CATEGORIES, q=0.01, p=0.1, contrast="both")


def test_every_control_changes_the_selection(page: Callable[..., AppTest]) -> None:
    app = page()
    app.select_slider(key="m_q").set_value(0.02).run()
    app.select_slider(key="m_p").set_value(0.3).run()
    app.segmented_control(key="m_contrast").set_value("none").run()
    app.selectbox(key="m_combine").set_value("union").run()
    app.pills(key="m_types").set_value(["hate", "privacy"]).run()
    assert app.session_state["chosen"] == Selection(("hate", "privacy"), combine="union", q=0.02, p=0.3)
    app.segmented_control(key="m_scope").set_value("matrix").run()
    assert not app.exception
    # One stored level: no slider, and that level is what holds.
    assert app.session_state["chosen"] == Selection(("hate", "privacy"), combine="union", q=0.02, p=0.1, scope="matrix")
    assert [t.value for t in app.text_input] == ["10 %"]


def test_a_link_brings_everything_back(page: Callable[..., AppTest]) -> None:
    app = page(m_q="2 %", m_p="30 %", m_types=["privacy", "hate"], m_combine="difference", m_contrast="as in the paper")
    assert app.session_state["chosen"] == Selection(("privacy", "hate"), combine="difference", q=0.02, p=0.3)


@pytest.mark.parametrize("bad", ["", "nonsense", "0.0000001 %", "<b>", "-1"])
def test_unknown_values_in_a_link_fall_back_to_the_default(page: Callable[..., AppTest], bad: str) -> None:
    app = page(m_q=bad, m_p=bad, m_types=bad, m_combine=bad, m_contrast=bad, m_scope=bad)
    assert app.session_state["chosen"] == Selection(CATEGORIES, q=0.01, p=0.1, contrast="both")


def test_no_type_chosen_means_all_and_one_needs_no_combining(page: Callable[..., AppTest]) -> None:
    app = page()
    app.pills(key="m_types").set_value([]).run()
    assert app.session_state["chosen"].categories == CATEGORIES
    app.pills(key="m_types").set_value(["hate"]).run()
    assert app.session_state["chosen"].categories == ("hate",)
    assert app.session_state["chosen"].combine == "mean"
    assert app.selectbox(key="m_combine").disabled


def test_what_is_not_exact_is_held_at_the_largest_q_that_is(candidates: Candidates) -> None:
    asked = Selection(("hate", "privacy"), q=0.05, p=0.1)
    limit, _ = largest_exact_q(candidates, asked)
    assert limit < 0.05
    held, why = mask_settings.settled(candidates, asked)
    assert held == Selection(("hate", "privacy"), q=limit, p=0.1)
    assert why is not None
    assert why.startswith(f"q is held at {text.percent(limit)}: the stored lists")
    assert select(candidates, held).n_weights > 0


def test_what_is_exact_is_left_alone(candidates: Candidates) -> None:
    asked = Selection(CATEGORIES, q=0.05, p=0.1)
    assert mask_settings.settled(candidates, asked) == (asked, None)


def test_what_is_not_stored_at_any_q_is_an_error(candidates: Candidates) -> None:
    with pytest.raises(SelectionInexact, match=r"p=0\.0 is not stored for scope 'matrix'"):
        mask_settings.settled(candidates, Selection(("hate",), p=0.0, scope="matrix"))


def test_scopes_without_lists_are_not_offered(candidates: Candidates) -> None:
    assert mask_settings.scopes(candidates) == ["global", "matrix"]
