"""rebind as a command, with a data directory of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from bench.measure import Failed, Spent, environ, run

REBIND = Path(sys.executable).parent / "rebind"
_FORGETTABLE = ("locks", "prepared", "store/environments", "store/layers")


class Rebind:
    """The command line on one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *argv: str | Path) -> Spent:
        return run([REBIND, *argv, "--data", self.data], env=environ())

    def build(self, repository: Path) -> Spent:
        """Makes the environment of a repository; its digest is the output. Raises Failed."""
        return self("build", repository)

    def lock(self, repository: Path) -> str:
        """The environment's digest."""
        lines = self("lock", "--json", repository).output.splitlines()
        return str(json.loads(lines[-1])["environment"])

    def kept(self) -> set[Path]:
        """Locks, environments and layers that are there now."""
        found = set()
        for kind in _FORGETTABLE:
            if (self.data / kind).is_dir():
                found |= set((self.data / kind).iterdir())
        return found

    def forget(self, since: set[Path], *, locks: bool) -> None:
        """Removes what was made after `since` but the wheels, downloads and index pages (the warm cache)."""
        fresh = self.kept() - since
        if not fresh:
            raise Failed(f"nothing new below {', '.join(_FORGETTABLE)}: the directory's layout has changed")
        for path in fresh:
            if path.parent.name == "locks" and not locks:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
