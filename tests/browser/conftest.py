"""A real server and a real Chromium for the browser journeys. Screenshots go to artifacts/, outside git."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harmviz.models.assets import embedded_model_dir
from harmviz.paths import assets_root, shipped_runs_root
from harmviz.runs import shipped_runs
from tests.worlds.dashboard import dashboard_command

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def _need(missing: str) -> None:
    """Skips with the reason on a machine without a browser; in CI that is a failure, so that no journey goes unrun."""
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium, the system's own."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        _need(f"no Chromium on PATH ({', '.join(CHROMIUM)}): apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _need("playwright is not installed: pip install -r requirements.txt")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a browser of its own, at the size of a small projector."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail(f"the dashboard did not start:\n{log.read_text()}")


def _end(server: subprocess.Popen[bytes], log: Path) -> None:
    """Ends the server as Ctrl-C would. uvicorn then waits for open connections without a limit, so that a page that is
    still open can hold it: what it waited in is told, and the journey, which was at its end, is not judged by it."""
    server.terminate()
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGABRT)  # faulthandler writes down where every thread stands
        server.wait()
        warnings.warn(f"the dashboard did not end within 20 s:\n{log.read_text()[-6000:]}", stacklevel=2)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """``with serve(cache, **environment) as url:`` the dashboard over this cache folder, on a free port."""

    @contextmanager
    def run(cache: Path, **environment: str) -> Iterator[str]:
        port, log = _free_port(), tmp_path / "server.log"
        command = dashboard_command(port)
        with log.open("wb") as sink:
            server = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", "HARMVIZ_CACHE": str(cache), **environment},
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_healthy(url, server, log)
            yield url
        finally:
            _end(server, log)

    return run


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the committed runs and the fetched assets, and nothing that a visit could change."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "runs").mkdir()
    for name in shipped_runs():
        (cache / "runs" / name).symlink_to(shipped_runs_root() / name)
    embedded_model_dir()  # fetched before anybody waits for it
    (cache / "assets").symlink_to(assets_root())
    return cache
