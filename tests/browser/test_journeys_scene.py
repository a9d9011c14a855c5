"""The first thing a lecturer shows, in real Chromium: one click on the Overview, and the answers part ways."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmviz.claims.scene.record import read_records
from harmviz.runs import open_run
from tests.browser.waiting import WAIT, at_rest
from tests.worlds.scene import make_scene

TEXTS = """() => [...document.querySelectorAll('.hv-pane .answer')].map(a => { const c = a.cloneNode(true);
    c.querySelectorAll('.mark, .caret, .opening').forEach(m => m.remove()); return c.textContent; })"""

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def theatre(tiny_dir: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with a tiny model, its run, and a scene on it."""
    from harmviz.cli import main

    cache = tmp_path_factory.mktemp("theatre")
    shutil.copytree(tiny_dir, cache / "models" / "tiny")
    shutil.copytree(tiny_run, cache / "runs" / tiny_run.name)
    command = [
        "experiment",
        "scene",
        str(tiny_run),
        "--model",
        str(tiny_dir),
        "--sets",
        "mild",
        "--requests",
        "6",
        "--choosing",
        "2",
        "--max-new-tokens",
        "48",
        "--q",
        "4e-2",
        "--p",
        "0.01",
        "--selections",
        "both,none",
        "--draws",
        "1",
        "--offered",
        "2",
    ]
    assert main([*command, "--out", str(cache / "runs")]) == 0
    return cache


def with_control(page: Any) -> None:
    """Shows the random control's answer too."""
    at_rest(page)
    page.locator(".st-key-play_control label").first.click()
    page.wait_for_url("**play_control=true**", timeout=WAIT)


def test_one_click_from_the_overview_to_answers_that_part(serve: Callable[..., Any], page: Any, theatre: Path) -> None:
    scene = next(
        r
        for p in (theatre / "runs").iterdir()
        if not p.name.startswith(".") and (r := open_run(p)).kind == "experiment"
    )
    record = read_records(scene)[0]
    full, none = record.snapshot(1.0), record.snapshot(0.0)
    assert full is not None
    assert none is not None
    with serve(theatre) as url:
        page.goto(url)
        at_rest(page)
        page.locator(".st-key-scene_begin button").click()
        page.wait_for_url("**/playground**", timeout=WAIT)
        with_control(page)
        page.locator(".hv-pane .answer").first.wait_for(timeout=WAIT)  # recorded or live: something to see at once
        page.wait_for_function(
            "() => !document.querySelector('.hv-status .lamp.busy') && document.body.innerText.includes('done ·')",
            timeout=WAIT,
        )
        # The line that says so is drawn before the panes are.
        page.wait_for_function(
            f"texts => JSON.stringify(({TEXTS})()) === JSON.stringify(texts)",
            arg=[p.text for p in full.panes],
            timeout=WAIT,
        )
        page.locator(".hv-pane .mark").first.wait_for(timeout=WAIT)  # where they part
        assert page.get_by_text("recorded", exact=True).count() == 0
        assert not any(word in page.url for word in record.prompt.split() if len(word) > 4)

        page.get_by_text("Advanced", exact=True).click()
        thumb = page.locator(".st-key-scene_strength [role=slider], .st-key-scene_strength input[type=range]").first
        for _ in range(len(record.strengths)):
            thumb.press("ArrowLeft")
        # Strength 0 is the intact model, played without another click: three times the text that was recorded of it.
        page.wait_for_function(
            f"text => ({TEXTS})().join() === [text, text, text].join()", arg=none.panes[0].text, timeout=WAIT
        )


def test_the_recording_where_there_is_no_model(serve: Callable[..., Any], page: Any, tmp_path: Path) -> None:
    make_scene(tmp_path / "cache" / "runs")
    with serve(tmp_path / "cache") as url:
        page.goto(url)
        page.get_by_text("40 of 64").first.wait_for(timeout=WAIT)
        page.locator(".st-key-scene_begin button").click()
        page.get_by_text("recorded", exact=True).first.wait_for(timeout=WAIT)
        with_control(page)
        page.locator(".hv-panes.n3").wait_for(timeout=WAIT)
        page.get_by_text("something that I can't help with").first.wait_for(timeout=WAIT)
        assert page.locator(".st-key-play_run button").first.is_disabled()
        page.reload()
        page.get_by_text("recorded", exact=True).first.wait_for(timeout=WAIT)
        page.locator(".hv-panes.n3").wait_for(timeout=WAIT)  # the link opens the scene again, the control beside it
