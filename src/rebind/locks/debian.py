"""apt.txt -> Debian packages that this machine lacks. The host's apt is used as a solver only, in a sandbox.

Apt sees the host's own mirrors, keys and list of installed packages, and works in state folders of ours as an ordinary
user; it installs nothing. What it reads are the mirrors' signed lists. Packages are put over this machine's own
programs, so they must fit those: they are of the mirrors' present state, whatever the date (docs/design/debian.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from rebind.errors import DeadlineError, LockError, NetworkError
from rebind.locks import debian_host as host
from rebind.locks.whole import write_whole
from rebind.locks.workplace import RunConfined
from rebind.sandbox import SANDBOX_UID, Bind, Confinement, Mount, base_mounts
from rebind.values import DebianPackage, Event, Limits, Phase, Report

FORMAT = 1  # raised when the same question would get another answer
FRESH = 3600.0  # seconds for which the mirrors' lists are believed
SLOWEST = 600.0
WORK = "/tmp/apt"
_LIMITS = Limits(memory=4 * 2**30, processes=256, disk=4 * 2**30)
_CONF = f"""\
Dir::Etc::parts "/dev/null";
Dir::State "{WORK}/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{WORK}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Log "{WORK}/log";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Cmd::Pattern-Only "true";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::ForceHash "SHA256";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
"""
_SOLVE = """
apt-get -qq --simulate "$@" || exit $?
exec apt-get -qq --yes --print-uris "$@"
"""
_FILE = re.compile(
    r"'(?P<url>https?://[^\s']+)' (?P<name>[a-z0-9][a-z0-9+.-]+)_(?P<version>[A-Za-z0-9.+~%-]+)"
    r"_(?P<architecture>[a-z0-9-]+)\.deb (?P<size>[0-9]{1,12}) SHA256:(?P<sha256>[0-9a-f]{64})"
)
_REMOVED = re.compile(r"Remv ([a-z0-9][a-z0-9+.-]+)\b.*")
_UNKNOWN = re.compile(
    r"E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate"
    r"|Version '(?:\S+)' for '(\S+)' was not found|Release '(?:\S+)' for '(\S+)' was not found)"
)
_NO_SUITE = re.compile(r"E: The value '(\S+)' is invalid for APT::Default-Release.*")


@dataclass(frozen=True, slots=True)
class Found:
    """What apt.txt comes to on this machine."""

    packages: tuple[DebianPackage, ...] = ()
    warnings: tuple[str, ...] = ()


class DebianLocker:
    """`data`: the installation's folder; `egress`: the proxy's socket that reaches the mirrors; `owner`: see Locker."""

    def __init__(self, data: Path, egress: Path, run_confined: RunConfined, owner: int | None) -> None:
        self._place = data / "debian"
        self._egress, self._run_confined, self._owner = egress, run_confined, owner

    def lock(self, wanted: tuple[str, ...], when: datetime, report: Report) -> Found:
        """The packages that this machine lacks for `wanted` (`Plan.apt`), sorted by name.

        Raises LockError (names what does not exist), NetworkError, SandboxError.
        """
        if not wanted:
            return Found()
        host.check_host()
        missing = lacking(wanted, host.installed())
        if not any(not token.startswith("-t ") for token in missing):
            return Found()
        with self._alone():
            warnings = self._update(report)
            found = self._kept(missing) or self._solve(missing, report)
        return Found(found.packages, (*warnings, *found.warnings, *_undated(found, when)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One apt at a time in these folders."""
        for name in ("work/state/lists/partial", "work/cache/archives/partial", "kept"):
            (self._place / name).mkdir(parents=True, exist_ok=True)
        with open(self._place / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # The mirrors' lists

    def _update(self, report: Report) -> tuple[str, ...]:
        """Fetches the lists unless they are fresh. Raises NetworkError if there are none afterwards."""
        stamp = self._place / "updated"
        if _age(stamp) < FRESH and self._lists():
            return ()
        if not self._lists():
            _copy_lists(self._place / "work/state/lists")
        report(Event(Phase.BUILDING, "Fetching the lists of Debian packages\n"))
        code, lines = self._apt(["apt-get", "-q", "update"])
        bad = [line for line in lines if line.startswith(("E: ", "W: Failed", "Err:"))]
        if not self._lists():
            raise NetworkError(
                "The lists of Debian packages could not be fetched from this machine's mirrors.",
                remedy="Look whether `apt-get update` works on this machine, and try again.",
                detail="\n".join(lines[-20:]),
            )
        if code == 0 and not bad:
            stamp.touch()
            return ()
        return (f"Not all lists of Debian packages could be fetched anew: {bad[0] if bad else 'apt failed'}",)

    def _lists(self) -> list[Path]:
        """The signed files of the lists that are there; their content names all others by hash."""
        return sorted((self._place / "work/state/lists").glob("*Release"))

    # Solving

    def _key(self, wanted: Sequence[str]) -> Path:
        digest = hashlib.sha256(json.dumps([FORMAT, host.facts(), *wanted]).encode())
        for path in self._lists():
            digest.update(path.read_bytes())
        return self._place / "kept" / f"{digest.hexdigest()[:40]}.json"

    def _kept(self, wanted: Sequence[str]) -> Found | None:
        try:
            kept = json.loads(self._key(wanted).read_bytes())
            return Found(tuple(DebianPackage(**each) for each in kept["packages"]), tuple(kept["warnings"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _solve(self, wanted: Sequence[str], report: Report) -> Found:
        names = [token for token in wanted if not token.startswith("-t ")]
        suites = [f"--target-release={token[3:]}" for token in wanted if token.startswith("-t ")]
        report(Event(Phase.BUILDING, f"Finding the Debian packages {', '.join(names)}\n"))
        code, lines = self._apt(["/bin/sh", "-c", _SOLVE, "sh", *suites, "install", "--", *names])
        if code:
            raise failure(lines)
        packages = read_packages(lines)
        removed = [match[1] for line in lines if (match := _REMOVED.fullmatch(line))]
        warnings = _hidden(removed)
        found = Found(tuple(sorted(packages, key=lambda each: (each.name, each.architecture))), warnings)
        kept = {"packages": [asdict(each) for each in found.packages], "warnings": warnings}
        write_whole(self._key(wanted), json.dumps(kept))
        report(Event(Phase.BUILDING, f"{len(found.packages)} Debian packages found ({_megabytes(found.packages)})\n"))
        return found

    # Apt

    def _apt(self, argv: Sequence[str]) -> tuple[int, list[str]]:
        work = self._place / "work"
        (work / "apt.conf").write_text(host.settings() + _certificates() + _CONF)
        self._give(work)
        lines: list[str] = []
        try:
            code = self._run_confined(self._confinement(work), argv, on_line=lines.append, timeout=SLOWEST)
        except DeadlineError:
            raise NetworkError(
                f"Finding the Debian packages took more than {SLOWEST / 60:.0f} minutes.", remedy="Try again later."
            ) from None
        return code, lines

    def _confinement(self, work: Path) -> Confinement:
        mounts: list[Mount] = [*base_mounts(), *(Bind(path.resolve(), str(path)) for path in host.apt_files())]
        bundle = os.environ.get("SSL_CERT_FILE")
        if bundle and Path(bundle).is_file():
            mounts.append(Bind(Path(bundle).resolve(), _BUNDLE))
        mounts.append(Bind(work, WORK, writable=True))
        variables = (("APT_CONFIG", f"{WORK}/apt.conf"), ("LC_ALL", "C.UTF-8"), ("PATH", "/usr/bin:/bin"))
        return Confinement(
            mounts=tuple(mounts),
            variables=(*variables, ("HOME", WORK), ("DEBIAN_FRONTEND", "noninteractive")),
            cwd=WORK,
            limits=_LIMITS,
            egress=self._egress,
            name=f"apt-{os.getpid()}",
            owner=SANDBOX_UID if self._owner is None else self._owner,
        )

    def _give(self, work: Path) -> None:
        if self._owner is None or os.getuid() != 0:
            return
        for place, folders, files in os.walk(work):
            for name in ("", *folders, *files):
                os.chown(Path(place, name), self._owner, self._owner, follow_symlinks=False)


_BUNDLE = "/opt/rebind/certificates.pem"


def _certificates() -> str:
    bundle = os.environ.get("SSL_CERT_FILE")
    return f'Acquire::https::CaInfo "{_BUNDLE}";\n' if bundle and Path(bundle).is_file() else ""


def lacking(wanted: tuple[str, ...], installed: frozenset[str]) -> tuple[str, ...]:
    """What is to be asked for: not the names that are installed, in whatever version, and not bound to one."""
    if any(token.startswith("-t ") for token in wanted):
        return wanted
    return tuple(token for token in wanted if token not in installed)


def read_packages(lines: Sequence[str]) -> list[DebianPackage]:
    """The files that apt names. Raises LockError for one without a SHA256 or from elsewhere than http(s)."""
    found = []
    for line in lines:
        if not line.startswith("'"):
            continue
        match = _FILE.fullmatch(line)
        if match is None:
            raise LockError(
                f"A Debian package cannot be fetched from where this machine's apt has it: {line[:200]}",
                remedy="Only mirrors that are reached by http or https and state SHA256 sums can be used.",
            )
        version = unquote(match["version"])
        found.append(
            DebianPackage(
                match["name"], version, match["architecture"], match["url"], match["sha256"], int(match["size"])
            )
        )
    return found


def failure(lines: Sequence[str]) -> LockError:
    """The error for what apt said."""
    unknown = [next(filter(None, match.groups())) for line in lines if (match := _UNKNOWN.match(line))]
    suite = next((match[1] for line in lines if (match := _NO_SUITE.fullmatch(line))), None)
    if suite is not None:
        return LockError(
            f"apt.txt asks for packages from {suite}, which this machine's mirrors ({host.release()}) do not have.",
            remedy="Leave the -t out, or add that suite to the machine's apt sources.",
        )
    if unknown:
        return LockError(
            f"apt.txt names packages that {host.release()} does not have (in that version): "
            f"{', '.join(dict.fromkeys(unknown))}.",
            remedy="Correct the names; they differ between releases of Debian and Ubuntu.",
        )
    return LockError(
        "The packages of apt.txt cannot be installed on this machine.",
        remedy="See what apt says above; leave out what conflicts.",
        detail="\n".join(lines[-40:]),
    )


def _undated(found: Found, when: datetime) -> tuple[str, ...]:
    if not found.packages or datetime.now(UTC) - when < timedelta(days=1):
        return ()
    return (
        f"The Debian packages of apt.txt are those of {host.release()} today, not of {when:%Y-%m-%d}: "
        "they must fit the programs of this machine.",
    )


def _hidden(removed: Sequence[str]) -> tuple[str, ...]:
    if not removed:
        return ()
    return (f"The packages of apt.txt conflict with {', '.join(removed)} of this machine, which they hide in part.",)


def _megabytes(packages: Sequence[DebianPackage]) -> str:
    return f"{sum(package.size for package in packages) / 1e6:.1f} MB"


def _copy_lists(into: Path) -> None:
    """The machine's own lists, so that only what changed has to be fetched. Apt checks their signatures again."""
    for path in host.LISTS.glob("*"):
        if path.is_file() and path.stat().st_mode & 0o004 and ("_Packages" in path.name or "Release" in path.name):
            shutil.copyfile(path, into / path.name)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
