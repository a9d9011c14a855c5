"""The dashboard in real Chromium: from a server that is up to a page that can be used, from page to page, and from a
slider's move to the new chart.

A page counts as there when its title and, where it has one, its first chart are drawn. Of a slider's move two times are
taken: *server*, from the browser's message to the server's last answer, and *drawn*, from the key press until the chart
shows another title, which names the number of weights.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from harmviz.bench.dashboard import dashboard
from harmviz.bench.figure import Figure
from harmviz.bench.timing import TRIALS

#: (page's name in the navigation, whether it must draw a chart)
PAGES = (
    ("Harm map", True),
    ("Overlap & transfer", True),
    ("Learn", True),
    ("Runs", False),
    ("Playground", False),
    ("Overview", False),
)
#: (page, key of the slider)
SLIDERS = (("harm_map", "map_q"), ("overlap?overlap_view=Who+shares+what", "overlap_upset_q"))
_CHART = ".js-plotly-plot .main-svg"
#: What the first page shows: the rates of the stage scene, or the chart of a run without one.
_PICTURE = f".st-key-scene-card h2, {_CHART}"
#: Watches the words drawn in the charts' titles, which name the number of weights and so change with q.
_WATCH = """() => {
  const read = () => [...document.querySelectorAll('.js-plotly-plot .g-gtitle')].map(t => t.textContent).join();
  const before = read();
  window.harmvizDrawn = 0;
  const look = () => { if (read() === before) setTimeout(look, 10); else window.harmvizDrawn = performance.now(); };
  look();
}"""


def _first_page(browser: Any, url: str) -> float:
    """Seconds from opening the address in a fresh browser context to the first picture."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
    page.locator(_PICTURE).first.wait_for(timeout=60_000)
    seconds = time.perf_counter() - start
    context.close()
    return seconds


def _switches(browser: Any, url: str) -> list[float]:
    """Seconds of every change of page, after each page was opened once."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(url)
    page.locator(_PICTURE).first.wait_for(timeout=60_000)
    seconds = []
    for round_ in range(TRIALS + 1):
        for name, charted in PAGES:
            before = page.get_by_role("heading", level=1).first.inner_text()
            start = time.perf_counter()
            page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
            page.wait_for_function(
                "before => { const h = document.querySelector('h1'); return h && h.innerText !== before; }",
                arg=before,
                polling=20,
                timeout=60_000,
            )
            if charted:
                page.locator(f"[data-stale=false] {_CHART}").first.wait_for(timeout=60_000)
            if round_:
                seconds.append(time.perf_counter() - start)
            page.wait_for_timeout(400)  # let the rest of the page settle, as a reader would
    context.close()
    return seconds


def _slider(browser: Any, url: str, path: str, key: str) -> tuple[float, float]:
    """(server, drawn): median seconds of a slider's moves to the left."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sent: list[float] = []
    received: list[float] = []

    def hear(socket_: Any) -> None:
        socket_.on("framesent", lambda _: sent.append(time.perf_counter()))
        socket_.on("framereceived", lambda _: received.append(time.perf_counter()))

    page.on("websocket", hear)
    page.goto(f"{url}/{path}")
    page.locator(_CHART).first.wait_for(timeout=60_000)
    page.wait_for_timeout(1500)
    thumb = page.locator(f".st-key-{key} input[type=range]").first
    servers, drawn = [], []
    for _ in range(TRIALS + 1):
        page.evaluate(_WATCH)
        sent.clear()
        received.clear()
        thumb.focus()
        start = page.evaluate("performance.now()")
        thumb.press("ArrowLeft")
        page.wait_for_function("window.harmvizDrawn > 0", polling=10, timeout=30_000)
        page.wait_for_timeout(1200)
        drawn.append((page.evaluate("window.harmvizDrawn") - start) / 1000)
        servers.append(received[-1] - sent[0])
    context.close()
    return statistics.median(servers[1:]), statistics.median(drawn[1:])


def bench() -> list[Figure]:
    """Seconds of the first page, of changes of page, and of slider moves; medians but for the very first visit.

    Raises:
        HarmvizError: no Chromium or no playwright is installed.
    """
    with dashboard() as (browser, url):
        first = [_first_page(browser, url) for _ in range(TRIALS + 1)]
        switches = _switches(browser, url)
        seconds = {
            "first page, first visit": first[0],
            "first page, later visits": statistics.median(first[1:]),
            "change of page": statistics.median(switches),
            "change of page, slowest": max(switches),
        }
        for path, key in SLIDERS:
            server, drawn = _slider(browser, url, path, key)
            seconds[f"slider {key}, server"] = server
            seconds[f"slider {key}, drawn"] = drawn
    return [Figure(what, value, "s") for what, value in seconds.items()]
