"""Which Python an environment gets (builder spec 1.5, 1.6): the stated one, else the one of the day."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from uv import find_uv_bin

from rebind.errors import InterpreterError
from rebind.locks.releases import DEFAULT, RELEASED, default_minor, movable, order
from rebind.locks.scan import Places, scan
from rebind.values import Interpreter, PythonNeed

_STATED = re.compile(r"\d+(\.\d+){0,2}\Z")
_FORGIVEN_AFTER = 600.0
_PATCHES = 40


_SCAN_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The interpreter, and what its reader should know about how it was chosen."""

    interpreter: Interpreter
    notes: tuple[str, ...] = ()


class Interpreters:
    """The CPythons of this machine, and uv's own where the machine lacks one.

    `data` is the installation's folder: uv's go to `python/`, the scan is remembered in `interpreters.json`.
    """

    def __init__(self, data: Path, *, download: bool = True, places: Places | None = None) -> None:
        self._data = data
        self._download = download
        self._places = places
        self._scanned: tuple[float, tuple[Interpreter, ...]] | None = None

    def all(self) -> tuple[Interpreter, ...]:
        """Every usable interpreter. Looked for anew every few seconds: listing the folders takes 20 ms."""
        now = time.monotonic()
        if self._scanned is None or now - self._scanned[0] > _SCAN_EVERY:
            found = scan(self._places or Places.here(self._data / "python"), self._data / "interpreters.json")
            self._scanned = (now, found)
        return self._scanned[1]

    def find(self, need: PythonNeed, when: datetime) -> Interpreter:
        """The interpreter for a need as of a date. Raises InterpreterError."""
        return self.choose(need, when).interpreter

    def by_version(self, version: str) -> Interpreter:
        """The interpreter of an exact version, or the newest of a minor. Raises InterpreterError."""
        found = self._have(version) or self._fetch(version)
        if found is None:
            raise self._absent(version, "")
        return found

    def choose(self, need: PythonNeed, when: datetime) -> Choice:
        """As `find`, with notes. A stated version is kept or refused; a default may give way to a neighbour."""
        stated = need.version
        if stated is not None and not _STATED.match(stated):
            raise InterpreterError(f"'{stated}' is no version of Python", remedy="Write it as in `python-3.10`.")
        if stated == "2":
            stated = "2.7"
        if stated is not None and "." in stated:
            return self._stated(stated, need)
        if stated not in (None, "3"):
            raise self._absent(str(stated), need.stated_in)
        if need.requires:
            return self._required(need, when)
        return self._default(DEFAULT if stated == "3" else default_minor(when))

    def _stated(self, version: str, need: PythonNeed) -> Choice:
        minor = ".".join(version.split(".")[:2])
        if minor not in RELEASED:
            raise InterpreterError(
                f"Python {version}{_where(need.stated_in)} is not supported",
                remedy=f"Supported are {', '.join(RELEASED)}.",
            )
        found = self._have(version) or self._fetch(version)
        notes: tuple[str, ...] = ()
        if found is None and version != minor:
            found = self._have(minor) or self._fetch(minor)
            if found is not None:
                notes = (f"Python {version} cannot be had here; {found.version} is used in its place.",)
        if found is None:
            raise self._absent(version, need.stated_in)
        if need.requires and not _allows(_specifiers(need), found.version):
            raise InterpreterError(
                f"Python {version}{_where(need.stated_in)} does not satisfy requires-python '{need.requires}'",
                remedy="Change one of the two.",
            )
        return Choice(found, notes)

    def _required(self, need: PythonNeed, when: datetime) -> Choice:
        """Default if it satisfies, else the newest minor of that day that does, by real patch levels (spec 1.6)."""
        wanted = _specifiers(need)
        fitting = [
            minor for minor in movable(when) if any(_allows(wanted, f"{minor}.{patch}") for patch in range(_PATCHES))
        ]
        if not fitting:
            raise InterpreterError(
                f"no supported Python satisfies requires-python '{need.requires}'{_where(need.stated_in)}",
                remedy=f"Supported are {', '.join(RELEASED)}.",
            )
        here = self.all()
        for minor in fitting:
            exact = [python for python in here if python.minor == minor and _allows(wanted, python.version)]
            if exact:
                return Choice(max(exact, key=lambda python: order(python.version)))
            fetched = self._fetch(_patch(minor, wanted))
            if fetched is not None:
                return Choice(fetched)
        near = [python for minor in fitting for python in here if python.minor == minor]
        if near:
            note = f"requires-python '{need.requires}' wants another patch release; {near[0].version} is used."
            return Choice(near[0], (note,))
        raise self._absent(fitting[0], need.stated_in)

    def _default(self, minor: str) -> Choice:
        found = self._have(minor) or self._fetch(minor)
        if found is not None:
            return Choice(found)
        here = [python for python in self.all() if python.minor in RELEASED and order(python.minor) >= (3, 6)]
        if not here:
            raise self._absent(minor, "")
        nearest = min(here, key=lambda python: (abs(order(python.version)[1] - order(minor)[1]), order(python.version)))
        note = (
            f"no file states a Python; the one of that day, {minor}, is not on this machine and cannot be fetched: "
            f"{nearest.version} is used."
        )
        return Choice(nearest, (note,))

    def _have(self, version: str) -> Interpreter | None:
        parts = order(version)
        fitting = [python for python in self.all() if order(python.version)[: len(parts)] == parts]
        return max(fitting, key=lambda python: order(python.version), default=None)

    def _fetch(self, version: str) -> Interpreter | None:
        """uv's own build of that version; None when it cannot be had. A failure is remembered for ten minutes."""
        folder = self._data / "python"
        failed = folder / f".failed-{version}"
        if not self._download or order(version) < (3, 8) or _fresh(failed):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        if not _install(version, folder):
            failed.touch()
            os.utime(failed)
            return None
        failed.unlink(missing_ok=True)
        return self._have(version)

    def _absent(self, version: str, stated_in: str) -> InterpreterError:
        here = ", ".join(sorted({python.version for python in self.all()}, key=order)) or "none"
        return InterpreterError(
            f"Python {version}{_where(stated_in)} is not on this machine and cannot be fetched",
            detail=f"There are: {here}.",
            remedy=f"Install it (`uv python install {version}`, pyenv, a package of the system) and launch again.",
        )


