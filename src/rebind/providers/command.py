"""Runs git: scrubbed, watched (time, size), its progress passed on, and dead when its caller is."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rebind.errors import RepositoryError
from rebind.providers.access import Access
from rebind.providers.addresses import GitURL
from rebind.values import Event, Phase, Report

# Beside git waits a process for the end of its caller, which it notices by a pipe, and then ends the whole group: git
# clears its half-made files away at SIGTERM, while its helpers may hang in a network that says nothing.
_WATCHED = """
(trap "" TERM; test -e "/dev/fd/$0" || exit 0; read -r _ <"/dev/fd/$0"
 kill -TERM -$$; sleep 0.5; kill -KILL -$$) </dev/null >/dev/null 2>&1 &
"$@"; code=$?; kill -KILL $!; wait $! 2>/dev/null; exit $code
"""
_KEPT = 64 * 1024
_LONGEST = 512 * 2**20  # of what git may write: a stranger's server may list names without end
_LINE_END = re.compile(rb"(?<=\n)|(?<=\r)(?=[^\n])")  # ssh ends its lines with both
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Watch:
    """What a running fetch may use, and who is told of it."""

    report: Report | None = None
    deadline: float | None = None
    """On the monotonic clock."""
    size: Callable[[], int] | None = None
    max_bytes: int | None = None
    named: str = "the repository"

    def check(self) -> None:
        """Raises RepositoryError when a limit is passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise RepositoryError(
                f"Fetching {self.named} took longer than is allowed and was stopped.",
                remedy="Try again later, or raise the setting fetch_timeout.",
            )
        if self.size and self.max_bytes and self.size() > self.max_bytes:
            raise too_large(self.named, self.max_bytes)


def too_large(named: str, max_bytes: int) -> RepositoryError:
    """The error for a repository over the limit."""
    shown = f"{max_bytes / 2**30:.1f} GB" if max_bytes >= 2**29 else f"{max_bytes / 2**20:.1f} MB"
    return RepositoryError(
        f"{named} is larger than the {shown} that may be fetched.",
        remedy="Keep large data elsewhere and load it in the session, or raise the setting fetch_disk.",
    )


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that has ended."""

    code: int
    out: bytes
    error: str

    @property
    def text(self) -> str:
        return self.out.decode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Call:
    """One git command."""

    arguments: Sequence[str]
    git_dir: Path | None = None
    work_tree: Path | None = None
    url: GitURL | None = None
    """Whom it may talk to."""
    options: tuple[str, ...] = ()
    """Further settings, `name=value`."""
    stdin: bytes | None = None
    keep: tuple[int, ...] = ()
    """Descriptors that git inherits: a lock is then held until git itself has ended."""
    watch: Watch | None = None
    variables: dict[str, str] = field(default_factory=dict)


class Program:
    """A program that talks to repositories, with one policy."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def run(self, call: Call) -> Finished:
        """Runs to the end. Raises RepositoryError if it is missing or a limit is passed; never for its exit code."""
        self.access.prepare()
        with tempfile.TemporaryFile() as given:
            given.write(call.stdin or b"")
            given.seek(0)
            lifeline, held = os.pipe()
            try:
                process = self._start(call, given, lifeline)
            except BaseException:
                os.close(held)
                raise
            finally:
                os.close(lifeline)
            try:
                return self._follow(process, call.watch)
            finally:
                os.close(held)
                _end(process)

    def _start(self, call: Call, given: IO[bytes], lifeline: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, str(lifeline), *self.command(call), *call.arguments],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(call) | call.variables,
            cwd=call.work_tree or self.access.home,
            start_new_session=True,
            pass_fds=(lifeline, *call.keep),
        )

    def command(self, call: Call) -> list[str]:
        """The program and its options. Raises RepositoryError if it is missing."""
        raise NotImplementedError

    def environment(self, call: Call) -> dict[str, str]:
        """Its variables, and no others."""
        return self.access.environment(call.url)

    def _follow(self, process: subprocess.Popen[bytes], watch: Watch | None) -> Finished:
        out = bytearray()
        said = _Said(watch.report if watch else None, self.access.secrets())
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ)
            checked = time.monotonic()
            while selector.get_map():
                for key, _ in selector.select(timeout=0.2 if watch else None):
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        out += data
                        if len(out) > _LONGEST:
                            raise RepositoryError("The repository names more files or refs than can be read.")
                    else:
                        said.take(data)
                if watch and time.monotonic() - checked > 0.2:
                    watch.check()
                    checked = time.monotonic()
        return Finished(process.wait(), bytes(out), said.all())


class Git(Program):
    """git."""

    def command(self, call: Call) -> list[str]:
        command = [program("git", "git"), "--no-pager", *self.access.options()]
        command += [part for option in call.options for part in ("-c", option)]
        if call.git_dir is not None:
            command.append(f"--git-dir={call.git_dir}")
        if call.work_tree is not None:
            command.append(f"--work-tree={call.work_tree}")
        return command


def program(name: str, package: str) -> str:
    """The path of a program. Raises RepositoryError if it is missing."""
    path = shutil.which(name)
    if path is None:
        raise RepositoryError(
            f"The program {name} is not installed.", remedy=f"Install {package} (Debian: apt install {package})."
        )
    return path


class _Said:
    """What git says on standard error: passed on a line at a time, and kept for the error message."""

    def __init__(self, report: Report | None, secrets: list[str]) -> None:
        self.report = report
        self.secrets = secrets
        self.lines: list[str] = []
        self.rest = b""
        self.shown = 0.0

    def take(self, data: bytes) -> None:
        *whole, self.rest = _LINE_END.split(self.rest + data)
        self.rest = self.rest[-_KEPT:]
        for piece in whole:
            self._line(piece)

    def all(self) -> str:
        if self.rest:
            self._line(self.rest + b"\n")
            self.rest = b""
        return "\n".join(self.lines)

    def _line(self, piece: bytes) -> None:
        # A server's own text is shown to people, in a terminal too: no escape sequence of it gets through.
        text = _CONTROL.sub("", piece.decode(errors="replace")).strip()
        for secret in self.secrets:
            text = text.replace(secret, "***")
        if not text:
            return
        passing = piece.endswith(b"\r")
        if not passing:
            self.lines = [*self.lines[-200:], text[:2000]]
        now = time.monotonic()
        if self.report is not None and (not passing or now - self.shown > 0.5):
            self.shown = now
            self.report(Event(Phase.FETCHING, f"{text[:2000]}\n"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends git and all that it started, if it has not ended by itself."""
    try:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                return
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
