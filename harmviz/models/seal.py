"""Messages that only processes of one user's job can write: pickles behind their HMAC.

Reading a pickle can run code, so none is read before its seal is found to be that of the job's key, which lies in a
file of this user's alone.
"""

from __future__ import annotations

import hmac
import os
import pickle
import stat
from pathlib import Path
from typing import Any

from harmviz.errors import RankLost, SealBroken

#: Length of the key, and of a seal (SHA-256).
KEY_BYTES = 32


def seal(value: Any, key: bytes) -> bytes:
    """The value as a pickle behind its HMAC-SHA256 under ``key``."""
    content = pickle.dumps(value)
    return hmac.digest(key, content, "sha256") + content


def unseal(sealed: bytes, key: bytes) -> Any:
    """The value that was sealed with this key; nothing of any other is read.

    Raises:
        SealBroken: the seal is broken, or of another key.
    """
    mark, content = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    if not hmac.compare_digest(mark, hmac.digest(key, content, "sha256")):
        raise SealBroken("a message came that no rank of this job has sent; it was not read, and the job ends here")
    return pickle.loads(content)


def read_key(path: Path) -> bytes:
    """The key in this file.

    Raises:
        RankLost: it is no key, or not this user's alone.
    """
    try:
        # One file from opening to reading: a path that is looked at and then opened can be another one by then.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            facts, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
    except OSError as e:
        raise RankLost(f"the key of this job cannot be read ({e.strerror}); all ranks must run as one user") from e
    alone = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
    if not alone or len(key) != KEY_BYTES:
        raise RankLost("the key of this job is not this user's alone; start all ranks with one torchrun, as one user")
    return key
