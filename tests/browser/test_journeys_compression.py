"""A visitor reads the compression result in real Chromium: switches the selection, hovers a seed, hands on the link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.plots import read
from tests.browser.waiting import WAIT, unfold
from tests.worlds.compression import aligned_effects, ladder, results, store

CHART = ".st-key-compression-fixed-chart .js-plotly-plot"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def drawn(page: Any, *, unlike: list[float] | None = None) -> list[float]:
    """Heights of the safety arm's marks."""
    return list(
        read(page, CHART, "g => Array.from(g._fullData.find(t => t.name === 'safety tuning').y)", unlike=unlike)
    )


def test_read_the_ladder_switch_the_selection_and_hand_on_the_link(
    browser: Any, serve: Callable[..., Any], tmp_path: Path
) -> None:
    checkpoints = ladder(stages=(("sft", 60), ("dpo", 40)))
    store(tmp_path / "cache" / "runs", results(aligned_effects(checkpoints), checkpoints))
    with serve(tmp_path / "cache") as url:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.goto(f"{url}/compression")
        contrastive = drawn(page)
        assert len(contrastive) == 4  # two fixed fractions, harm-specific and benign
        page.locator(".st-key-compression_contrast").get_by_text("as in the paper").click()
        plain = drawn(page, unlike=contrastive)
        assert len(plain) == 2
        unfold(page)
        page.get_by_text("safety-dpo-40 − start").first.wait_for(timeout=WAIT)
        page.wait_for_function("document.querySelectorAll('.hv-scroll').length === 4", timeout=WAIT)
        widths = page.evaluate(
            "[...document.querySelectorAll('.hv-scroll')].map(e => [e.firstElementChild.offsetWidth, e.clientWidth])"
        )
        assert all(table <= room for table, room in widths), widths
        page.get_by_role("button", name="Link").click()
        link = page.locator("[data-testid=stPopoverBody] code").inner_text()
        assert "compression_contrast=as" in link
        other = context.new_page()
        other.goto(link)
        assert drawn(other) == plain
        context.close()
