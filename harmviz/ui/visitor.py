"""Who looks at this page, and may they do that? Login, token, and the one question that pages ask."""

from __future__ import annotations

import os

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError
from streamlit.runtime.scriptrunner import get_script_run_ctx

from harmviz.access import OWNER, Policy, Role, may, role_of, roles, sessions
from harmviz.access.exposure import Binding
from harmviz.access.roles import Action
from harmviz.errors import BadSetting
from harmviz.ui import frame

#: What the owner typed, in the session alone: never in the address, never in a file.
_TOKEN = "_owner_token"


def login_is_set_up() -> bool:
    """Whether Streamlit's login is configured: an ``[auth]`` section in ``.streamlit/secrets.toml``.

    Raises:
        BadSetting: there are secrets that cannot be read. A login that was meant is never off by a slip.
    """
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError as e:
        if e.error_id == "no-secrets-found":
            return False
        raise BadSetting("secrets.toml cannot be read, so that nobody can log in; mend or delete it") from None


def binding() -> Binding:
    """Streamlit's settings that decide who gets in."""
    option = st.get_option
    return Binding(
        address=option("server.address"),
        hosts=tuple(option("server.allowedHosts")),
        origins=tuple(option("server.corsAllowedOrigins")),
        cors=bool(option("server.enableCORS")),
        xsrf=bool(option("server.enableXsrfProtection")),
        agent=bool(option("server.enableAgentApi")),
        tls=bool(option("server.sslCertFile")),
    )


def policy() -> Policy:
    """How this deployment tells owners from visitors.

    Raises:
        BadSetting: a setting of it is wrong.
    """
    return roles.policy_of(os.environ, login=login_is_set_up(), exposed=binding().exposed)


def role() -> Role:
    """The role of whoever looks at this page; noted for the guard of uploads."""
    now = policy()
    user = dict(st.user) if now.login else None
    found = role_of(now, token=st.session_state.get(_TOKEN, ""), user=user)
    if (context := get_script_run_ctx()) is not None:
        sessions.note(context.session_id, found)
    return found


def can(action: Action) -> bool:
    """Whether they may do that: what decides whether a control is drawn."""
    return may(role(), action)


def require(action: Action) -> None:
    """Nothing, where they may do that: to be called where it is done, whatever was drawn.

    Raises:
        NotAllowed: they may not.
    """
    roles.require(role(), action)


def enter() -> None:
    """Draws who is here and how to become the owner; where a login is set up, nobody goes on without it.

    Called once for every page, before anything else of it is drawn.
    """
    now = policy()
    if now.login and not st.user.is_logged_in:
        frame.html('<div class="hv hv-note"><div>This dashboard is open to people who log in.</div></div>')
        if st.button("Log in", type="primary", icon=":material/login:", key="visitor_login"):
            st.login()
        st.stop()
    if role() == OWNER and not (now.login or now.token):
        return  # one's own machine: nothing to say
    with st.sidebar:
        _who(now)


def _who(now: Policy) -> None:
    owner = role() == OWNER
    word = "Owner" if owner else "Visitor"
    with st.popover(word, icon=":material/key:" if owner else ":material/visibility:", type="tertiary"):
        if owner:
            st.caption("You may start and cancel jobs, import, export and delete.")
        elif now.readonly:
            st.caption("Nobody changes anything here: browse the stored runs, and play with the live model.")
        else:
            st.caption("Browse the stored runs, and play with the live model. Everything else needs the owner.")
        if now.token and not now.readonly and not owner:
            _token_form(now)
        if owner and now.token and st.session_state.get(_TOKEN) and st.button("Be a visitor", key="visitor_sign_out"):
            st.session_state.pop(_TOKEN)
            st.rerun()
        if now.login and st.button("Log out", key="visitor_log_out"):
            st.logout()


def _token_form(now: Policy) -> None:
    with st.form("visitor_form", clear_on_submit=True, border=False):
        typed = st.text_input("Admin token", type="password", key="visitor_token", max_chars=200, autocomplete="off")
        if not st.form_submit_button("Become the owner"):
            return
    if roles.token_fits(now, typed):
        st.session_state[_TOKEN] = typed.strip()
        st.rerun()
    frame.error("that is not the token; ask whoever runs this dashboard")
