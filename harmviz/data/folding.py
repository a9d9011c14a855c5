"""When two texts are one."""

from __future__ import annotations


def normalise(text: str) -> str:
    """Case and white space folded: two prompts that differ in nothing else are the same prompt."""
    return " ".join(text.lower().split())
