"""Jailbreaks (C6): what gets through when attacks meet masks, and what it costs."""