def _install(version: str, folder: Path) -> bool:
    kept = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "UV_PYTHON_INSTALL_MIRROR")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "0", "UV_PYTHON_INSTALL_DIR": str(folder)}
    argv = [find_uv_bin(), "python", "install", "--no-config", "--no-progress", "--no-bin", version]
    try:
        done = subprocess.run(argv, env=env, cwd="/", capture_output=True, stdin=subprocess.DEVNULL, timeout=180)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _fresh(failed: Path) -> bool:
    try:
        return time.time() - failed.stat().st_mtime < _FORGIVEN_AFTER
    except OSError:
        return False


def _where(stated_in: str) -> str:
    return f" ({stated_in})" if stated_in else ""


def _specifiers(need: PythonNeed) -> SpecifierSet:
    try:
        return SpecifierSet(need.requires)
    except InvalidSpecifier:
        raise InterpreterError(
            f"requires-python '{need.requires}'{_where(need.stated_in)} cannot be understood",
            remedy="Write it as in `>=3.9`.",
        ) from None


def _allows(wanted: SpecifierSet, version: str) -> bool:
    return wanted.contains(version, prereleases=True)


def _patch(minor: str, wanted: SpecifierSet) -> str:
    """The minor itself, or the exact release where only that one will do."""
    fitting = [f"{minor}.{patch}" for patch in range(_PATCHES) if _allows(wanted, f"{minor}.{patch}")]
    return fitting[0] if len(fitting) == 1 else minor
