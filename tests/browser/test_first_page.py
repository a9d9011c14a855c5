"""The first page in real Chromium: it shows the stored run, in both themes, and asks nobody else for anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from tests.worlds.fabricated import make_run

BACKGROUND = {"light": "rgb(251, 250, 246)", "dark": "rgb(17, 19, 23)"}

pytestmark = pytest.mark.browser


def test_the_first_page_shows_the_run_in_both_themes(browser: Any, serve: Callable[..., Any], tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    with serve(tmp_path) as url:
        for theme, background in BACKGROUND.items():
            context = browser.new_context(color_scheme=theme, viewport={"width": 1280, "height": 800})
            page = context.new_page()
            problems: list[str] = []
            hosts: set[str | None] = set()
            page.on("console", lambda m, problems=problems: problems.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e, problems=problems: problems.append(str(e)))
            page.on("request", lambda r, hosts=hosts: hosts.add(urlparse(r.url).hostname))
            page.goto(url)
            page.get_by_role("heading", name="What do a few weights do for harmful text?").wait_for(timeout=60_000)
            page.locator(".js-plotly-plot .main-svg").first.wait_for()
            assert page.get_by_text("1,061", exact=True).first.is_visible()
            assert page.get_by_text("No live model").is_visible()

            def style(selector: str, name: str, page: Any = page) -> str:
                return page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)

            assert style(".stApp", "backgroundColor") == background
            assert style(".js-plotly-plot .main-svg", "backgroundColor") == background, (
                "figures lie on the page's paper"
            )
            assert problems == []
            assert hosts <= {"127.0.0.1", None, ""}, "the page asked another machine for something"
            context.close()


def test_a_term_explains_itself_on_hover(browser: Any, serve: Callable[..., Any], tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    with serve(tmp_path) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        term = page.locator(".hv-term", has_text="harm-generation weights").first
        term.wait_for(timeout=60_000)
        shown = "e => getComputedStyle(e, '::after').visibility"
        assert term.evaluate(shown) == "hidden"
        term.hover()
        assert term.evaluate(shown) == "visible"
        page.close()


def test_an_empty_disk_shows_the_command(browser: Any, serve: Callable[..., Any], tmp_path: Path) -> None:
    with serve(tmp_path) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.get_by_text("No runs here yet").wait_for(timeout=60_000)
        page.get_by_test_id("stCode").get_by_text("python -m harmviz run").wait_for(timeout=60_000)
        page.close()
