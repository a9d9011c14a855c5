"""The first page in real Chromium: it shows the stored run, in both themes, and asks nobody else for anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from fabricated import make_run

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
BACKGROUND = {"light": "rgb(251, 250, 246)", "dark": "rgb(17, 19, 23)"}

pytestmark = pytest.mark.browser


def test_the_first_page_shows_the_run_in_both_themes(browser: Any, serve: Callable[[Path], Any], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
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
            page.get_by_text(run.id, exact=True).wait_for(timeout=60_000)
            assert page.get_by_role("heading", name="Runs on disk").is_visible()
            assert page.get_by_text("+0.52", exact=True).is_visible()
            assert page.get_by_text("+0.47 … +0.58", exact=True).is_visible()

            def style(selector: str, name: str, page: Any = page) -> str:
                return page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)

            assert style(".stApp", "backgroundColor") == background
            assert style(".dot.hv-harm", "backgroundColor") == "rgb(213, 94, 0)"
            assert style(".dot.hv-benign", "backgroundColor") == "rgb(0, 114, 178)"
            page.evaluate("document.fonts.ready")
            ARTIFACTS.mkdir(exist_ok=True)
            page.screenshot(path=ARTIFACTS / f"first-page-{theme}.png")
            assert problems == []
            assert hosts <= {"127.0.0.1", None, ""}, "the page asked another machine for something"
            context.close()


def test_an_empty_disk_shows_the_command(browser: Any, serve: Callable[[Path], Any], tmp_path: Path) -> None:
    with serve(tmp_path) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.get_by_text("No runs here yet").wait_for(timeout=60_000)
        assert page.get_by_text("python -m harmviz run").is_visible()
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / "first-page-empty.png")
        page.close()
