"""Names a process so that it can be known later whether it still lives: `<pid>:<start time>`."""

from __future__ import annotations

import os
from pathlib import Path


def born(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), stat field 22); None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def myself() -> str:
    """The owner that stands for this process."""
    pid = os.getpid()
    return f"{pid}:{born(pid)}"


def alive(owner: str) -> bool:
    """Whether the process of that name still runs; a reused pid is not taken for it."""
    pid, _, start = owner.partition(":")
    return pid.isdigit() and start.isdigit() and born(int(pid)) == int(start)
