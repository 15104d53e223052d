"""What the process engine keeps from being cleaned away."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from rebind.engines.process import ProcessEngine

pytestmark = [pytest.mark.session, pytest.mark.network]


def holding(path: Path) -> int:
    """How many descriptors of this process hold a directory."""
    links = [link for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == str(path)]
    if links:
        descriptor = os.open(path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    return len(links)


def test_a_server_that_is_warm_is_in_use_without_any_session(server: Path) -> None:
    path = Path(tempfile.mkdtemp(prefix="rb-"))
    engine = ProcessEngine(path / "s", server)
    try:
        before = holding(server.parent)
        engine.prepare()
        assert holding(server.parent) == before + 1
        engine.close()
        assert holding(server.parent) == before
    finally:
        engine.close()
        shutil.rmtree(path, ignore_errors=True)
