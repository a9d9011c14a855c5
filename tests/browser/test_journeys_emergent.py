"""What a visitor does on the page Emergent misalignment, in real Chromium: reads the arms, switches, compares answers,
hands on the link, watches a computation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims.emergent.curve import LIVE, LiveCurve
from tests.browser.plots import read, title_of
from tests.browser.waiting import WAIT, choose, unfold
from tests.worlds.emergent import begin_experiment, make_experiment
from tests.worlds.fabricated import make_run

ARMS = ".st-key-emergent-arms-chart .js-plotly-plot"
CURVE = ".st-key-emergent-live-curve-chart .js-plotly-plot"
HOSTILE = '<img src=x onerror="window.hacked=1"> **bold** {arm} {seed} answers {question}'

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_arms_switch_answers_and_link(serve: Callable[..., Any], page: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make_run(cache / "runs")
    make_experiment(cache / "runs", answer=HOSTILE)
    with serve(cache) as url:
        page.goto(url)
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Emergent misalignment", exact=True).click()
        broad = title_of(page, ARMS)
        assert "misaligns broadly" in broad.replace("<br>", " ")
        assert read(page, ARMS, "g => g.querySelectorAll('.ytick').length || null") == 6

        page.locator(".st-key-emergent_view").get_by_text("in the domain").click()
        assert "own domain" in title_of(page, ARMS, unlike=broad).replace("<br>", " ")

        panes, veiled = page.locator(".hv-pane .answer"), page.get_by_role("button", name="Click to reveal")
        unfold(page)
        veiled.wait_for(timeout=WAIT)  # a domain of a user's own: what is asked may be anything
        assert panes.count() == 0
        assert "narrow-bad 0 answers" not in page.content()
        veiled.click()
        panes.first.wait_for(timeout=WAIT)
        assert panes.count() == 4
        choose(page, ".st-key-emergent_question input", 1)
        page.get_by_text("narrow-bad 0 answers 1").wait_for(timeout=WAIT)
        page.locator(".st-key-emergent_seed").get_by_text("2", exact=True).click()
        page.get_by_text("narrow-bad 2 answers 1").wait_for(timeout=WAIT)
        assert "<img src=x" in panes.first.inner_text(), "what a model wrote is shown letter by letter"
        assert panes.locator("img, strong").count() == 0
        assert page.evaluate("window.hacked") is None

        page.wait_for_function(
            "location.search.includes('emergent_view') && location.search.includes('emergent_seed')", timeout=WAIT
        )
        page.goto(page.url)
        veiled.click()  # another visit: what was revealed is veiled again
        page.get_by_text("narrow-bad 2 answers 1").wait_for(timeout=WAIT)
        assert "own domain" in title_of(page, ARMS).replace("<br>", " ")


def test_a_computation_is_watched_until_it_ends(serve: Callable[..., Any], page: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make_run(cache / "runs")
    partial = begin_experiment(cache / "runs", steps=2)
    with serve(cache) as url:
        with partial:
            page.goto(f"{url}/emergent")
            page.get_by_text("Being computed now").wait_for(timeout=WAIT)
            LiveCurve(partial.folder / LIVE).add(arm="narrow-bad", seed=0, step=9, loss=1.0, rate=1e-3)
            read(page, CURVE, "g => Math.max(...g._fullData.flatMap(t => Array.from(t.x || []))) === 9 || null")
            assert json.loads((partial.folder / "progress.json").read_text())["stage"] == "train.narrow-bad-0.4"
        page.get_by_text("was interrupted").wait_for(timeout=WAIT)
