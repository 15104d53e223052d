"""Facts of the machine that a figure needs beside it; nothing that names the machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import rebind


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def _says(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    found = subprocess.run(command, capture_output=True, text=True)
    return (found.stdout or found.stderr).strip().splitlines()[0]


def facts() -> dict[str, str | int | float]:
    """Processor, cores, memory, kernel, load and versions."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory_mib": _memory() // 2**20,
        "kernel": platform.release(),
        "load": round(os.getloadavg()[0], 2),
        "user": "root" if os.getuid() == 0 else "ordinary user",
        "python": platform.python_version(),
        "rebind": rebind.__version__,
        "commit": _commit(),
        "podman": _says("podman", "--version"),
    }
