"""Every request is checked: host, origin, site, socket, the right to upload. The app sees what is let through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harmviz.access import sessions
from harmviz.access.guard import Guard, host_allowed

NAMES = ("127.0.0.1", "localhost", "lab.example.org", "*.hall.example.org")
UPLOAD = "/_stcore/upload_file/{}/f1"


def asked(
    headers: dict[str, str] | list[tuple[str, str]],
    *,
    kind: str = "http",
    method: str = "GET",
    path: str = "/",
    server: tuple[str, int | None] = ("127.0.0.1", 8501),
    wide: bool = False,
) -> tuple[bool, list[dict[str, Any]]]:
    """(whether the app was reached, what was sent back)."""
    reached: list[str] = []
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> Any:
        raise AssertionError("nothing is read before the request is let through")

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "server": server,
        "headers": [(k.lower().encode(), v.encode()) for k, v in pairs],
    }
    asyncio.run(Guard(app, hosts=NAMES, origins=("https://slides.example.org",), wide=wide)(scope, receive, send))
    return bool(reached), sent


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8501", "LAB.example.org.", "a.hall.example.org:443"])
def test_its_own_names_are_answered(host: str) -> None:
    reached, (start, _) = asked({"host": host})
    assert reached
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-security-policy"].startswith(b"frame-ancestors 'self'")


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "hall.example.org", "localhost.evil.example", "evil@localhost", "localhost/x", "localhost:x", ""],
)
def test_a_foreign_host_is_refused(host: str, kind: str) -> None:
    reached, sent = asked({"host": host}, kind=kind)
    assert not reached
    assert sent[0].get("status") == 403 if kind == "http" else sent[0]["type"] == "websocket.close"


def test_no_host_and_two_hosts_are_refused() -> None:
    assert not asked({})[0]
    assert not asked([("host", "localhost"), ("host", "evil.example")])[0]


def test_without_a_list_only_this_machine_is_meant() -> None:
    assert host_allowed("localhost:1", ())
    assert not host_allowed("lab.example.org", ())


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://127.0.0.1:8501"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_a_request_from_another_site_is_refused(headers: dict[str, str], kind: str) -> None:
    assert not asked({"host": "localhost:8501", **headers}, kind=kind)[0]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8501"},
        {"origin": "https://localhost:8501", "sec-fetch-site": "same-origin"},
        {"origin": "https://slides.example.org", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
    ids=str,
)
def test_its_own_pages_and_followed_links_are_answered(headers: dict[str, str]) -> None:
    assert asked({"host": "localhost:8501", **headers})[0]


def test_a_form_of_another_site_is_refused() -> None:
    assert not asked(
        {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, method="POST"
    )[0]


def test_a_socket_that_nobody_allowed_is_not_served() -> None:
    assert not asked({"host": "localhost"}, server=("192.168.1.2", 8501))[0]
    assert asked({"host": "localhost"}, server=("192.168.1.2", 8501), wide=True)[0]
    assert asked({"host": "localhost"}, server=("/run/harmviz.sock", None))[0]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_only_an_owner_uploads(method: str) -> None:
    sessions.note("mine", "owner")
    assert asked({"host": "localhost"}, method=method, path=UPLOAD.format("mine"))[0]
    assert not asked({"host": "localhost"}, method=method, path="/base" + UPLOAD.format("theirs"))[0]
    sessions.note("mine", "visitor")
    assert not asked({"host": "localhost"}, method=method, path=UPLOAD.format("mine"))[0]
