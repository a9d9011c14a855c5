"""The dashboard in real Chromium: from a server that is up to a page that can be used, from page to page, and from a
slider's move to the new chart.

A page counts as there when its title and, where it has one, its first chart are drawn. Of a slider's move two times are
taken: *server*, from the browser's message to the server's last answer, and *drawn*, from the key press until the chart
shows another title, which names the number of weights.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harmviz.bench.timing import TRIALS
from harmviz.errors import HarmvizError
from harmviz.paths import PACKAGE

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
#: Without these a browser without network keeps asking for its maker's servers.
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
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


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def _server(limit: float = 60.0) -> Iterator[str]:
    """The address of a fresh dashboard server that is up."""
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(PACKAGE.parent / "app.py")]
    command += ["--server.port", str(port), "--server.headless", "true"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PACKAGE.parent)
    try:
        end = time.monotonic() + limit
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).read()
                break
            except (urllib.error.URLError, OSError) as e:
                if time.monotonic() > end:
                    raise HarmvizError(
                        f"the dashboard's server did not answer on port {port} within {limit:.0f} s"
                    ) from e
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


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


def bench() -> dict[str, tuple[float, str]]:
    """Seconds of the first page, of changes of page, and of slider moves; medians but for the very first visit.

    Raises:
        HarmvizError: no Chromium or no playwright is installed.
    """
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        raise HarmvizError("bench ui drives a real Chromium and none is installed; install Debian's package chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as e:
        raise HarmvizError("bench ui needs the package playwright; install requirements.txt") from e
    with _server() as url, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=executable, args=QUIET)
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
        browser.close()
    return {what: (value, "s") for what, value in seconds.items()}
