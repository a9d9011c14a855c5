"""How the dashboard is started as people start it."""

from __future__ import annotations

import sys


def dashboard_command(port: int, *more: str) -> list[str]:
    """The command that serves it on this port, with further options of Streamlit's."""
    settings = ("--server.headless=true", f"--server.port={port}")
    return [sys.executable, "-m", "streamlit", "run", "app.py", *settings, *more]
