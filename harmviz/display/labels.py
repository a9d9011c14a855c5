"""Plain text as plotly shows it: escaped, since it reads some tags, and broken into lines, since it wraps nothing."""

from __future__ import annotations

import textwrap
from html import escape

from harmviz.display.style import Theme

#: Characters of a title and of a subtitle that fit the page's width at scale 1.
TITLE_WIDTH, SUBTITLE_WIDTH = 82, 112


def broken(text: str, width: int) -> str:
    """``text``, escaped, in lines of at most ``width`` characters; line breaks in it stay, numbers keep their unit."""
    text = text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")
    lines = [
        part for line in text.split("\n") for part in textwrap.wrap(line, max(8, width), break_long_words=False) or [""]
    ]
    return "<br>".join(escape(line, quote=False) for line in lines)


def templated(text: str) -> str:
    """``text``, escaped, as a part of a hover template: no ``%{`` in it is filled in."""
    return escape(text, quote=False).replace("%{", "%\u200b{")


def headings(title: str, subtitle: str, theme: Theme) -> tuple[str, str]:
    """Title and subtitle in lines that fit the page's width at the theme's size."""
    return broken(title, int(TITLE_WIDTH / theme.scale)), broken(subtitle, int(SUBTITLE_WIDTH / theme.scale))
