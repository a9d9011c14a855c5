"""Waiting for what is read, never for a time."""

from __future__ import annotations

import time
from typing import Any

#: Milliseconds; only a failure takes so long.
WAIT = 120_000


def at_rest(page: Any, there: str = "h1") -> None:
    """Nothing; returns once ``there`` (a selector) is on the page, the script has ended and the fonts are there."""
    page.locator(there).first.wait_for(timeout=WAIT)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=WAIT)
    page.locator("[data-testid=stSkeleton]").first.wait_for(state="detached", timeout=WAIT)
    page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")


def unfold(page: Any, name: str = "Details") -> None:
    """Nothing; opens what is folded away under this name."""
    at_rest(page)
    page.locator("[data-testid=stExpander] summary").filter(has_text=name).click()
    at_rest(page)


def choose(page: Any, box: str, option: str | int) -> None:
    """Nothing; chooses in the select box ``box`` (a selector) the option of this name, or of this place.

    A list closes by itself where the page scrolls or is drawn anew under it; it is then opened again.
    """
    from playwright.sync_api import TimeoutError as NotThere

    options = page.get_by_role("option")
    wanted = options.nth(option) if isinstance(option, int) else page.get_by_role("option", name=option).first
    end = time.monotonic() + WAIT / 1000
    while True:
        at_rest(page)
        page.locator(box).scroll_into_view_if_needed()
        page.locator(box).click()
        try:
            wanted.click(timeout=3_000)
        except NotThere:
            if time.monotonic() > end:
                raise
            page.keyboard.press("Escape")
        else:
            return
