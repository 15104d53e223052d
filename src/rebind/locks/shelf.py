"""The locks of one set of needs, one for each date, on disk."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rebind.errors import LockError
from rebind.locks.labels import date_label
from rebind.locks.pylock import read_pylock, write_pylock
from rebind.locks.whole import write_whole
from rebind.values import Interpreter, LockedPlan

_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.toml\Z")


@dataclass(frozen=True, slots=True)
class Shelf:
    """One folder below data/locks. Files are written whole or not at all."""

    folder: Path

    def _path(self, when: datetime) -> Path:
        return self.folder / f"{date_label(when)}.toml"

    def read(self, when: datetime, interpreter: Interpreter) -> LockedPlan | None:
        """The lock of exactly that date. One that is damaged is set aside, and None."""
        path = self._path(when)
        try:
            locked = read_pylock(path.read_text(), interpreter)
        except FileNotFoundError:
            return None
        except (LockError, OSError, ValueError):
            locked = None
        if locked is None or not _whole(path, locked):
            with suppress(OSError):
                path.replace(path.with_suffix(".damaged"))
            return None
        return locked

    def write(self, when: datetime, locked: LockedPlan) -> None:
        write_whole(self._path(when), write_pylock(locked))

    def dates(self) -> list[datetime]:
        """Dates for which there is a lock."""
        try:
            names = [path.name for path in self.folder.iterdir() if _NAME.match(path.name)]
        except OSError:
            return []
        return sorted(datetime.fromisoformat(name.removesuffix(".toml")).astimezone(UTC) for name in names)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One resolution at a time over all processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _whole(path: Path, locked: LockedPlan) -> bool:
    """The digest written in the file is that of what stands in it."""
    return f'environment = "{locked.environment}"' in path.read_text()
