"""Debian packages of a lock -> a layer that lies over this machine's /usr, /etc, /opt and /var. No root, no container.

The real dpkg installs them, in a sandbox without network whose one user is called root, over read-only views of the
host's folders: so maintainer scripts, alternatives and triggers run as they do anywhere, and reach nothing.
See docs/design/debian.md for what that cannot do.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rebind.builds import debian_ground as ground
from rebind.builds.checkout import LAYERS
from rebind.builds.debian_harvest import harvest
from rebind.builds.downloads import Downloads
from rebind.builds.steps import Outcome, run_step
from rebind.builds.store import Making, Say, StoppedError, Store, full, room, silent
from rebind.errors import BuildError
from rebind.sandbox import Bind, Confinement, Mount, base_mounts
from rebind.values import DebianPackage, Layer, Limits, Package

FORMAT = 1  # raised when the same packages would give other files
STATUS = Path("/var/lib/dpkg/status")
GROWTH = 6  # times the size of the archives
LARGEST = 64 << 20  # bytes of dpkg's records that are read
_THREADS = 8

# Files of the host that a package replaces must be ours before dpkg can rename them: an overlay cannot give a copy
# of a file to a user that does not exist in the sandbox.
_REPLACE = """
cd /
mkdir -p /replaced/usr
for deb in /debs/*.deb; do dpkg-deb --info "$deb" md5sums 2>/dev/null; done | cut -c35- | while IFS= read -r path; do
  case "$path" in lib/*|lib32/*|lib64/*|libx32/*|bin/*|sbin/*) path="usr/$path" ;; usr/*) ;; *) continue ;; esac
  if [ -f "/$path" ] && [ ! -L "/$path" ] && [ -r "/$path" ]; then printf '%s\\0' "$path"; fi
done | xargs -0 -r cp --parents --no-dereference --preserve=mode,timestamps -t /replaced --
exit 0
"""
_INSTALL = """
force=not-root,bad-path,overwrite,overwrite-diverted,conflicts,breaks,confdef,confold,hold,unsafe-io
dpkg() { command dpkg --log=/dev/null --no-debsig --abort-after=100000 --force-$force "$@" 2>&1; }
dpkg --force-depends --unpack /debs/*.deb || exit 100
dpkg --configure --pending || dpkg --force-depends --configure --pending
ldconfig
dpkg-query --show --showformat '@ ${Package} ${Architecture} ${Version} ${Status}\\n'
exit 0
"""
_QUIET = ("(Reading database ...", "Preparing to unpack ", "Selecting previously unselected ")


@dataclass(frozen=True, slots=True)
class Means:
    """What an installation is given. `downloads` is asked for when something has to be fetched."""

    downloads: Callable[[], Downloads]
    limits: Limits
    stop: threading.Event
    timeout: float | None


class Debian:
    """Makes layers of Debian packages."""

    def __init__(self, store: Store, means: Means) -> None:
        self._store, self._means = store, means

    def layer(self, packages: tuple[DebianPackage, ...], say: Say) -> Layer | None:
        """The layer of a lock's Debian packages, None if it has none. Made once over all processes.

        Raises BuildError, NetworkError, DiskError, SandboxError.
        """
        if not packages:
            return None
        digest = self._digest(packages)
        while not (place := self._store.lease(LAYERS, digest)):
            with self._store.making(LAYERS, digest, say, self._means.stop) as making:
                if not making.found:
                    with room(self._store.path), self._store.in_use():
                        self._make(packages, making, say)
                    making.keep()
        return Layer(digest, place)

    def _digest(self, packages: Sequence[DebianPackage]) -> str:
        """They are put over the host's packages and their scripts look at those, so these count too."""
        facts = [FORMAT, _host(), [[each.name, each.version, each.architecture, each.sha256] for each in packages]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _make(self, packages: Sequence[DebianPackage], making: Making, say: Say) -> None:
        size = sum(package.size for package in packages)
        stat = os.statvfs(self._store.path)
        if GROWTH * size > stat.f_bavail * stat.f_frsize:
            raise full(self._store.path, GROWTH * size)
        say(f"Fetching {len(packages)} Debian packages ({size / 1e6:.0f} MB)")
        self._fetch(packages, making.work / "debs", say)
        say(f"Installing {len(packages)} Debian packages")
        folders = ground.ready_folders(self._store, LAYERS, hashlib.sha256(f"folders {_host()}".encode()).hexdigest())
        held = self._store.hold(LAYERS, folders.name)
        try:
            _Installation(self._store, self._means, making, folders, say).run(packages)
        finally:
            os.close(held)

    def _fetch(self, packages: Sequence[DebianPackage], into: Path, say: Say) -> None:
        into.mkdir()
        downloads, stop = self._means.downloads(), self._means.stop

        def fetch(package: DebianPackage) -> None:
            file = downloads.fetch(_as_file(package), say, stop)
            os.link(file, into / file.name)

        with ThreadPoolExecutor(_THREADS) as threads:
            jobs = [threads.submit(fetch, package) for package in packages]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                stop.set()
                for job in jobs:
                    job.cancel()
                failures = [job.exception() for job in jobs if job.done() and not job.cancelled()]
                for failure in failures:
                    if failure is not None and not isinstance(failure, StoppedError):
                        raise failure from None
                raise


class _Installation:
    """One run of dpkg."""

    def __init__(self, store: Store, means: Means, making: Making, folders: Path, say: Say) -> None:
        self.store, self.means, self.making, self.folders, self.say = store, means, making, folders, say
        self.work = making.work

    def run(self, packages: Sequence[DebianPackage]) -> None:
        for name in ("copies", "replaced", "upper"):
            (self.work / name).mkdir()
            ground.give(self.work / name, self.store.owner)
        ground.make_copies(self.work / "copies", self.store.owner)
        replaced = self.work / "replaced"
        outcome = self._step((*base_mounts(), Bind(replaced, "/replaced", writable=True)), _REPLACE, silent)
        if not outcome.code:
            writable = ground.mounts(self.folders, self.work / "copies", replaced, self.work / "upper")
            outcome = self._step(writable, _INSTALL, self._tell)
        if outcome.code:
            raise BuildError(
                f"The Debian packages of apt.txt could not be installed (code {outcome.code}).",
                remedy="The lines above say which and why; leave it out of apt.txt or use a Dockerfile.",
                detail=outcome.detail,
            )
        harvest(self.work / "upper", self.work)
        self._check(packages)
        for name in ("copies", "replaced", "upper", "debs"):
            self.making.drop(self.work / name)

    def _tell(self, line: str) -> None:
        if not line.startswith(("@ ", *_QUIET)):
            self.say(line)

    def _step(self, mounts: tuple[Mount, ...], script: str, say: Say) -> Outcome:
        confinement = Confinement(
            mounts=(*mounts, Bind(self.work / "debs", "/debs")),
            variables=_VARIABLES,
            cwd="/",
            limits=self.means.limits,
            name=f"apt-{self.work.name}",
            owner=_owner(self.store),
            as_root=True,
        )
        return run_step(
            confinement,
            ("/bin/sh", "-c", script),
            say=say,
            written=self.work,
            hold=self.making.fd,
            timeout=self.means.timeout,
            name="Installing the Debian packages",
            stop=self.means.stop,
        )

    def _check(self, packages: Sequence[DebianPackage]) -> None:
        """Raises BuildError for a package that is not there; one whose own set-up failed is named and left as it is."""
        states = read_states(_records(Path(f"{self.work}{ground.DPKG}/status")))
        for package in packages:
            version, state = states.get((package.name, package.architecture), ("", ""))
            if version != package.version or state == "":
                raise BuildError(
                    f"The Debian package {package.name} {package.version} was not installed.",
                    remedy="The lines above say why; leave it out of apt.txt or use a Dockerfile.",
                )
            if state != "installed":
                self.say(f"Warning: {package.name} could not set itself up without root ({state}); parts may not work")


_VARIABLES = (
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("LC_ALL", "C.UTF-8"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("DEBCONF_NOWARNINGS", "yes"),
    ("SYSTEMD_OFFLINE", "1"),
    ("RUNLEVEL", "1"),
    ("UCF_FORCE_CONFFOLD", "1"),
    ("SOURCE_DATE_EPOCH", "315532800"),
)


def _records(path: Path) -> str:
    """A file that packages' scripts could replace: no link is followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with open(fd, "rb") as stream:
        return stream.read(LARGEST).decode("utf-8", "replace")


def read_states(status: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Version and state (`installed`, `half-configured`, ...) by name and architecture, from dpkg's status file."""
    found = {}
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in fields:
            state = fields.get("Status", "").split(" ")[-1]
            state = {"triggers-pending": "installed", "triggers-awaited": "installed"}.get(state, state)
            key = (fields["Package"], fields.get("Architecture", ""))
            found[key] = (fields.get("Version", ""), "" if state in ("not-installed", "config-files") else state)
    return found


def _owner(store: Store) -> int:
    return os.getuid() if store.owner is None else store.owner


def _as_file(package: DebianPackage) -> Package:
    name = f"{package.name}_{package.version}_{package.architecture}.deb".replace(":", "!")
    return Package(package.name, package.version, package.url, package.sha256, name, package.size)


def _host() -> str:
    """A digest of the packages that this machine has."""
    try:
        return hashlib.sha256(STATUS.read_bytes()).hexdigest()
    except OSError as error:
        raise BuildError(
            "The lock holds Debian packages, but this machine has no dpkg.",
            remedy="Use a machine with Debian or Ubuntu.",
        ) from error
