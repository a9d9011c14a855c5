"""Who looks at this page: what the worker counts places in its line by, and whether the page is still open."""

from __future__ import annotations

from functools import partial

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from harmviz.worker import Visitor


def current() -> Visitor:
    """This tab. Nobody in particular where no server runs the page.

    A tab that is hidden is connected; one that was closed is not, from that moment on.
    """
    ctx = get_script_run_ctx(suppress_warning=True)
    if ctx is None or not runtime.exists():
        return Visitor("" if ctx is None else ctx.session_id)
    return Visitor(ctx.session_id, partial(runtime.get_instance().is_active_session, ctx.session_id))
