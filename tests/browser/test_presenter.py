"""A lecture in real Chromium, by keys alone: every scene and view fits its window, and nothing is left to set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.presenter.script import SCENES
from tests.browser.overflow import overflow
from tests.browser.waiting import WAIT, at_rest

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def come_to(page: Any, number: int) -> None:
    """Nothing; returns once scene ``number`` (from 1) stands on the screen with its picture."""
    page.get_by_text(f"{number} of {len(SCENES)} ·").wait_for(timeout=WAIT)
    scene = SCENES[number - 1]
    page.get_by_role("heading", level=1, name=scene.question).wait_for(timeout=WAIT)
    at_rest(
        page,
        {"picture": ".js-plotly-plot .main-svg text", "stage": ".hv-pane", "limits": ".hv-stage-limits li"}[scene.kind],
    )


def shown(page: Any, name: str) -> None:
    """Nothing; returns once the view of this name is shown: the key offers the other one."""
    page.locator(".st-key-presenter-T").get_by_text(f"Show: {name}").wait_for(timeout=WAIT)
    at_rest(page)


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 800, "light"), (1280, 800, "dark"), (1920, 1080, "light")]
)
def test_a_lecture_by_keys_fits_the_window(
    browser: Any, serve: Callable[..., Any], reference: Path, width: int, height: int, scheme: str
) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    with serve(reference) as url:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
        page = context.new_page()
        page.goto(f"{url}/?presenter=true&scene=1")
        wrong: dict[str, list[str]] = {}
        for number, scene in enumerate(SCENES, 1):
            come_to(page, number)
            for view in range(max(1, len(scene.views))):
                if view:
                    page.keyboard.press("t")
                    shown(page, scene.views[0])
                page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length < 2", timeout=WAIT)
                page.screenshot(path=ARTIFACTS / f"scene-{number}-{view + 1}-{width}-{scheme}.png")
                if problems := overflow(page):
                    wrong[f"{number}.{view + 1} {scene.question}"] = problems
            if number < len(SCENES):
                page.keyboard.press("ArrowRight")
        assert wrong == {}
        assert page.get_by_test_id("stSidebar").is_hidden()
        assert page.locator("[data-testid=stMain] :is(input, textarea, [role=combobox], [role=slider])").count() == 0
        context.close()
