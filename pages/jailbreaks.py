"""Jailbreaks: what gets through when attacks meet masks."""

from harmviz.claims.jailbreak import page

page.show()
