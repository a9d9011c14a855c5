"""The dashboard as it is served: no answer to a foreign host, another site or another machine; no start exposed."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.worlds.dashboard import dashboard_command

ROOT = Path(__file__).resolve().parents[1]
STREAM = "/_stcore/stream"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def served(cache: Path) -> Iterator[int]:
    port = free_port()
    environment = {**os.environ, "HARMVIZ_CACHE": str(cache)}
    server = subprocess.Popen(
        dashboard_command(port), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while True:
            assert server.poll() is None
            assert time.monotonic() < end, "the dashboard did not start"
            try:
                if status(port, "/_stcore/health") == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(20)


def status(port: int, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with served(tmp_path_factory.mktemp("cache")) as number:
        yield number


PATHS = ("/", "/runs", "/_stcore/health", "/_stcore/host-config", "/_stcore/metrics", "/static/index.html", "/media/x")


@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_host_and_another_site_are_refused_everywhere(port: int, path: str) -> None:
    assert status(port, path, {"Host": f"evil.example:{port}"}) == 403
    assert status(port, path, {"Origin": "http://evil.example"}) == 403
    assert status(port, path, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == 403
    assert status(port, path) in (200, 404)


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("evil.example", {}),
        *(("127.0.0.1", {"Origin": o}) for o in ("http://evil.example", "http://localhost:1", "null")),
    ],
    ids=str,
)
def test_a_websocket_likewise(port: int, host: str, headers: dict[str, str]) -> None:
    url, sock = f"ws://{host}:{port}{STREAM}", socket.create_connection(("127.0.0.1", port))
    with pytest.raises(InvalidStatus) as refused, connect(url, sock=sock, additional_headers=headers, open_timeout=10):
        pass
    assert refused.value.response.status_code == 403


def test_its_own_page_connects(port: int) -> None:
    origin = f"http://127.0.0.1:{port}"
    with connect(f"ws://127.0.0.1:{port}{STREAM}", additional_headers={"Origin": origin}, open_timeout=10) as socket_:
        assert socket_.protocol.state.name == "OPEN"


def test_an_upload_needs_the_owner(port: int) -> None:
    assert status(port, "/_stcore/upload_file/somebody/file", method="PUT") == 403


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--server.address=0.0.0.0",), "would open the dashboard to others without a login"),
        (("--server.enableCORS=false", "--server.enableXsrfProtection=false"), "must stay on"),
    ],
)
def test_settings_that_expose_do_not_start(options: tuple[str, ...], says: str) -> None:
    ended = subprocess.run(
        dashboard_command(free_port(), *options), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


#: In namespaces of its own, so that nothing of this machine's network is touched: the dashboard in one, joined by a
#: cable to a second; from there the dashboard's address and port are tried, and from its own side they answer.
PROBE = r"""
set -e
ip link set lo up
"$@" >/dev/null 2>&1 & server=$!
unshare --net sleep 100 & other=$!
trap 'kill $server $other' EXIT
for _ in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null && break; sleep 0.1; done
ip link add here type veth peer name there netns $other
ip addr add 10.213.7.1/24 dev here; ip link set here up
inside="nsenter --target $other --net"
$inside ip addr add 10.213.7.2/24 dev there; $inside ip link set there up
(exec 3<>/dev/tcp/127.0.0.1/$PORT) && echo "here: open"
python3 -m http.server --bind 10.213.7.1 9 >/dev/null 2>&1 & cable=$!
for _ in $(seq 100); do $inside bash -c 'exec 3<>/dev/tcp/10.213.7.1/9' 2>/dev/null && break; sleep 0.1; done
$inside bash -c 'exec 3<>/dev/tcp/10.213.7.1/9' && echo "cable: open"
kill $cable
$inside bash -c "exec 3<>/dev/tcp/10.213.7.1/$PORT" 2>/dev/null && echo "there: open" || echo "there: refused"
"""


def test_another_machine_does_not_reach_it(tmp_path: Path) -> None:
    needed = ("unshare", "nsenter", "ip")
    if not all(map(shutil.which, needed)):
        pytest.skip(f"needs {', '.join(needed)}")
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no network namespaces")
    number = free_port()
    done = subprocess.run(
        [*alone, "bash", "-c", PROBE, "probe", *dashboard_command(number)],
        cwd=ROOT,
        env={**os.environ, "PORT": str(number), "HARMVIZ_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split("\n")[:3] == ["here: open", "cable: open", "there: refused"], done.stderr
