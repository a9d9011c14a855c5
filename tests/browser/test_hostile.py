"""Hostile texts wherever a page shows one: names, notes, answers, logs, addresses. None is executed in real Chromium,
and none calls another machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlparse

import pytest

from harmviz.report.document import report
from harmviz.runs import list_runs, open_run
from tests.browser.waiting import at_rest
from tests.worlds.hostile import EVERY, LISTENER, PAYLOADS, make_cache

pytestmark = pytest.mark.browser

EXPLORE = ("", "harm_map", "overlap", "compare")
CLAIMED = ("compression", "dissociation", "jailbreaks", "emergent")
PAGES = (*EXPLORE, *CLAIMED, "playground", "runs", "learn")


class Watch:
    """A page, what was executed in it, and whom it asked for something."""

    def __init__(self, page: Any):
        self.page, self.executed, self.hosts, self.dialogs = page, {}, set(), []
        page.add_init_script(LISTENER)
        page.on("dialog", lambda d: (self.dialogs.append(d.message), d.dismiss()))
        page.on("request", lambda r: self.hosts.add(urlparse(r.url).hostname))
        page.on("popup", lambda p: self.dialogs.append(p.url))

    def look(self, where: str) -> None:
        """Notes what was executed since the page was loaded."""
        frames = [f for f in self.page.frames if not f.is_detached()]
        done = [n for f in frames for n in f.evaluate("window.__pwned || []")]
        if done:
            self.executed[where] = done


@pytest.fixture
def hostile(tmp_path: Path, tiny_run: Path, tiny_dir: Path) -> Path:
    cache = tmp_path / "cache"
    make_cache(cache, open_run(tiny_run))
    shutil.copytree(tiny_dir, cache / "models" / "tiny")
    return cache


def test_no_text_is_executed_and_none_calls_another_machine(
    page: Any, serve: Callable[..., Any], hostile: Path, tmp_path: Path
) -> None:
    watch = Watch(page)
    with serve(hostile) as url:
        for name in PAGES:
            page.goto(
                f"{url}/{name}?run={quote(EVERY[:300])}&map_types={quote(PAYLOADS[1])}&play_hub={quote(PAYLOADS[9])}"
                f"&{name or 'overview'}_details=true&overview_limits=true&overview_claims=true&jailbreaks_answers=true"
            )
            at_rest(page)
            watch.look(name or "overview")
    for run in list_runs(hostile / "runs"):
        out = tmp_path / "report.html"
        out.write_text(report(run), encoding="utf-8")
        page.goto(out.as_uri())
        watch.look(f"report of {run.id}")
    assert watch.executed == {}
    assert watch.dialogs == []
    assert watch.hosts <= {"127.0.0.1", None, ""}
