"""Packages that are not wheels (source archives, checkouts): made into wheels, each in a sandbox of its own.

A build sees the package's source, the host's programs and compilers, the interpreter, and the package index as of the
lock's date; it writes to one empty directory, from which one wheel is taken, and that is as untrusted as any other.
First the way of today (PEP 517, isolated, uv), then, for packages of the time before, the way of then: without
isolation, in an environment of the lock's wheels.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rebind.builds.steps import Outcome, failed, run_step
from rebind.builds.store import Making, Say, Store, silent
from rebind.errors import BuildError
from rebind.sandbox import Bind, Mount, Tmpfs, session_confinement
from rebind.values import NB_PREFIX, Environment, Interpreter, Layer, Limits, Package

FORMAT = 1  # raised when the same source would give another wheel
INDEX = "http://pypi.rebind.internal"
WHEELS = "/out/wheels"  # below the bound folder: old setuptools removes and makes it anew
UV = "/opt/rebind/uv"
UNKNOWN_TO_UV = ("2.7", "3.5")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SUBDIRECTORY = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./-]*")

_CLONE = """set -eu
git -c protocol.file.allow=never clone -q --no-checkout --filter=blob:none -- "$1" /build/source
cd /build/source
git checkout -q --detach "$2"
git submodule -q update --init --recursive
cd "/build/source/$3"
shift 3
exec "$@"
"""

_UNPACK = """set -eu
mkdir source
"$1" -c 'import shutil, sys; shutil.unpack_archive(sys.argv[1], "source")' "$2"
cd source/*/
shift 2
exec "$@"
"""


Fetch = Callable[[Package, Say, threading.Event], Path]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a build of a source package is given."""

    interpreter: Interpreter
    date: datetime
    egress: Path | None
    limits: Limits
    stop: threading.Event
    old_way: Callable[[Path], None]
    """Fills a directory with an environment (`srv/`) of the lock's wheels."""
    timeout: float | None = None
    """Longest time of one build, in seconds."""
    system: tuple[Layer, ...] = ()
    """The lock's Debian packages: libraries that the source may need."""

    @property
    def index_url(self) -> str:
        return index_url(self.date)


def index_url(date: datetime) -> str:
    """The package index as of a time, as a sandbox reaches it."""
    return f"{INDEX}/{date.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}/simple"


def index_variables(date: datetime) -> tuple[tuple[str, str], ...]:
    """So that pip and uv in a sandbox use that index and nothing of anybody's configuration."""
    url = index_url(date)
    return (
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_INDEX_URL", url),
        ("PIP_CACHE_DIR", "/tmp/pip-cache"),
        ("PIP_TRUSTED_HOST", str(urlsplit(url).hostname)),
        ("UV_CACHE_DIR", "/tmp/uv-cache"),
        ("UV_DEFAULT_INDEX", url),
        ("UV_LINK_MODE", "copy"),
        ("UV_NO_CONFIG", "1"),
        ("UV_PYTHON_DOWNLOADS", "never"),
    )


def uv_mount() -> Bind:
    """uv itself, where strangers' steps find it as UV; not on their PATH."""
    from uv import find_uv_bin  # late: most builds have no source packages

    return Bind(Path(find_uv_bin()), UV)


class Sources:
    """Builds source packages; each once for a Python and a date."""

    def __init__(self, store: Store, fetch: Fetch) -> None:
        self._store, self._fetch = store, fetch

    def wheel(self, package: Package, workshop: Workshop, say: Say) -> tuple[Path, str]:
        """The wheel and its sha256. Raises BuildError, NetworkError, DiskError, SandboxError."""
        facts = [FORMAT, package.sha256 or package.url, workshop.interpreter.version, workshop.index_url]
        facts += [layer.digest for layer in workshop.system]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        with self._store.making("built", digest, say, workshop.stop) as making:
            place = making.found or self._build(package, workshop, making, say)
        (wheel,) = place.glob("*.whl")
        return wheel, (place / "sha256").read_text()

    def _build(self, package: Package, workshop: Workshop, making: Making, say: Say) -> Path:
        source = None if _is_checkout(package) else self._fetch(package, say, workshop.stop)
        say(f"Building {package.name} {package.version} from source")
        tried: list[Outcome] = []
        for way in (_modern, _old):
            if way is _modern and workshop.interpreter.minor in UNKNOWN_TO_UV:
                continue
            out = making.work / f"out-{way.__name__}"
            out.mkdir()
            if self._store.owner is not None:
                os.chown(out, self._store.owner, self._store.owner)
            tried.append(self._try(package, source, workshop, making, out, way))
            found = _wheels(out)
            if tried[-1].code == 0 and len(found) == 1:
                return _keep(making, found[0])
        raise failed(
            f"Building {package.name} {package.version} from its source",
            Outcome(tried[0].code, tuple(line for outcome in tried for line in outcome.last)),
            f"Ask for a version of {package.name} that has a wheel for Python {workshop.interpreter.minor}.",
        )

    def _try(
        self, package: Package, source: Path | None, workshop: Workshop, making: Making, out: Path, way: Way
    ) -> Outcome:
        place = making.work / f"environment-{way.__name__}"
        mounts, build = way(workshop, place)
        if source is not None:
            mounts = [*mounts, Bind(source, f"/source/{source.name}")]
        base = session_confinement(
            Environment("", place, workshop.interpreter),
            workshop.system,
            limits=workshop.limits,
            egress=workshop.egress,
            name=f"build-{making.work.name}",
            variables=(("SOURCE_DATE_EPOCH", "315532800"), *index_variables(workshop.date)),
        )
        mounts = [*mounts, Tmpfs("/build"), Bind(out, "/out", writable=True)]
        confinement = replace(base, mounts=(*base.mounts, *mounts), cwd="/build")
        name = f"Building {package.name}"
        argv = _command(package, source, build, workshop.interpreter.inside)
        # Pages of compiler lines help nobody while all is well; the last ones are told if it fails.
        return run_step(
            confinement,
            argv,
            say=silent,
            written=out,
            hold=making.fd,
            timeout=workshop.timeout,
            name=name,
            stop=workshop.stop,
        )


def _wheels(out: Path) -> list[Path]:
    """What a build left. The folder is a stranger's: a link in it, or in its place, would lead to files of the host."""
    folder = out / Path(WHEELS).name
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in folder.glob("*.whl") if path.is_file() and not path.is_symlink()]


Way = Callable[[Workshop, Path], tuple[Sequence[Mount], Sequence[str]]]
"""Makes the environment of a build at a path; returns further mounts and the command, without the source."""


def _modern(workshop: Workshop, place: Path) -> tuple[Sequence[Mount], Sequence[str]]:
    (place / "srv").mkdir(parents=True)
    build = (UV, "build", "--wheel", "--python", workshop.interpreter.inside, "--out-dir", WHEELS)
    return [uv_mount()], build


def _old(workshop: Workshop, place: Path) -> tuple[Sequence[Mount], Sequence[str]]:
    place.mkdir()
    workshop.old_way(place)
    build = (f"{NB_PREFIX}/bin/python", "-m", "pip", "wheel", "--no-deps", *_isolation(workshop, place))
    return [], (*build, "--wheel-dir", WHEELS)


def _isolation(workshop: Workshop, place: Path) -> Sequence[str]:
    """Python 2's pip asks for setuptools and wheel itself; later, those of the environment are the ones of then."""
    if workshop.interpreter.minor == "2.7":
        return ["--use-pep517"]
    before_isolation = any((place / NB_PREFIX.lstrip("/")).glob("lib/python*/site-packages/pip-[1-9].*.dist-info"))
    return [] if before_isolation else ["--no-build-isolation"]


