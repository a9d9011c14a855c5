"""A lecture of ten minutes in real Chromium without a mouse: every scene again and again, the stage played live.

Too long for every change (marked ``soak``). What is measured is printed: seconds from a key to its picture, from the
live key to the first live word and to the whole answer, and what the server's memory grew by.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.presenter.script import SCENES
from tests.browser.overflow import overflow
from tests.browser.test_presenter import come_to, shown
from tests.browser.waiting import WAIT, at_rest

pytestmark = [pytest.mark.browser, pytest.mark.soak]

SECONDS = 600.0
#: A key's answer that a room would take for a fault.
LONGEST_WAIT = 5.0


def play_live(page: Any) -> tuple[float, float]:
    """Seconds from the live key until the first live word and until the whole answer stand there."""
    start = time.perf_counter()
    page.keyboard.press("l")
    page.locator(".hv-status .lamp.busy").first.wait_for(timeout=WAIT)
    page.locator(".hv-status .hv-tag", has_text="recorded").first.wait_for(state="detached", timeout=WAIT)
    first = time.perf_counter() - start
    page.get_by_text("done ·").first.wait_for(timeout=WAIT)
    whole = time.perf_counter() - start
    at_rest(page)
    return first, whole


def test_ten_minutes_by_keys(browser: Any, serve: Callable[..., Any], reference: Path) -> None:
    waits, lives = [], []
    wrong: dict[str, list[str]] = {}
    with serve(reference) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        opened = time.perf_counter()
        page.goto(f"{url}/?presenter=true&scene=1")
        come_to(page, 1)
        begun = time.perf_counter()
        rounds = 0
        while time.perf_counter() - begun < SECONDS:
            for number, scene in enumerate(SCENES, 1):
                for view in range(1, max(1, len(scene.views))):
                    page.keyboard.press("t")
                    start = time.perf_counter()
                    shown(page, scene.views[view - 1])
                    waits.append(time.perf_counter() - start)
                if scene.kind == "stage":
                    lives.append(play_live(page))
                    page.keyboard.press("Home")
                    shown(page, scene.views[1])
                if problems := overflow(page):
                    wrong[f"{number} {scene.question}"] = problems
                start = time.perf_counter()
                if number < len(SCENES):
                    page.keyboard.press("PageDown")
                    come_to(page, number + 1)
                    waits.append(time.perf_counter() - start)
            for number in range(len(SCENES) - 1, 0, -1):
                start = time.perf_counter()
                page.keyboard.press("PageUp")
                come_to(page, number)
                waits.append(time.perf_counter() - start)
            rounds += 1
        context.close()
    print(
        f"\n{rounds} rounds of {len(SCENES)} scenes; first picture {begun - opened:.1f} s; key to picture median "
        f"{statistics.median(waits):.2f} s, longest {max(waits):.2f} s of {len(waits)}; live: first "
        f"{[round(first, 1) for first, _ in lives]} s, whole {[round(whole, 1) for _, whole in lives]} s"
    )
    assert wrong == {}
    assert max(waits) < LONGEST_WAIT
