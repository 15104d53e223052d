"""What this machine says of its own Debian packages: which are installed, where more come from, how apt is set up."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from rebind.errors import LockError

STATUS = Path("/var/lib/dpkg/status")
LISTS = Path("/var/lib/apt/lists")
_APT = Path("/etc/apt")
_PARTS = ("sources.list", "sources.list.d", "trusted.gpg", "trusted.gpg.d", "keyrings", "preferences", "preferences.d")
# Of apt's settings only those that say how mirrors are to be read; above all none that runs a command.
_SETTING = re.compile(
    r"(?:Acquire::(?:Check-Valid-Until|Check-Date|Max-ValidTime|Retries|By-Hash|PDiffs|ForceIPv[46]"
    r'|https?::(?:Timeout|Verify-Peer|Verify-Host|CaInfo))|APT::Architectures?(?:::)?|APT::Default-Release) "[^"\\]*";'
)
_URI = re.compile(r"\bhttps?://(?:[^\s/@]*@)?([A-Za-z0-9.-]+)(:[0-9]+)?")
_REMEDY = "Use a machine with Debian or Ubuntu, or put the programs into a Dockerfile."


def check_host() -> None:
    """Raises LockError if Debian packages cannot be put over this machine's own programs."""
    missing = [name for name in ("apt-get", "dpkg", "dpkg-deb") if not shutil.which(name, path="/usr/bin:/bin")]
    if missing or not STATUS.is_file():
        what = f"has no {' and no '.join(missing)}" if missing else "has no Debian packages"
        raise LockError(f"apt.txt asks for Debian packages, but this machine ({release()}) {what}.", remedy=_REMEDY)
    if not all(Path("/", name).is_symlink() for name in ("bin", "lib", "sbin")):
        raise LockError(
            f"apt.txt cannot be acted on: /bin, /lib and /sbin of this machine ({release()}) are not parts of /usr.",
            remedy="Install the package usrmerge on this machine, or use a newer Debian or Ubuntu.",
        )


def release() -> str:
    """`Debian GNU/Linux 12 (bookworm)`, or what this machine calls itself."""
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return "no Linux distribution that is known"
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return found[1] if found else "Linux"


def installed() -> frozenset[str]:
    """Names of the packages that are installed."""
    return frozenset(
        name[1].decode()
        for entry in _read(STATUS).split(b"\n\n")
        if re.search(rb"^Status: \S+ ok installed$", entry, re.MULTILINE)
        and (name := re.search(rb"^Package: (\S+)$", entry, re.MULTILINE))
    )


def apt_files() -> tuple[Path, ...]:
    """Files and folders of the host that say which mirrors there are and whom to trust. No passwords, no hooks."""
    return tuple(path for name in _PARTS if (path := _APT / name).exists())


def settings() -> str:
    """Apt's settings of this machine that say how to read mirrors, as lines of an apt.conf."""
    command = ["apt-config", "dump"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if _SETTING.fullmatch(line))


def mirror_hosts() -> frozenset[str]:
    """Hosts of the mirrors, `host` or `host:port`; none where there is no apt."""
    lines = b"\n".join(_read(path) for path in _sources()).decode("utf-8", "replace").splitlines()
    found = [match for line in lines if not line.startswith("#") for match in _URI.findall(line)]
    return frozenset(f"{host.lower()}{port}" for host, port in found)


def facts() -> str:
    """A digest of all of the host that decides what apt would install, but for the mirrors' lists."""
    digest = hashlib.sha256()
    parts = (path for file in apt_files() for path in (sorted(file.rglob("*")) if file.is_dir() else [file]))
    for path in (STATUS, *parts):
        digest.update(f"{path}\0".encode() + _read(path) + b"\0")
    digest.update(settings().encode())
    return digest.hexdigest()


def _sources() -> list[Path]:
    folder = _APT / "sources.list.d"
    return [_APT / "sources.list", *sorted([*folder.glob("*.list"), *folder.glob("*.sources")])]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""
