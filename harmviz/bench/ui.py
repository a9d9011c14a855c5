"""The dashboard in real Chromium: from a server that is up to a first page that can be used."""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from harmviz.bench.timing import TRIALS
from harmviz.errors import HarmvizError
from harmviz.paths import PACKAGE

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
#: Without these a browser without network keeps asking for its maker's servers.
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait_until_up(port: int, limit: float = 60.0) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise HarmvizError(f"the dashboard's server did not answer on port {port} within {limit:.0f} s")


def bench() -> dict[str, tuple[float, str]]:
    """Seconds until the first page of a fresh browser context is drawn: the very first time, and the median after it.

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
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(PACKAGE.parent / "app.py"), "--server.port", str(port), "--server.headless", "true"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PACKAGE.parent)
    try:
        _wait_until_up(port)
        seconds = []
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=executable, args=QUIET)
            for _ in range(TRIALS + 1):
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                page = context.new_page()
                start = time.perf_counter()
                page.goto(f"http://127.0.0.1:{port}/")
                page.get_by_role("heading").first.wait_for(timeout=30_000)
                seconds.append(time.perf_counter() - start)
                context.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(timeout=10)
    return {
        "first page, first visit": (seconds[0], "s"),
        "first page, later visits": (statistics.median(seconds[1:]), "s"),
    }
