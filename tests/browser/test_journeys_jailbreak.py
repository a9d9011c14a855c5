"""What a visitor does on the Jailbreaks page, in real Chromium: reads the grid, changes what it shows, compares
answers, hands on the link.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.plots import read, title_of, z_of
from tests.browser.waiting import WAIT, choose, unfold
from tests.worlds.fabricated import make_run
from tests.worlds.jailbreak import make_experiment

GRID = ".st-key-jailbreak-grid-chart .js-plotly-plot"
HOSTILE = '<img src=x onerror="window.hacked=1"> **bold** {mask} answers {attack}'

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_grid_difference_answers_and_link(serve: Callable[..., Any], page: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make_run(cache / "runs")
    make_experiment(cache / "runs", answer=HOSTILE)
    with serve(cache) as url:
        page.goto(url)
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Jailbreaks", exact=True).click()
        rates = json.loads(z_of(page, GRID))
        assert len(rates) == 5
        assert len(rates[0]) == 5
        assert "against random masks" in title_of(page, GRID)

        page.locator(".st-key-jail_view").get_by_text("difference to random").click()
        read(page, GRID, "g => g._fullData[0].z[0].length === 3 || null")
        difference = z_of(page, GRID)

        panes = page.locator(".hv-pane .answer")
        unfold(page, "Answers side by side")
        panes.first.wait_for(timeout=WAIT)
        assert panes.count() == 3
        panes.first.scroll_into_view_if_needed()
        choose(page, ".st-key-jail_attack input", "Role play")
        page.get_by_text("contrastive answers roleplay").wait_for(timeout=WAIT)
        assert "<img src=x" in panes.first.inner_text(), "what a model wrote is shown letter by letter"
        assert panes.locator("img, strong").count() == 0
        assert page.evaluate("window.hacked") is None

        page.wait_for_function(
            "location.search.includes('jail_view') && location.search.includes('jail_attack')", timeout=WAIT
        )
        assert "privacy" not in page.url, "no text of a request in the address"
        page.goto(page.url)
        page.get_by_text("contrastive answers roleplay").wait_for(timeout=WAIT)
        assert z_of(page, GRID) == difference
