"""Asks uv: on this machine itself while nothing has to be built, else in the sandbox, where strangers' code belongs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from uv import find_uv_bin

from rebind.errors import DeadlineError, LockError
from rebind.locks.question import INDEX_URL, Question, uv_options
from rebind.sandbox import SANDBOX_UID, Bind, Confinement, Mount, Overlay, base_mounts
from rebind.values import HOME, REPO_DIR, USER, Event, Limits, Phase, Report

_REFUSED = "/wheels-only/files/"
_UV = "/opt/rebind/bin/uv"
_CERTIFICATES = "/opt/rebind/certificates.pem"
_WORK = "/tmp/lock"
_SLOWEST = 1800.0
_LARGEST = 64 * 1024 * 1024
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


class UnresolvableError(LockError):
    """The resolver found that the needs contradict each other or the date; `detail` is its explanation."""


class _NeedsBuildError(Exception):
    """The resolver wants a source package."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """uv with what it needs. `owner`: whom the sandbox's files must belong to (as root)."""

    data: Path
    egress: EgressAddress
    run_confined: RunConfined
    owner: int | None = None

    def resolve(self, question: Question, root: Path, report: Report) -> str:
        """The text of uv's pylock.toml. Raises UnresolvableError, LockError."""
        if not question.builds:
            try:
                return self._here(question)
            except _NeedsBuildError as wanted:
                report(Event(Phase.BUILDING, f"{wanted} says what it needs only when it is built\n"))
        return self._confined(question, root, report)

    def _here(self, question: Question) -> str:
        index = f"{INDEX_URL}/{question.label}/wheels-only/simple/"
        with self._desk() as desk:
            write_inputs(question, desk, ())
            argv = [find_uv_bin(), *_compile(question, str(question.interpreter.executable), index, str(self._cache()))]
            done = subprocess.run(
                argv, cwd=desk, env=self._environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SLOWEST
            )
            errors = done.stderr.decode(errors="replace")
            if done.returncode == 0:
                return (desk / "pylock.toml").read_text()
        if _REFUSED in errors:
            raise _NeedsBuildError(errors.split(_REFUSED, 1)[1].split("/")[0])
        raise _failure(question, errors)

    def _environment(self) -> dict[str, str]:
        """Nothing of the machine's pip or uv settings; every request goes through the egress proxy."""
        proxy = self.egress.proxy_url
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.data / "uv"),
            "HTTP_PROXY": proxy,
            "HTTPS_PROXY": proxy,
            "UV_HTTP_RETRIES": "0",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }

    def _cache(self) -> Path:
        """uv's cache, a new one each quarter, so that pages of past dates do not pile up for ever."""
        now = datetime.now(UTC)
        name = f"{now.year}-{(now.month - 1) // 3 + 1}"
        folder = self.data / "uv"
        if not (folder / name).is_dir():
            for old in sorted(folder.glob("[0-9]*-[1-4]"))[:-1]:
                shutil.rmtree(old, ignore_errors=True)
            (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name

    @contextmanager
    def _desk(self) -> Iterator[Path]:
        """A folder for one run, on the file system of the data."""
        parent = self.data / "locks" / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        desk = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield desk
        finally:
            shutil.rmtree(desk, ignore_errors=True)

    def _confined(self, question: Question, root: Path, report: Report) -> str:
        """uv inside the sandbox, with a cache that nobody else reads: build code could write anything into it."""
        index = f"{INDEX_URL}/{question.label}/simple/"
        lines: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            if line.strip() and len(lines) < 2000:
                report(Event(Phase.BUILDING, line.rstrip() + "\n"))

        with self._desk() as desk:
            write_inputs(question, desk, question.needs.local)
            (desk / "cache").mkdir()
            self._give(desk)
            if question.needs.local:
                self._give(root)  # a package is built in its own folder
            argv = [_UV, *_compile(question, question.interpreter.inside, index, f"{_WORK}/cache")]
            confinement = self._confinement(question, root, desk)
            try:
                code = self.run_confined(confinement, argv, on_line=on_line, timeout=_SLOWEST)
            except DeadlineError:
                raise LockError(
                    f"finding the packages {question.described} took more than {_SLOWEST / 60:.0f} minutes",
                    remedy="Pin the packages that are built from source.",
                ) from None
            if code != 0:
                raise _failure(question, "\n".join(lines))
            return read_untrusted(desk / "pylock.toml")

    def _confinement(self, question: Question, root: Path, desk: Path) -> Confinement:
        python = question.interpreter
        mounts: list[Mount] = [*base_mounts(), Bind(Path(find_uv_bin()), _UV), Overlay(HOME, ())]
        if python.mount is not None:
            # also at its own place: an interpreter with a shared libpython looks for it by that path
            mounts += [Bind(python.prefix, python.mount), Bind(python.prefix, str(python.prefix))]
        if question.needs.local or any(option.startswith("--find-links") for option in question.needs.options):
            mounts.append(Overlay(REPO_DIR, (root,)))
        mounts.append(Bind(desk, _WORK, writable=True))
        variables = {
            "HOME": HOME,
            "USER": USER,
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "UV_HTTP_RETRIES": "2",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            "PIP_CONFIG_FILE": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
        }
        certificates = os.environ.get("SSL_CERT_FILE")
        if certificates and Path(certificates).is_file():
            mounts.append(Bind(Path(certificates), _CERTIFICATES))
            variables["SSL_CERT_FILE"] = _CERTIFICATES
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


def _compile(question: Question, python: str, index: str, cache: str) -> list[str]:
    """The command line after `uv`; inputs and output are in the folder of the cache or the current one."""
    folder = _WORK + "/" if cache.startswith(_WORK) else ""
    constraints = ["-c", f"{folder}constraints.txt"] if question.needs.constraints else []
    return [
        *("pip", "compile", f"{folder}requirements.txt", *constraints),
        *("--no-config", "--no-progress", "--quiet", "--no-sources", "--format", "pylock.toml"),
        *("-o", f"{folder}pylock.toml", "-p", python, "--cache-dir", cache),
        *uv_options(question.needs.options, index),
    ]


def write_inputs(question: Question, desk: Path, local: Sequence[object]) -> None:
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
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise LockError("the resolver left no lock file", remedy="Launch again.") from None
    with open(descriptor, "rb") as file:
        data = file.read(_LARGEST + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    if not data or len(data) > _LARGEST:
        raise LockError("the resolver left a lock file that cannot be used")
    return data.decode("utf-8", "replace")


def _failure(question: Question, text: str) -> LockError:
    """uv's own explanation, with the dated index called by its meaning."""
    shown = re.sub(rf"{re.escape(INDEX_URL)}/[^/\s]+/(wheels-only/)?(simple|files)/", "index:", text).strip()
    if "No solution found" in shown:
        return UnresolvableError(
            f"the requirements cannot all be met {question.described}",
            detail=shown,
            remedy="Loosen the requirement that is named above, or give another date (`--as-of`).",
        )
    return LockError(
        f"the packages that are needed {question.described} cannot be found out",
        detail=shown,
        remedy="Correct the requirement that is named above.",
    )
