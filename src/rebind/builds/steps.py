"""A stranger's command in a sandbox: its lines reported, its last ones kept, its time and disk bounded."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rebind.builds.store import Say, StoppedError, full
from rebind.errors import BuildError, DeadlineError, ScriptError
from rebind.sandbox import Confinement

LAST_LINES = 60
LEAST_FREE = 64 << 20  # of the disk: below it a failure is the disk's
LOOK_EVERY = 1.0
TICK = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    last: tuple[str, ...]

    @property
    def detail(self) -> str:
        return "\n".join(self.last)


def run_step(
    confinement: Confinement,
    argv: Sequence[str],
    *,
    say: Say,
    written: Path,
    hold: int,
    timeout: float | None,
    name: str,
    stop: threading.Event | None = None,
) -> Outcome:
    """Runs one command. `written`: where it can write on our disk, watched for `limits.disk`; `hold`: a descriptor that
    stays open as long as the sandbox lives; `name`: what it is, for messages ("postBuild"); `stop` ends it.

    Raises ScriptError (too long, too much), DiskError, SandboxError, StoppedError.
    """
    from rebind.sandbox import run

    last: deque[str] = deque(maxlen=LAST_LINES)

    def on_line(line: str) -> None:
        last.append(line)
        say(line)

    stop = stop or threading.Event()
    with _watching(written, confinement.limits.disk, hold, stop) as watch:
        try:
            code = run(confinement, argv, on_line=on_line, timeout=timeout, keep_fds=(hold,))
        except DeadlineError as error:
            raise ScriptError(
                f"{name} took longer than {timeout:.0f} seconds.",
                remedy="Make it shorter, or raise the limit for builds (the setting build_timeout).",
                detail="\n".join(last),
            ) from error
    if stop.is_set():
        raise StoppedError(f"{name} was stopped.")
    if watch.exceeded:
        raise ScriptError(
            f"{name} wrote more than the {watch.limit / 1e6:.0f} MB that a build may have.",
            remedy="Write less, or raise the disk limit for builds.",
            detail="\n".join(last),
        )
    if code and shutil.disk_usage(written).free < LEAST_FREE:
        raise full(written)
    return Outcome(code, tuple(last))


class _Watch:
    """Looks at the size of a tree from time to time and ends what writes it when it is too large."""

    def __init__(self, path: Path, limit: int, hold: int, stopped: threading.Event) -> None:
        self.limit = limit
        self.exceeded = False
        self._path, self._hold, self._stopped = path, hold, stopped
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="rebind-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        due = time.monotonic() + LOOK_EVERY
        while not self._done.wait(TICK):
            if self._stopped.is_set():
                _end_holders(self._hold)
            elif self.limit and time.monotonic() > due:
                began = time.monotonic()
                if size_of(self._path) > self.limit:
                    self.exceeded = True
                    _end_holders(self._hold)
                due = time.monotonic() + max(LOOK_EVERY, 5 * (time.monotonic() - began))


@contextlib.contextmanager
def _watching(path: Path, limit: int | None, hold: int, stopped: threading.Event) -> Iterator[_Watch]:
    watch = _Watch(path, limit or 0, hold, stopped)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def size_of(path: Path) -> int:
    """Bytes on the disk below a directory that others may be changing; links are not followed."""
    total, waiting = 0, [str(path)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
        except OSError:
            continue
    return total


def _end_holders(hold: int) -> None:
    """Kills the sandboxes that we started with this descriptor; all that is inside ends with each."""
    wanted = os.fstat(hold)
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, _text(children).split()):
            if _holds(pid, wanted):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _holds(pid: int, wanted: os.stat_result) -> bool:
    for link in _list(Path(f"/proc/{pid}/fd")):
        with contextlib.suppress(OSError):
            if os.path.samestat(link.stat(), wanted):
                return True
    return False


def _list(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def failed(name: str, outcome: Outcome, remedy: str, kind: type[BuildError] = BuildError) -> BuildError:
    """The error for a command that ended badly, with its last lines."""
    why = f"ended with code {outcome.code}"
    if outcome.code == 137:
        why = "was killed, probably because it needs more memory than a build may have"
    return kind(f"{name} {why}.", remedy=remedy, detail=outcome.detail)
