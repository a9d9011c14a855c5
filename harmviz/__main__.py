"""``python -m harmviz``."""

import os

# Threads that wait by spinning slow each other down many times over as soon as anything else uses a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harmviz.cli import main
from harmviz.models.ranks import leave

if __name__ == "__main__":
    leave(main())
