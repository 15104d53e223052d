"""Control groups: memory, CPU and number of processes of a sandbox, for version 2 (also delegated to a user) and 1.

What cannot be had falls back to limits of single processes (`privileges.set_limits`), and `capabilities()` says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rebind.values import Limits

ROOT = Path("/sys/fs/cgroup")
PREFIX = "rebind-"
CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD = 100_000  # microseconds, the kernel's default for CPU quotas
_STALE = 60.0
"""An empty group older than this many seconds belongs to nobody: its owner was killed."""


@dataclass(frozen=True)
class Place:
    """Where groups can be made for some controllers."""

    folder: Path
    version: int
    controllers: frozenset[str]


def places(root: Path = ROOT, own: str | None = None) -> tuple[Place, ...]:
    """Folders of the control group tree where this process may make groups; none if the machine does not allow it.

    `own` is the text of /proc/self/cgroup.
    """
    if own is None:
        try:
            own = Path("/proc/self/cgroup").read_text()
        except OSError:
            return ()
    entries = [line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2]
    unified = [path for number, names, path in entries if number == "0" and not names]
    found = _unified(root, unified[0]) if unified and (root / "cgroup.controllers").exists() else None
    if found is not None:
        return (found,)
    return tuple(filter(None, (_split(root, names, path) for _, names, path in entries)))


def _unified(root: Path, path: str) -> Place | None:
    """The nearest group upwards that hands down controllers, or can be made to."""
    folder = root / path.lstrip("/")
    for each in (folder, *folder.parents):
        if not each.is_relative_to(root) or not os.access(each, os.W_OK):
            continue
        with contextlib.suppress(OSError):
            available = set((each / "cgroup.controllers").read_text().split()) & set(CONTROLLERS)
            _hand_down(each, available)
            given = set((each / "cgroup.subtree_control").read_text().split()) & available
            if given:
                return Place(each, 2, frozenset(given))
    return None


def _hand_down(folder: Path, controllers: set[str]) -> None:
    control = folder / "cgroup.subtree_control"
    for name in controllers - set(control.read_text().split()):
        # Refused where the group itself holds processes.
        with contextlib.suppress(OSError):
            control.write_text(f"+{name}")


def _split(root: Path, names: str, path: str) -> Place | None:
    controllers = set(names.split(",")) & set(CONTROLLERS)
    for mounted in (names, *sorted(controllers)):
        for folder in (root / mounted / path.lstrip("/"), root / mounted):
            if controllers and folder.is_dir() and os.access(folder, os.W_OK):
                return Place(folder, 1, frozenset(controllers))
    return None


def settings(limits: Limits, version: int) -> dict[str, tuple[tuple[str, str], ...]]:
    """Controller -> files to write, in order. Files whose name starts with `?` may be absent (no swap accounting)."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    if limits.memory is not None and version == 2:
        found["memory"] = (("memory.max", str(limits.memory)), ("?memory.swap.max", "0"), ("?memory.oom.group", "0"))
    elif limits.memory is not None:
        text = str(limits.memory)
        found["memory"] = (("memory.limit_in_bytes", text), ("?memory.memsw.limit_in_bytes", text))
    if limits.cpus is not None:
        quota = max(1000, int(limits.cpus * _PERIOD))
        files = {2: (("cpu.max", f"{quota} {_PERIOD}"),)}
        found["cpu"] = files.get(version, (("cpu.cfs_period_us", str(_PERIOD)), ("cpu.cfs_quota_us", str(quota))))
    if limits.processes is not None:
        found["pids"] = (("pids.max", str(limits.processes)),)
    return found


class Group:
    """The control groups of one sandbox. Made before it starts; the pid is moved in before it forks."""

    def __init__(self, folders: Mapping[Path, frozenset[str]] | None = None) -> None:
        self._folders = dict(folders or {})

    @property
    def holds(self) -> frozenset[str]:
        """The controllers that hold: of `memory`, `cpu`, `pids`."""
        return frozenset[str]().union(*self._folders.values())

    @classmethod
    def make(cls, name: str, limits: Limits, where: tuple[Place, ...] | None = None) -> Group:
        """Makes the groups that the limits ask for, as far as this machine allows; never raises."""
        wanted = limits.memory is not None or limits.cpus is not None or limits.processes is not None
        if not wanted:
            return cls()
        where = places() if where is None else where
        sweep(where)
        made = (_make(place, f"{PREFIX}{_plain(name)}", limits) for place in where)
        return cls(dict(filter(None, made)))

    @classmethod
    def of(cls, name: str, where: tuple[Place, ...] | None = None) -> Group:
        """The groups that exist under this name, to remove them after a restart of their owner."""
        where = places() if where is None else where
        found = (place.folder / f"{PREFIX}{_plain(name)}" for place in where)
        return cls({folder: frozenset() for folder in found if folder.is_dir()})

    @property
    def holds_memory(self) -> bool:
        return "memory" in self.holds

    def add(self, pid: int) -> None:
        """Moves a process in; what it forks from then on is in as well. A group that does not take it holds nothing."""
        for folder in tuple(self._folders):
            try:
                (folder / "cgroup.procs").write_text(str(pid))
            except OSError:  # a group that may be made but not entered, or the process is gone
                del self._folders[folder]
                _remove(folder)

    def remove(self, patience: float = 2.0) -> None:
        """Removes the groups; waits a little for processes that are just ending."""
        deadline = time.monotonic() + patience
        for folder in self._folders:
            while not _remove(folder) and time.monotonic() < deadline:
                time.sleep(0.01)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", name)[:100] or f"{os.getpid()}-{time.monotonic_ns()}"


def _make(place: Place, name: str, limits: Limits) -> tuple[Path, frozenset[str]] | None:
    wanted = {key: files for key, files in settings(limits, place.version).items() if key in place.controllers}
    if not wanted:
        return None
    folder = place.folder / name
    try:
        folder.mkdir(exist_ok=True)
        for files in wanted.values():
            for file, text in files:
                _write(folder, file, text)
    except OSError:
        _remove(folder)
        return None
    return folder, frozenset(wanted)


def _write(folder: Path, file: str, text: str) -> None:
    if file.startswith("?"):
        with contextlib.suppress(OSError):
            (folder / file[1:]).write_text(text)
    else:
        (folder / file).write_text(text)


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def sweep(where: tuple[Place, ...] | None = None) -> None:
    """Removes groups of dead owners: empty ones that are not brand new."""
    for place in places() if where is None else where:
        with contextlib.suppress(OSError):
            for folder in place.folder.glob(f"{PREFIX}*"):
                with contextlib.suppress(OSError):
                    if time.time() - folder.stat().st_mtime > _STALE:
                        folder.rmdir()  # refused by the kernel while a process is inside
