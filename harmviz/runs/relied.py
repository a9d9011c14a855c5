"""The finished stages that a process at work has built on: that one is lost behind its back must not go unnoticed.

Without this a folder that somebody tidied up while the run was being made would lose a stage, and the run would be
completed without that stage's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harmviz.errors import RunIncompatible


class ReliedStages:
    """Stages that were finished here, or found done, in order."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def note(self, stage: str, *, done: bool) -> None:
        """Takes in that a stage is done; or that it is not, and is to be done again with all after it."""
        if stage in self._names and not done:
            del self._names[self._names.index(stage) :]
        elif stage not in self._names and done:
            self._names.append(stage)

    def check(self, intact: Iterable[str], folder: Path) -> None:
        """Nothing, if all of them are among the stages that are what they were.

        Raises:
            RunIncompatible: files of one were deleted or changed.
        """
        there = set(intact)
        if lost := [name for name in self._names if name not in there]:
            raise RunIncompatible(
                f"files of the finished stage {lost[0]!r} in {folder} were deleted or changed while the run was being "
                "made; run the same command again with --resume, which does what is missing"
            )
