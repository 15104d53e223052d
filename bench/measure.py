"""Time, CPU time and memory of processes and their descendants, from /proc."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_KEPT = ("PATH", "HOME", "LANG", "TERM", "USER", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


class Failed(Exception):
    """A measured command did not do its work."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run cost, in seconds. `cpu` counts the command and all descendants that it waited for."""

    wall: float
    cpu: float
    output: str = ""


def environ(**further: str) -> dict[str, str]:
    """A plain environment: nothing of the developer's settings for Python, pip, uv or rebind."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PIP_CERT": kept.get("SSL_CERT_FILE", ""), **further} if "SSL_CERT_FILE" in kept else kept | further


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Spent:
    """Runs a command to its end. Raises Failed with the end of its output if its code is not zero."""
    before = os.times()
    started = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in argv],
        env=environ() if env is None else dict(env),
        cwd=cwd,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    wall = time.perf_counter() - started
    after = os.times()
    if done.returncode:
        raise Failed(f"{argv[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    spent = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    return Spent(wall, spent, done.stdout)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def children() -> dict[int, list[int]]:
    """Parent -> children, of all processes."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    return found


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    below = children()
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += below.get(one, [])
    return found


def cpu(pids: Sequence[int]) -> float:
    """CPU seconds of these processes so far, and of those children of theirs that have ended."""
    total = 0
    for pid in pids:
        try:
            total += sum(int(ticks) for ticks in _stat(pid)[11:15])
        except OSError:
            continue
    return total / _TICK


def precise_cpu(pids: Sequence[int]) -> float:
    """As `cpu`, to the nanosecond, but only of live processes: clock ticks are too coarse for a session's start."""
    total = 0
    for pid in pids:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total / 1e9


def pss(pids: Sequence[int]) -> float:
    """MiB of memory, shared pages counted by their share."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(_stat(pid)[1])
