"""Wheels of a lock -> unpacked and compiled in the store, each once per minor Python.

Downloading waits for the network, unpacking and compiling want the CPU, so all three overlap: a thread a wheel, large
wheels first, worker processes for the CPU's work, and a large wheel's files are compiled by all of them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from rebind.builds import compiler, unpack
from rebind.builds.store import Say, StoppedError, Store, full, room
from rebind.builds.workers import CPUS, Pool, WorkerDiedError
from rebind.errors import BuildError
from rebind.values import NB_PREFIX, Interpreter, Package

THREADS = 16
COMPILED_TOGETHER = 60  # files in one job of a compiling worker
JOB_TIMEOUT = 300.0
HERE_AT_MOST = 2  # so few wheels are unpacked in our own process: starting another takes longer

Obtain = Callable[[Package], tuple[Path, str]]
"""Gets a package as a wheel: its file and the file's sha256."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """An unpacked wheel in the store."""

    key: str
    path: Path
    package: Package
    contents: unpack.Unpacked


def wheel_key(sha256: str, interpreter: Interpreter) -> str:
    """The name of a wheel in the store."""
    return f"{sha256}-cp{interpreter.minor.replace('.', '')}"


class Wheels:
    """Makes unpacked wheels. `obtain` gives the file of a package (downloaded, or built from source); it ends early
    once `stop` is set, which is done when one of them fails or the caller is interrupted."""

    def __init__(self, store: Store, obtain: Obtain, stop: threading.Event) -> None:
        self._store, self._obtain, self._stop = store, obtain, stop

    def prepare(self, packages: Sequence[Package], interpreter: Interpreter, say: Say) -> tuple[Wheel, ...]:
        """All packages as unpacked wheels, in the same order. Raises BuildError, NetworkError, DiskError."""
        found = {package: self._find(package, interpreter) for package in packages if package.is_wheel}
        missing = [package for package in packages if not found.get(package)]
        made: dict[Package, Wheel] = {}
        if missing:
            unpackers = len(missing) > HERE_AT_MOST
            made = _Preparation(self._store, self._obtain, interpreter, say, self._stop, unpackers).run(missing)
        return tuple(found.get(package) or made[package] for package in packages)

    def missing(self, packages: Sequence[Package], interpreter: Interpreter) -> list[Package]:
        """Those that have to be fetched or built."""
        keys = {package: wheel_key(package.sha256, interpreter) for package in packages if package.sha256}
        return [each for each in packages if each not in keys or not self._store.find("wheels", keys[each])]

    def _find(self, package: Package, interpreter: Interpreter) -> Wheel | None:
        key = wheel_key(package.sha256, interpreter)
        place = self._store.find("wheels", key)
        return _load(key, place, package) if place else None


