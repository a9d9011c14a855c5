"""May this visitor do that? Two roles, and one function that answers.

A *visitor* browses stored runs and plays with the live model. The *owner* also starts, cancels and resumes jobs, takes
runs in, takes masks out, and deletes. On one's own machine, which nobody else can reach, everybody is the owner; as
soon as a deployment names an owner, has a login, or can be reached from elsewhere, people are visitors until they show
that they are more.

Settings: ``HARMVIZ_READONLY=1`` (nobody is the owner, whatever else is set), ``HARMVIZ_ADMIN_TOKEN`` (whoever types it
is), ``HARMVIZ_OWNERS`` (verified e-mail addresses of Streamlit's login that are, separated by commas).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from harmviz.errors import BadSetting, NotAllowed

Role = Literal["visitor", "owner"]
VISITOR: Role = "visitor"
OWNER: Role = "owner"

#: What only the owner may do.
Action = Literal["start", "cancel", "forget", "import", "export", "delete"]
ACTIONS: tuple[Action, ...] = get_args(Action)
_WORDS: dict[Action, str] = {
    "start": "start or resume a job",
    "cancel": "cancel a job",
    "forget": "put a job away",
    "import": "import a run or upload a file",
    "export": "export a run with its masks",
    "delete": "delete a run",
}

#: Shortest token: 16 characters out of 64 are 96 bits, which no number of tries guesses.
MIN_TOKEN = 16
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Policy:
    """How this deployment tells owners from visitors.

    ``login``: Streamlit's OIDC login is set up. ``exposed``: others than this machine's own people can reach it.
    """

    readonly: bool = False
    token: str = field(default="", repr=False)
    login: bool = False
    owners: frozenset[str] = frozenset()
    exposed: bool = False

    @property
    def open_to_all(self) -> bool:
        """Whether everybody is the owner: one's own machine, with no owner named."""
        return not (self.readonly or self.token or self.login or self.exposed)


def switch(environment: Mapping[str, str], name: str) -> bool:
    """Whether the switch ``name`` is on.

    Raises:
        BadSetting: its value says neither yes nor no. A switch that protects is never off by a slip.
    """
    value = environment.get(name, "").strip().lower()
    if value not in (*_YES, *_NO):
        raise BadSetting(f"{name}={value[:40]!r} is neither yes nor no; set it to 1 or 0")
    return value in _YES


def policy_of(environment: Mapping[str, str], *, login: bool, exposed: bool) -> Policy:
    """The policy that these environment variables set.

    Raises:
        BadSetting: a switch says neither yes nor no, the token is short, or owners are named where there is no login.
    """
    token = environment.get("HARMVIZ_ADMIN_TOKEN", "").strip()
    if token and len(token) < MIN_TOKEN:
        raise BadSetting(
            f"HARMVIZ_ADMIN_TOKEN has {len(token)} characters and could be guessed; use {MIN_TOKEN} or more, for "
            "example of `python -c 'import secrets; print(secrets.token_urlsafe())'`"
        )
    owners = frozenset(o.strip().lower() for o in environment.get("HARMVIZ_OWNERS", "").split(",") if o.strip())
    if owners and not login:
        raise BadSetting("HARMVIZ_OWNERS names people, but no login is set up; see docs/deploying.md, or unset it")
    return Policy(switch(environment, "HARMVIZ_READONLY"), token, login, owners, exposed)


def token_fits(policy: Policy, typed: str) -> bool:
    """Whether this is the owner's token. Takes as long for a near miss as for any other."""
    return bool(policy.token) and hmac.compare_digest(policy.token.encode(), typed.strip().encode())


def role_of(policy: Policy, *, token: str = "", user: Mapping[str, Any] | None = None) -> Role:
    """The role of somebody who has typed ``token`` and is logged in as ``user`` (claims of the login).

    An address counts only where the login vouches for it: ``email_verified`` is true, or, as some providers do, absent.
    """
    if policy.readonly:
        return VISITOR
    if policy.open_to_all or (token and token_fits(policy, token)):
        return OWNER
    claims = user or {}
    vouched = claims.get("is_logged_in") is True and claims.get("email_verified", True) is True
    email = claims.get("email")
    named = isinstance(email, str) and email.strip().lower() in policy.owners
    return OWNER if policy.login and vouched and named else VISITOR


def may(role: Role, action: Action) -> bool:
    """Whether this role may do that.

    Raises:
        ValueError: no such action.
    """
    if action not in ACTIONS:
        raise ValueError(f"action {action!r} is none of {', '.join(ACTIONS)}")
    return role == OWNER


def require(role: Role, action: Action) -> None:
    """Nothing, where this role may do that.

    Raises:
        NotAllowed: it may not; the message says what to do.
    """
    if not may(role, action):
        raise NotAllowed(
            f"only the owner of this dashboard may {_WORDS[action]}; sign in as the owner in the sidebar, or ask "
            "whoever runs it"
        )
