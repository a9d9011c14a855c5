"""A fresh dashboard server and a real Chromium for the benches that look at pages."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def dashboard() -> Iterator[tuple[Any, str]]:
    """(the browser, the address of a server that is up and that nobody has visited).

    Raises:
        HarmvizError: no Chromium or no playwright is installed, or the server does not answer.
    """
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        raise HarmvizError("this bench drives a real Chromium and none is installed; install Debian's package chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as e:
        raise HarmvizError("this bench needs the package playwright; install requirements.txt") from e
    with _server() as url, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=executable, args=QUIET)
        yield browser, url
        browser.close()


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
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