class _Preparation:
    """One run over the wheels that are not in the store."""

    def __init__(
        self,
        store: Store,
        obtain: Obtain,
        interpreter: Interpreter,
        say: Say,
        stop: threading.Event,
        unpackers: bool,
    ) -> None:
        self.store, self.obtain, self.interpreter, self.say, self.stop = store, obtain, interpreter, say, stop
        self.unpackers = Pool([sys.executable, "-I", "-S", "-B", unpack.__file__]) if unpackers else None
        self.compilers = Pool([str(interpreter.executable), "-s", "-S", "-B", compiler.__file__])
        self.compiling = ThreadPoolExecutor(CPUS)

    def run(self, packages: list[Package]) -> dict[Package, Wheel]:
        largest_first = sorted(packages, key=lambda package: -(package.size or 0))
        try:
            with ThreadPoolExecutor(THREADS) as threads, ThreadPoolExecutor(CPUS) as builders:
                jobs = {
                    package: (threads if package.is_wheel else builders).submit(self._one, package)
                    for package in largest_first
                }
                try:
                    wait(jobs.values(), return_when=FIRST_EXCEPTION)
                    for job in sorted(jobs.values(), key=lambda job: not job.done()):
                        job.result()  # raises what the first that failed raised
                    return {package: job.result() for package, job in jobs.items()}
                except BaseException as error:
                    self._cancel(jobs.values())
                    raise _cause(error, jobs.values()) from None
        finally:
            self.compiling.shutdown(cancel_futures=True)
            self.compilers.close()
            if self.unpackers:
                self.unpackers.close()

    def _cancel(self, jobs: Iterable[Future[Wheel]]) -> None:
        """Nobody waits for the rest: not for a large download, nor for a long build."""
        self.stop.set()
        for job in jobs:
            job.cancel()
        for pool in (self.unpackers, self.compilers):
            if pool:
                pool.close()

    def _check_going(self) -> None:
        if self.stop.is_set():
            raise StoppedError("The build was stopped.")

    def _one(self, package: Package) -> Wheel:
        file, sha256 = self.obtain(package)
        key = wheel_key(sha256, self.interpreter)
        with self.store.making("wheels", key, self.say, self.stop) as making:
            if making.found:
                return _load(key, making.found, package)
            with room(self.store.path):
                contents = self._unpack(package, file, making.work)
                _check_identity(package, contents)
                self._compile(contents, making.work)
                (making.work / "manifest.json").write_text(json.dumps(asdict(contents)))
            for warning in contents.warnings:
                self.say(f"{package.filename}: {warning}")
            return Wheel(key, making.keep(), package, contents)

    def _unpack(self, package: Package, file: Path, into: Path) -> unpack.Unpacked:
        arguments = (str(file), str(into), self.interpreter.minor, self.store.owner)
        if self.unpackers is None:
            try:
                return unpack.unpack(*arguments)
            except unpack.BadWheel as error:
                raise _bad(package, str(error)) from error
        try:
            answer = self.unpackers.ask(arguments, JOB_TIMEOUT)
        except WorkerDiedError as error:
            self._check_going()
            raise _bad(package, "unpacking it takes too long or too much memory") from error
        assert isinstance(answer, dict)
        if "bad" in answer:
            raise _bad(package, answer["bad"])
        if "errno" in answer:
            raise OSError(answer["errno"], answer["text"])
        return unpack.Unpacked(**answer)

    def _compile(self, contents: unpack.Unpacked, work: Path) -> None:
        """Adds the .pyc files to the tree and to `contents`. A wheel that cannot be compiled works all the same."""
        files = list(compilable(contents.files))
        jobs = [files[at : at + COMPILED_TOGETHER] for at in range(0, len(files), COMPILED_TOGETHER)]
        for made in self.compiling.map(lambda job: self._compile_some(job, work / "tree"), jobs):
            for path in made:
                directory, _, name = path.rpartition("/")
                contents.files.setdefault(directory, []).append(name)

    def _compile_some(self, files: list[str], root: Path) -> list[str]:
        job = {"root": str(root), "inside": NB_PREFIX, "files": files, "owner": self.store.owner}
        try:
            answer = self.compilers.ask(job, JOB_TIMEOUT)
        except WorkerDiedError:
            self._check_going()
            self.say(f"Some of {files[0]} and {len(files) - 1} files after it could not be compiled")
            return [path for path in map(_compiled_name(self.interpreter), files) if (root / path).exists()]
        if isinstance(answer, dict):
            raise OSError(answer["errno"], answer["text"])
        assert isinstance(answer, list)
        return answer


def compilable(files: dict[str, list[str]]) -> Iterable[str]:
    """The Python files worth compiling: not those that only a test run imports (half of what pandas has)."""
    for directory, names in files.items():
        if "/site-packages" not in directory:
            continue
        tests = not {"test", "tests"}.isdisjoint(directory.split("/"))
        for name in names:
            if name.endswith(".py") and not (tests and (name.startswith("test_") or name == "conftest.py")):
                yield f"{directory}/{name}"


def _compiled_name(interpreter: Interpreter) -> Callable[[str], str]:
    def name(path: str) -> str:
        if interpreter.minor == "2.7":
            return path + "c"
        directory, _, file = path.rpartition("/")
        return f"{directory}/__pycache__/{file[:-3]}.cpython-{interpreter.minor.replace('.', '')}.pyc"

    return name


def _check_identity(package: Package, contents: unpack.Unpacked) -> None:
    if unpack.normal(contents.name) != unpack.normal(package.name):
        raise _bad(package, f"it is {contents.name!r}, not {package.name!r}")
    try:
        same = Version(contents.version) == Version(package.version)
    except InvalidVersion:
        same = True  # of the time before PEP 440, or not known before it was built
    if not same:
        raise _bad(package, f"it is version {contents.version}, not {package.version}")


def _bad(package: Package, why: str) -> BuildError:
    return BuildError(
        f"{package.filename} cannot be installed: {why}.",
        remedy=f"Ask for another version of {package.name}.",
    )


def _load(key: str, place: Path, package: Package) -> Wheel:
    return Wheel(key, place, package, unpack.Unpacked(**json.loads((place / "manifest.json").read_bytes())))


def _cause(error: BaseException, jobs: Iterable[Future[Wheel]]) -> BaseException:
    """The error that stopped the others, not one of the others'."""
    if not isinstance(error, StoppedError):
        return error
    failures = [job.exception() for job in jobs if job.done() and not job.cancelled()]
    return next((each for each in failures if each and not isinstance(each, StoppedError)), error)


def disk_needed(packages: Iterable[Package]) -> int:
    """A guess of the bytes that downloading and unpacking takes."""
    return sum(5 * (package.size or 0) for package in packages)


def check_room(store: Store, packages: Iterable[Package]) -> None:
    """Raises DiskError before a byte is fetched if it clearly will not fit."""
    needed = disk_needed(packages)
    stat = os.statvfs(store.path)
    if needed > stat.f_bavail * stat.f_frsize:
        raise full(store.path, needed)
