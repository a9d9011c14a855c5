"""Which addresses the dashboard may listen on, and which names it may answer to.

By default it serves this machine alone. Whoever wants more has to set up a login, or to say with ``HARMVIZ_EXPOSE=1``
that nobody needs one; what that means is printed at the start. Protection against other sites' pages is never off.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from harmviz.access.roles import Policy, switch
from harmviz.errors import BadSetting

SWITCH = "HARMVIZ_EXPOSE"


@dataclass(frozen=True)
class Binding:
    """Streamlit's ``server.*`` settings that decide who gets in; ``tls``: it speaks TLS by itself."""

    address: str | None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    cors: bool = True
    xsrf: bool = True
    agent: bool = False
    tls: bool = False

    @property
    def wide(self) -> bool:
        """Whether it listens on more than this machine's loopback."""
        return not is_loopback(self.address)

    @property
    def exposed(self) -> bool:
        """Whether others can reach it: directly, or under another name through a proxy."""
        return self.wide or any(not is_loopback(host) for host in self.hosts)


def is_loopback(name: str | None) -> bool:
    """Whether this address or host name can mean this machine only. No name is looked up; none at all is every one."""
    if not name:
        return False
    bare = name.strip().lower().rstrip(".").removeprefix("[").removesuffix("]")
    if bare == "localhost" or bare.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def check(binding: Binding, policy: Policy, environment: Mapping[str, str]) -> list[str]:
    """What to print before the dashboard starts, line by line; nothing where it serves this machine alone.

    Raises:
        BadSetting: these settings would let in somebody who should not be; the message says what to do.
    """
    if not (binding.cors and binding.xsrf):
        raise BadSetting(
            "server.enableCORS and server.enableXsrfProtection must stay on: without them any web page that a visitor "
            "has open could act in the visitor's name"
        )
    if binding.agent:
        raise BadSetting("server.enableAgentApi must stay off: a program could act without any page or login")
    if any(host.strip() == "*" for host in (*binding.hosts, *binding.origins)):
        raise BadSetting(
            "server.allowedHosts and server.corsAllowedOrigins take names, not *; name the dashboard's own"
        )
    if not binding.exposed or policy.login:
        return []
    where = binding.address or "every address of this machine"
    names = ", ".join(h for h in binding.hosts if not is_loopback(h))
    what = f"listening on {where}" if binding.wide else f"answering to {names}"
    if not switch(environment, SWITCH):
        raise BadSetting(
            f"{what} would open the dashboard to others without a login; keep server.address=127.0.0.1, set up a login "
            f"(docs/deploying.md), or set {SWITCH}=1 to say that everybody may come in"
        )
    lines = [
        f"harmviz: {what}, WITHOUT A LOGIN, as {SWITCH}=1 asks.",
        "  Whoever reaches it may read every stored run and whatever is revealed in it, and may use the live model.",
    ]
    if policy.readonly or not policy.token:
        lines.append("  Nobody may start, cancel, import, export or delete: no owner is named.")
    else:
        lines.append("  Whoever types the admin token may start, cancel, import, export and delete.")
        if binding.wide and not binding.tls:
            lines.append("  There is no TLS: the token and every prompt cross the network readable by others.")
    if binding.wide and not names:
        lines.append("  No name is in server.allowedHosts yet, so that every visitor will be refused; add the host's.")
    return lines
