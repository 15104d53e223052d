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


def is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_a_server_that_is_warm_is_in_use_without_any_session(server: Path) -> None:
    path = Path(tempfile.mkdtemp(prefix="rb-"))
    engine = ProcessEngine(path / "s", server)
    try:
        assert not is_held(server.parent)
        engine.prepare()
        assert is_held(server.parent)
        engine.close()
        assert not is_held(server.parent)
    finally:
        engine.close()
        shutil.rmtree(path, ignore_errors=True)
