"""The course from its first step to its last in real Chromium: every question answered, with a model and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.learn.course import STEPS
from tests.browser.waiting import WAIT, at_rest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def come_to(page: Any, number: int) -> None:
    """Nothing; returns once this step and its picture are on the page."""
    page.locator(".hv-step h2").get_by_text(f"{number} ·").wait_for(timeout=WAIT)
    at_rest(page, ".js-plotly-plot .main-svg text")


def answer(page: Any, number: int) -> int:
    """Chooses one option after the other until one is right; returns how many were wrong."""
    options = page.locator(".st-key-learn-question [role=radiogroup] label")
    for wrong in range(options.count()):
        option = options.nth(wrong).inner_text().strip()
        options.nth(wrong).click()
        said = page.locator(".st-key-learn-question [role=status]")
        said.get_by_text("Yes.").or_(said.get_by_text(f"Not “{option}”.")).first.wait_for(timeout=WAIT)
        at_rest(page)
        if said.get_by_text("Yes.").count():
            return wrong
    raise AssertionError(f"no option of step {number} is right")


def walk(page: Any, url: str, live: Callable[[int], None]) -> dict[int, int]:
    """Takes the course, ``live(step)`` at each step; step → wrong answers before the right one."""
    page.goto(f"{url}/learn")
    wrong = {}
    for number in range(1, len(STEPS) + 1):
        come_to(page, number)
        wrong[number] = answer(page, number)
        live(number)
        if number < len(STEPS):
            page.locator(".st-key-learn_next button:not([disabled])").click()
    page.get_by_text("That was the course.").wait_for(timeout=WAIT)
    return wrong


def test_the_course_needs_no_model(serve: Callable[..., Any], page: Any, reference: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "runs").symlink_to(reference / "runs")
    with serve(cache) as url:
        wrong = walk(page, url, lambda _: None)
        assert all(n < 4 for n in wrong.values())
        assert f"learn_open={len(STEPS) + 1}" in page.url
        page.reload()  # the address keeps how far the reader is
        come_to(page, len(STEPS))
        assert page.locator(".st-key-learn-contents button:disabled").count() == 0
        page.locator(".st-key-learn_next, .st-key-learn_again").first.wait_for(timeout=WAIT)


def test_every_step_that_has_a_live_part_is_played_live(serve: Callable[..., Any], page: Any, reference: Path) -> None:
    with_live = {number for number, step in enumerate(STEPS, 1) if step.live is not None}
    played = set[int]()

    def live(number: int) -> None:
        if number not in with_live:
            return
        part = page.locator(f".st-key-learn_live_{number}")
        part.locator("summary").click()
        load = part.locator(".st-key-learn_load button")
        result = part.locator(".js-plotly-plot .main-svg text, table.hv-rows td").first
        load.or_(result).first.wait_for(timeout=WAIT)
        if load.count():
            at_rest(page)
            load.click()
        result.wait_for(timeout=WAIT)
        assert part.get_by_role("alert").count() == 0
        played.add(number)

    with serve(reference) as url:
        walk(page, url, live)
    assert played == with_live
    assert len(played) >= 3
