"""The errors harmviz raises on purpose. Each message says what is wrong, where, and what the reader can do next.

The command line turns them into one line on stderr and the exit code in ``exit_code``; pages show the same line.
Anything else that surfaces is a fault of harmviz itself: the command line ends with 1 and shows where.
"""

from __future__ import annotations


class HarmvizError(Exception):
    """Base of every deliberate error. ``exit_code`` is what the command line ends with (2: the input was bad)."""

    exit_code = 2


class BadSetting(HarmvizError, ValueError):
    """A setting or an argument is out of its range; the message names it, its value and what is allowed.

    Any other ValueError says that harmviz called one of its own functions wrongly.
    """


class ModelUnavailable(HarmvizError):
    """The named model cannot be found, read, or loaded here."""


class UnsupportedArchitecture(HarmvizError):
    """The model holds weights that harmviz cannot score or mask; the message names them."""


class AssetUnavailable(HarmvizError):
    """A pinned file (embedded model, data set) is neither cached nor obtainable."""

    exit_code = 1


class DataInvalid(HarmvizError):
    """A prompt file or data set breaks the schema; the message names file, row and column."""


class MaskInvalid(HarmvizError):
    """A mask file is damaged, of a kind that must not be used this way, or made for another model."""


class SelectionInexact(HarmvizError):
    """The stored candidates cannot answer this (categories, q, p, scope) exactly; the message names the limit."""


class RunIncompatible(HarmvizError):
    """A stored run is damaged, incomplete, of another schema, or does not fit what is asked of it."""


class RunNotFound(HarmvizError):
    """No complete run has this name or path."""


class OutOfMemory(HarmvizError):
    """Memory or disk ran out, or the pre-flight estimate says that it would."""

    exit_code = 1


class RankLost(HarmvizError):
    """Another process of a job on several devices is gone, or does not answer."""

    exit_code = 1


class NotAllowed(HarmvizError):
    """Whoever asks has not the role for it; the message says how to get it."""


class Cancelled(HarmvizError):
    """The user asked to stop; what was finished is kept for ``--resume``."""

    exit_code = 130
