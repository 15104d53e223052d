"""A folder for one resolution and the sandbox around it. What strangers' build code leaves there is read with care."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from uv import find_uv_bin

from rebind.errors import DeadlineError, LockError
from rebind.locks.question import Question
from rebind.sandbox import SANDBOX_UID, Bind, Confinement, Mount, Overlay, base_mounts, with_system
from rebind.values import HOME, REPO_DIR, USER, Event, Limits, Phase, Report

UV = "/opt/rebind/bin/uv"
WORK = "/tmp/lock"
"""The folder as the sandbox sees it."""
CERTIFICATES = "/opt/rebind/certificates.pem"
SLOWEST = 1800.0
_SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_LARGEST = 64 * 1024 * 1024
_MOST_LINES = 2000
_LIMITS = Limits(memory=4 * 2**30, processes=1024, disk=10 * 2**30)
_LINE = re.compile(r"[\r\n]")


class EgressAddress(Protocol):
    """Where the egress proxy is; `rebind.sandbox.Egress` is one."""

    @property
    def proxy_url(self) -> str: ...
    @property
    def socket(self) -> Path: ...


class RunConfined(Protocol):
    """`rebind.sandbox.run`, or what stands for it."""

    def __call__(
        self,
        confinement: Confinement,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], None] | None = None,
        timeout: float | None = None,
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where resolvers work. `owner`: whom the sandbox's files must belong to (as root)."""

    data: Path
    egress: EgressAddress
    run_confined: RunConfined
    owner: int | None = None

    @contextmanager
    def desk(self) -> Iterator[Path]:
        """A folder for one run, on the file system of the data."""
        parent = self.data / "locks" / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        desk = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield desk
        finally:
            shutil.rmtree(desk, ignore_errors=True)

    def run(
        self,
        question: Question,
        root: Path,
        desk: Path,
        argv: Sequence[str],
        report: Report,
        variables: Mapping[str, str],
    ) -> tuple[int, str]:
        """Exit code and output of a command inside the sandbox, which sees `desk` as WORK. Raises LockError."""
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            if line.strip() and len(lines) < _MOST_LINES:
                report(Event(Phase.BUILDING, line.rstrip() + "\n"))

        self._give(desk)
        if question.needs.local:
            self._give(root)  # a package is built in its own folder
        confinement = self._confinement(question, root, desk, variables)
        try:
            code = self.run_confined(confinement, argv, on_line=on_line, timeout=SLOWEST)
        except DeadlineError:
            raise too_slow(question) from None
        return code, "\n".join(lines)

    def _confinement(self, question: Question, root: Path, desk: Path, extra: Mapping[str, str]) -> Confinement:
        python = question.interpreter
        system = question.system() if question.system else None
        base = with_system(base_mounts(), system.path) if system else base_mounts()
        mounts: list[Mount] = [*base, Bind(Path(find_uv_bin()), UV), Overlay(HOME, ())]
        if python.mount is not None:
            # also at its own place: an interpreter with a shared libpython looks for it by that path
            mounts += [Bind(python.prefix, python.mount), Bind(python.prefix, str(python.prefix))]
        if question.needs.local or any(option.startswith("--find-links") for option in question.needs.options):
            mounts.append(Overlay(REPO_DIR, (root,)))
        mounts.append(Bind(desk, WORK, writable=True))
        variables = {
            "HOME": HOME,
            "USER": USER,
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "NO_COLOR": "1",
            "PIP_CONFIG_FILE": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            **extra,
        }
        certificates = Path(os.environ.get("SSL_CERT_FILE") or _SYSTEM_CERTIFICATES)
        if certificates.is_file():
            mounts.append(Bind(certificates, CERTIFICATES))
            variables |= {"SSL_CERT_FILE": CERTIFICATES, "PIP_CERT": CERTIFICATES}
        return Confinement(
            mounts=tuple(mounts),
            variables=tuple(variables.items()),
            cwd=REPO_DIR,
            limits=_LIMITS,
            egress=self.egress.socket,
            name=f"lock-{desk.name}",
            owner=SANDBOX_UID if self.owner is None else self.owner,
        )

    def _give(self, folder: Path) -> None:
        """Let the folder belong to the sandbox's user: an overlay is writable only over files of that user."""
        if self.owner is None or os.getuid() != 0:
            return
        for place, folders, files in os.walk(folder):
            for name in ("", *folders, *files):
                os.chown(Path(place, name), self.owner, self.owner, follow_symlinks=False)


def _sweep(parent: Path) -> None:
    """Removes what a killed process left behind: no run lasts a day."""
    for left in parent.iterdir():
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 86400:
                shutil.rmtree(left, ignore_errors=True)


def too_slow(question: Question) -> LockError:
    return LockError(
        f"finding the packages {question.described} took more than {SLOWEST / 60:.0f} minutes",
        remedy="Pin the packages that are built from source.",
    )


def write_inputs(question: Question, desk: Path, *, local: bool) -> None:
    """The requirements and constraints as files. Raises LockError for a line that is none."""
    needs = question.needs
    lines = (
        [*needs.lines, *(local_line(package.path, package.extras) for package in needs.local)] if local else needs.lines
    )
    for line in (*lines, *needs.constraints):
        if _LINE.search(line) or line.lstrip().startswith("-"):
            raise LockError(f"the requirement {line!r} is not understood")
    (desk / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))
    (desk / "constraints.txt").write_text("".join(f"{line}\n" for line in needs.constraints))


def local_line(path: str, extras: tuple[str, ...]) -> str:
    """A package of the repository as a requirement, at its place inside the sandbox."""
    full = REPO_DIR if path == "." else f"{REPO_DIR}/{path.removeprefix('./')}"
    return full + (f"[{','.join(extras)}]" if extras else "")


def read_untrusted(path: Path) -> str:
    """A file that strangers' code could write: no link is followed, nothing but a plain file of fair size is read."""
    try:
        with open(path, "rb", opener=_opened_without_following) as file:
            data = file.read(_LARGEST + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        raise LockError("the resolver left no lock file", remedy="Launch again.") from None
    if not data or len(data) > _LARGEST:
        raise LockError("the resolver left a lock file that cannot be used")
    return data.decode("utf-8", "replace")


def _opened_without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
