"""Names a process so that it can be known later whether it still lives: `<pid>:<start time>`."""

from __future__ import annotations

import os

from rebind.sandbox.processes import born


def myself() -> str:
    """The owner that stands for this process."""
    pid = os.getpid()
    return f"{pid}:{born(pid)}"


def alive(owner: str) -> bool:
    """Whether the process of that name still runs; a reused pid is not taken for it."""
    pid, _, start = owner.partition(":")
    return pid.isdigit() and start.isdigit() and born(int(pid)) == int(start)
