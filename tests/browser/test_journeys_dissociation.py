"""The dissociation in real Chromium: read the picture, match the strengths, look into refusal, hand on the link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.plots import read, title_of
from tests.browser.waiting import WAIT, unfold
from tests.worlds.dissociation import make_dissociation
from tests.worlds.fabricated import make_run

PICTURE = ".st-key-dissociation-picture-chart .js-plotly-plot"
FIRST = "g => Array.from(g._fullData.find(t => t.name === 'harm mask').x)[0]"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_match_the_strengths_and_hand_on_the_link(browser: Any, serve: Callable[..., Any], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make_dissociation(cache / "runs", make_run(cache / "runs").id)
    with serve(cache) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        try:
            page = context.new_page()
            page.goto(f"{url}/dissociation")
            raw = read(page, PICTURE, FIRST)
            assert raw == pytest.approx(1.6 * -0.72)
            page.get_by_role("radio", name="at matched strength").click()
            assert read(page, PICTURE, FIRST, unlike=raw) > -0.5
            title = title_of(page, PICTURE)
            assert title.startswith("A double dissociation")
            unfold(page)
            page.get_by_role("tab", name="Refusal").click()
            page.locator(".st-key-dissociation-rate-chart .main-svg").first.wait_for(timeout=WAIT)
            page.wait_for_function(
                "location.search.includes('dissociation_strength') && location.search.includes('dissociation_view')",
                timeout=WAIT,
            )
            page.get_by_role("button", name="Link").click()
            link = page.locator("[data-testid=stPopoverBody] code").inner_text()
            other = context.new_page()
            other.goto(link)
            assert title_of(other, PICTURE) == title
            other.locator(".st-key-dissociation-rate-chart .main-svg").first.wait_for(timeout=WAIT)
            assert other.get_by_test_id("stException").count() == 0
            assert other.evaluate("document.documentElement.scrollWidth <= innerWidth")
        finally:
            context.close()
