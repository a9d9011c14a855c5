"""Refuses requests before Streamlit sees them: to a foreign host, from another site, or uploads without the right to.

Streamlit checks host and origin where a page opens its websocket; this checks every request, also for files, health and
uploads, by the same list of names. It is plain ASGI: ``Guard(app, ...)`` is called for each request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from harmviz.access.exposure import is_loopback
from harmviz.access.sessions import is_owner

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_UPLOADS = "/_stcore/upload_file/"
_READS = ("GET", "HEAD", "OPTIONS")
#: Sent with every answer: no other site may frame a page, guess a file's kind, or learn an address from a link.
_HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'self'; object-src 'none'; base-uri 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


def host_name(host: str | None) -> str | None:
    """The name in a Host header, in lower case and without port; None where it is no plain host."""
    try:
        parts = urlsplit(f"//{host or ''}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    plain = parts.hostname and not (parts.username or parts.password or parts.path or parts.query or parts.fragment)
    return parts.hostname.rstrip(".") if plain and parts.hostname else None


def host_allowed(host: str | None, names: tuple[str, ...]) -> bool:
    """Whether a Host header names this dashboard: a name of the list (``*.example.org`` covers subdomains), or, where
    the list is empty, this machine's loopback."""
    name = host_name(host)
    if name is None:
        return False
    if not names:
        return is_loopback(name)
    wanted = [n.strip().lower().rstrip(".") for n in names]
    return any(name.endswith(n[1:]) if n.startswith("*.") else name == n for n in wanted)


class Guard:
    """The dashboard behind these checks.

    Args:
        app: what answers a request that is let through.
        hosts: names the dashboard answers to (``server.allowedHosts``).
        origins: other origins whose pages may connect (``server.corsAllowedOrigins``).
        wide: whether it may be reached at an address that is not this machine's loopback.
    """

    def __init__(self, app: App, *, hosts: tuple[str, ...], origins: tuple[str, ...] = (), wide: bool = False):
        self._app, self._hosts, self._wide = app, hosts, wide
        self._origins = frozenset(o.strip().rstrip("/").lower() for o in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif (why := self._refusal(scope)) is not None:
            await _refuse(scope, send, why)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> str | None:
        """Why this request is refused; None where it is not."""
        names = [name for name, _ in scope["headers"]]
        if any(names.count(once) > 1 for once in (b"host", b"origin")):
            return "more than one Host or Origin"
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host")
        # The socket's own address: a server that was started around the check of its address is found out here.
        here = (scope.get("server") or (None,))[0]
        if not self._wide and here is not None and not is_loopback(here) and not str(here).startswith("/"):
            return "this address is not served"
        if not host_allowed(host, self._hosts):
            return "this host is not served; name it in server.allowedHosts"
        if not self._same_site(scope, headers, str(host)):
            return "a request from another site"
        path = str(scope.get("path", ""))
        if _UPLOADS in path and scope.get("method") not in _READS:
            session = path.rpartition(_UPLOADS)[2].partition("/")[0]
            if not is_owner(session):
                return "only the owner uploads"
        return None

    def _same_site(self, scope: Scope, headers: dict[str, str], host: str) -> bool:
        """Whether a page of the dashboard asked, or nobody's page: what a browser says of where a request is from."""
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            return urlsplit(origin).netloc.lower() == host.lower()
        if headers.get("sec-fetch-site") == "cross-site" and origin is None:
            # Following a link, or coming back from the login, is fine; being embedded or fetched is not.
            return headers.get("sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
        return True


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", ())}
            message["headers"] = [*message.get("headers", ()), *(h for h in _HEADERS if h[0] not in given)]
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send, why: str) -> None:
    if scope["type"] == "websocket":  # before it is accepted, so that the server answers 403
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    body = f"harmviz: refused: {why}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
