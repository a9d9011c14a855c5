"""Waiting for what is read, never for a time."""

from __future__ import annotations

from typing import Any

#: Milliseconds; only a failure takes so long.
WAIT = 60_000


def at_rest(page: Any, there: str = "h1") -> None:
    """Nothing; returns once ``there`` (a selector) is on the page, the script has ended and the fonts are there."""
    page.locator(there).first.wait_for(timeout=WAIT)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=WAIT)
    page.locator("[data-testid=stSkeleton]").first.wait_for(state="detached", timeout=WAIT)
    page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
