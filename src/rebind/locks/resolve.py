"""Asks uv: on this machine itself while nothing has to be built, else in the sandbox, where strangers' code belongs."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from uv import find_uv_bin

from rebind.errors import LockError
from rebind.locks.question import INDEX_URL, Question, uv_options
from rebind.locks.workplace import SLOWEST, UV, WORK, Workplace, read_untrusted, too_slow, write_inputs
from rebind.values import Event, Phase, Report

_REFUSED = "/wheels-only/files/"
_INSIDE = {"UV_HTTP_RETRIES": "2", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


class UnresolvableError(LockError):
    """The resolver found that the needs contradict each other or the date; `detail` is its explanation."""


class _NeedsBuildError(Exception):
    """The resolver wants a source package."""


@dataclass(frozen=True, slots=True)
class UvResolver:
    """uv, for Python 3.6 and newer."""

    place: Workplace

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
        with self.place.desk() as desk:
            write_inputs(question, desk, local=False)
            argv = [find_uv_bin(), *_compile(question, str(question.interpreter.executable), index, str(self._cache()))]
            code, errors = self._run(question, argv, desk)
            if code == 0:
                return (desk / "pylock.toml").read_text()
        if _REFUSED in errors:
            raise _NeedsBuildError(errors.split(_REFUSED, 1)[1].split("/")[0])
        raise failure(question, errors)

    def _run(self, question: Question, argv: list[str], desk: Path) -> tuple[int, str]:
        nothing = subprocess.DEVNULL
        env = self._environment()
        try:
            done = subprocess.run(
                argv, cwd=desk, env=env, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, timeout=SLOWEST
            )
        except subprocess.TimeoutExpired:
            raise too_slow(question) from None
        return done.returncode, done.stderr.decode(errors="replace")

    def _environment(self) -> dict[str, str]:
        """Nothing of the machine's pip or uv settings; every request goes through the egress proxy."""
        proxy = self.place.egress.proxy_url
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.place.data / "uv"),
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
        folder = self.place.data / "uv"
        if not (folder / name).is_dir():
            for old in sorted(folder.glob("[0-9]*-[1-4]"))[:-1]:
                shutil.rmtree(old, ignore_errors=True)
            (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name

    def _confined(self, question: Question, root: Path, report: Report) -> str:
        """uv inside the sandbox, with a cache that nobody else reads: build code could write anything into it."""
        index = f"{INDEX_URL}/{question.label}/simple/"
        with self.place.desk() as desk:
            write_inputs(question, desk, local=True)
            (desk / "cache").mkdir()
            argv = [UV, *_compile(question, question.interpreter.inside, index, f"{WORK}/cache")]
            code, text = self.place.run(question, root, desk, argv, report, _INSIDE)
            if code != 0:
                raise failure(question, text)
            return read_untrusted(desk / "pylock.toml")


def _compile(question: Question, python: str, index: str, cache: str) -> list[str]:
    """The command line after `uv`; inputs and output are in the folder of the cache or the current one."""
    folder = WORK + "/" if cache.startswith(WORK) else ""
    constraints = ["-c", f"{folder}constraints.txt"] if question.needs.constraints else []
    return [
        *("pip", "compile", f"{folder}requirements.txt", *constraints),
        *("--no-config", "--no-progress", "--quiet", "--no-sources", "--format", "pylock.toml"),
        *("-o", f"{folder}pylock.toml", "-p", python, "--cache-dir", cache),
        *uv_options(question.needs.options, index),
    ]


def failure(question: Question, text: str) -> LockError:
    """uv's own explanation, with the dated index called by its meaning."""
    shown = re.sub(rf"{re.escape(INDEX_URL)}/[^/\s]+/(wheels-only/)?(simple|files)/", "index:", text).strip()
    if "No solution found" in shown:
        return UnresolvableError(
            f"The requirements cannot all be met {question.described}.",
            detail=shown,
            remedy="Loosen the requirement that is named above, or give another date (`--as-of`, `?asof=` in a link).",
        )
    return LockError(
        f"the packages that are needed {question.described} cannot be found out",
        detail=shown,
        remedy="Correct the requirement that is named above.",
    )
