"""Every page over the committed reference run, in both themes: nothing fails, and a picture of it is kept in
artifacts/.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
#: Page → what must be there before the picture is taken.
PAGES = {
    "": ".js-plotly-plot .main-svg",
    "harm_map": ".js-plotly-plot .main-svg",
    "overlap": ".js-plotly-plot .main-svg",
    "compression": "h1",
    "dissociation": "h1",
    "jailbreaks": "h1",
    "emergent": ".js-plotly-plot .main-svg",
    "compare": "h1",
    "playground": "h1",
    "runs": "h1",
    "learn": ".js-plotly-plot .main-svg",
}

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_every_page_in_both_themes(browser: Any, serve: Callable[..., Any], reference: Path) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    with serve(reference) as url:
        for theme in ("light", "dark"):
            context = browser.new_context(color_scheme=theme, viewport={"width": 1280, "height": 800})
            for path, there in PAGES.items():
                page = context.new_page()
                problems: list[str] = []
                page.on("pageerror", lambda e, problems=problems: problems.append(str(e)))
                page.goto(f"{url}/{path}")
                page.locator(there).first.wait_for(timeout=60_000)
                page.locator("[data-testid=stSkeleton]").first.wait_for(state="detached", timeout=30_000)
                page.evaluate("document.fonts.ready")
                page.wait_for_timeout(1000)
                name = path or "overview"
                page.screenshot(path=ARTIFACTS / f"{name}-{theme}.png")
                assert page.get_by_test_id("stException").count() == 0, name
                assert page.get_by_role("heading", level=1).count() == 1, name
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                    f"{name} is wider than the window"
                )
                assert problems == [], name
                page.close()
            context.close()


def test_presenter_size_fits_a_projector(browser: Any, serve: Callable[..., Any], reference: Path) -> None:
    with serve(reference) as url:
        context = browser.new_context(color_scheme="light", viewport={"width": 1920, "height": 1080})
        for path, there in PAGES.items():
            page = context.new_page()
            page.goto(f"{url}/{path}?presenter=true")
            page.locator(there).first.wait_for(timeout=60_000)
            page.wait_for_function("getComputedStyle(document.documentElement).fontSize === '20.8px'", timeout=30_000)
            page.wait_for_timeout(1000)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            page.screenshot(path=ARTIFACTS / f"{path or 'overview'}-presenter.png")
            page.close()
        context.close()
