"""Where the dated index listens. The path of a Unix socket has room for about a hundred bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_ROOM = 95


def index_socket(data: Path) -> Path:
    """Below `data` if that is short enough, else below the temporary folder, named by a hash of `data` and our uid."""
    path = data / "run" / f"index-{os.getpid()}.sock"
    if len(os.fsencode(path)) <= _ROOM:
        return path
    key = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"rebind-{os.getuid()}-{key}" / path.name