def _command(package: Package, source: Path | None, build: Sequence[str], python: str) -> Sequence[str]:
    if source is None:
        address, commit, subdirectory = checkout_of(package)
        return ("/bin/sh", "-c", _CLONE, "sh", address, commit, subdirectory, *build, ".")
    archive = f"/source/{source.name}"
    if build[0] != UV:
        return (*build, archive)
    # uv would unpack it below the folder for wheels, which old setuptools removes and makes anew.
    return ("/bin/sh", "-c", _UNPACK, "sh", python, archive, *build, ".")


def _is_checkout(package: Package) -> bool:
    return package.url.startswith("git+")


def checkout_of(package: Package) -> tuple[str, str, str]:
    """Address, commit and subdirectory of a `git+` URL. Raises BuildError if it is not one of a fixed commit."""
    url, _, fragment = package.url.removeprefix("git+").partition("#")
    address, _, commit = url.rpartition("@")
    subdirectory = parse_qs(fragment).get("subdirectory", ["."])[0]
    scheme = urlsplit(address).scheme
    known = scheme in ("https", "http", "git") and _COMMIT.fullmatch(commit)
    if not known or not (subdirectory == "." or _SUBDIRECTORY.fullmatch(subdirectory)):
        raise BuildError(f"{package.name} is no checkout of a fixed commit.", remedy="Write git+https://...@<commit>.")
    return address, commit, subdirectory


def _keep(making: Making, wheel: Path) -> Path:
    kept = making.work / wheel.name
    wheel.rename(kept)
    for path in list(making.work.iterdir()):
        if path != kept:
            making.drop(path)
    with kept.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    (making.work / "sha256").write_text(digest)
    return making.keep()
