"""Every page over the committed reference run, in both themes: nothing fails, few words stand before its details, axe
finds nothing that bars a reader, and a picture of it is kept in artifacts/.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.reading import MOST_WORDS, barriers, words
from tests.browser.waiting import WAIT, at_rest

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
#: A chart that is drawn.
CHART = ".js-plotly-plot .main-svg"
#: Page → what must be there before the picture is taken.
PAGES = {
    "": ".st-key-scene-card h2",
    "harm_map": CHART,
    "overlap": CHART,
    "compression": CHART,
    "dissociation": CHART,
    "jailbreaks": CHART,
    "emergent": CHART,
    "compare": "h1",
    "playground": "h1",
    "runs": "h1",
    "learn": CHART,
}

#: The first channel of the paper's colour tells the themes apart.
_RED = "parseInt(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor.match(/\\d+/)[0])"
PAPER_IS = {"light": f"{_RED} > 200", "dark": f"{_RED} < 60"}

#: The ink of a chart's title, where one is drawn: charts are drawn anew for a theme.
_INK = "parseInt(getComputedStyle(document.querySelector('.js-plotly-plot text')).fill.match(/\\d+/)[0])"
INK_IS = {"light": f"{_INK} < 120", "dark": f"{_INK} > 135"}

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_every_page_in_both_themes(browser: Any, serve: Callable[..., Any], reference: Path) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    with serve(reference) as url:
        context = browser.new_context(color_scheme="light", viewport={"width": 1280, "height": 800})
        for path, there in PAGES.items():
            page, name = context.new_page(), path or "overview"
            problems: list[str] = []
            page.on("pageerror", lambda e, problems=problems: problems.append(str(e)))
            papers = set()
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                page.goto(f"{url}/{path}")  # charts are drawn for the theme that a page is opened in
                at_rest(page, there)
                page.wait_for_function(PAPER_IS[theme], timeout=WAIT)
                if there == CHART:
                    page.wait_for_function(INK_IS[theme], timeout=WAIT)
                papers.add(page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).background"))
                page.screenshot(path=ARTIFACTS / f"{name}-{theme}.png")
                assert page.get_by_test_id("stException").count() == 0, name
                assert barriers(page) == [], f"{name}, {theme}"
                assert words(page) <= MOST_WORDS, name
                assert page.get_by_role("heading", level=1).count() == 1, name
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                    f"{name} is wider than the window"
                )
            assert len(papers) == 2, f"{name} looks alike in both themes"
            assert problems == [], name
            page.close()
        context.close()


def test_presenter_size_fits_a_projector(browser: Any, serve: Callable[..., Any], reference: Path) -> None:
    with serve(reference) as url:
        context = browser.new_context(color_scheme="light", viewport={"width": 1920, "height": 1080})
        for path, there in PAGES.items():
            page = context.new_page()
            page.goto(f"{url}/{path}?presenter=true")
            at_rest(page, there if path else CHART)  # the lecture's first picture of the Overview is a chart
            page.wait_for_function("getComputedStyle(document.documentElement).fontSize === '20.8px'", timeout=WAIT)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            page.screenshot(path=ARTIFACTS / f"{path or 'overview'}-presenter.png")
            page.close()
        context.close()
