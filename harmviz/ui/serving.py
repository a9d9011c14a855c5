"""What stands between the network and the pages: checked settings, logs without texts, and the guard of every request.

Called once, when the server starts. Settings that would let in somebody who should not be end the start with one line.
"""

from __future__ import annotations

import os
import sys

from starlette.middleware import Middleware

from harmviz.access import exposure, logs
from harmviz.access.guard import Guard
from harmviz.errors import BadSetting
from harmviz.ui import visitor


def prepare() -> list[Middleware]:
    """The middleware of the dashboard, once its settings are known to be safe.

    Raises:
        SystemExit: they are not; the one line says what to do.
    """
    logs.without_messages()
    binding = visitor.binding()
    try:
        lines = exposure.check(binding, visitor.policy(), os.environ)
    except BadSetting as e:
        raise SystemExit(f"harmviz: {e}") from None
    if lines:
        sys.stderr.write("\n".join(lines) + "\n")
    return [Middleware(Guard, hosts=binding.hosts, origins=binding.origins, wide=binding.wide)]
