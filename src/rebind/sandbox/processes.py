"""Processes as this machine knows them: a pid and the time it was born, so that a reused pid is not taken for it."""

from __future__ import annotations

import contextlib
import os
import select
import signal


def born(pid: int) -> int | None:
    """Start time in clock ticks since boot; None if there is no such process, or it has ended and is not yet reaped."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def end(pid: int, born_at: int, grace: float) -> None:
    """SIGTERM, and SIGKILL if it still lives after `grace` seconds; returns when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # Only now is the pid sure to mean the same process until we are done.
        if born(pid) != born_at:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            if not _ended(descriptor, grace):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                _ended(descriptor, 10.0)
    finally:
        os.close(descriptor)


def _ended(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
