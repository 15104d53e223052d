"""The nouns that travel between the steps of a launch. All are frozen; none touches a file or a socket.

spec -> commit -> plan -> locked plan -> environment (+ layers) -> session -> route; events tell of all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

from rebind.values.pinned import Pinned

# Paths inside a session (the image contract of repo2docker that repositories rely on).
USER = "jovyan"
UID = 1000
HOME = "/home/jovyan"
REPO_DIR = HOME
APP_BASE = "/srv"
CONDA_DIR = "/srv/conda"
NB_PREFIX = "/srv/conda/envs/notebook"
KERNEL_PREFIX = "/srv/conda/envs/kernel"
NPM_DIR = "/srv/npm"
INTERPRETERS_DIR = "/opt/rebind/python"
SERVER_DIR = "/opt/rebind/server"

DIGEST_FORMAT = 1  # raised when the same lock would give other installed files


class Phase(StrEnum):
    """Phases of the event stream (BinderHub's launch API); lower case because clients compare them so."""

    WAITING = "waiting"
    FETCHING = "fetching"
    BUILDING = "building"
    PUSHING = "pushing"
    RUNNING = "running"
    BUILT = "built"
    LAUNCHING = "launching"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a launch."""

    phase: Phase
    message: str
    extra: tuple[tuple[str, str | int], ...] = ()

    def payload(self) -> dict[str, str | int]:
        """The JSON object of one `data:` line."""
        return {"phase": str(self.phase), "message": self.message, **dict(self.extra)}


Report = Callable[[Event], None]
"""Where a step says what it is doing. Must be callable from any thread."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked for, unresolved."""

    provider: str
    repository: str
    """Clone URL, or an absolute path for `local`."""
    ref: str | None = None
    subdir: str = ""
    """Directory that takes the part of the repository's root; relative, normalised, '' for the root."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a ref resolves to; immutable."""

    spec: Spec
    id: str
    """Forty hex digits for Git; `sha256-<hex>` of the content for a plain folder; a record's number and version."""
    date: datetime
    """Committer date, or when it was published; UTC."""
    identity: str
    """Canonical name of the repository, the same over all spellings and providers."""
    link: str = ""
    """The spec of a link to this very commit, percent-encoded (launch API 1.3); '' if the provider does not say."""
    page: str = ""
    """Where a person can look at it; '' if the provider does not say."""


@dataclass(frozen=True, slots=True)
class PythonNeed:
    """Which Python a repository asks for, as it says it."""

    version: str | None = None
    """`3`, `3.10` or `3.10.2`; None if nothing states it."""
    requires: str = ""
    """`requires-python` of a root package: a PEP 440 specifier set, '' if absent."""
    stated_in: str = ""
    """The file that states it, for messages."""


@dataclass(frozen=True, slots=True)
class LocalPackage:
    """A package that the repository itself holds."""

    path: str
    """Relative to the root of the checkout (or subdir); '.' for the root itself; may be a wheel or an archive."""
    editable: bool = False
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirements:
    """Requirements with nested files inlined."""

    lines: tuple[str, ...] = ()
    """PEP 508 requirements, direct references (`name @ url`), bare URLs and `git+...` lines, in file order."""
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Global options kept for the resolver, one `--name value` each: index URLs, `--pre`, `--no-binary x` ..."""
    local: tuple[LocalPackage, ...] = ()
    hashes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Normalised name -> the sha256 hashes, one of which the package's file must have."""


@dataclass(frozen=True, slots=True)
class CondaNeed:
    """What an `environment.yml` asks for; its `pip:` list goes to `Plan.requirements`."""

    channels: tuple[str, ...] = ()
    """As written: names or URLs, in order of priority."""
    dependencies: tuple[str, ...] = ()
    """Match specs, as written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the recipes found: what is needed, before anything is run."""

    recipe: str = "python"
    config_dir: str = ""
    """'', `binder` or `.binder`."""
    python: PythonNeed = PythonNeed()
    requirements: Requirements = Requirements()
    server_requirements: Requirements = Requirements()
    """`requirements3.txt`: for the server's environment, only with a separate kernel environment."""
    pinned: Pinned | None = None
    """What a lock file of the repository fixes; `requirements` then hold only what it leaves open."""
    date: date | None = None
    """The date that `runtime.txt` states."""
    apt: tuple[str, ...] = ()
    """Debian packages of `apt.txt`, each checked: `name`, `name=version`, `name/suite`; `-t suite` as one string."""
    conda: CondaNeed | None = None
    post_build: str | None = None
    start: str | None = None
    """Paths of the scripts, relative to the root."""
    ignore: tuple[str, ...] = ()
    """Lines of the ignore files (Docker's syntax)."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a lock: one file, by its hash."""

    name: str
    version: str
    url: str
    """Where the file is; for a checkout `git+https://...@<commit>`. Never holds credentials."""
    sha256: str
    """'' only for a `git+` URL, whose commit fixes the content."""
    filename: str
    size: int | None = None
    uploaded: datetime | None = None

    @property
    def is_wheel(self) -> bool:
        return self.filename.endswith(".whl")


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """One Debian package of a lock."""

    name: str
    version: str
    architecture: str
    url: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class CondaPackage:
    """One conda package of a lock."""

    name: str
    version: str
    build: str
    subdir: str
    url: str
    sha256: str
    md5: str = ""
    size: int | None = None
    uploaded: datetime | None = None


@dataclass(frozen=True, slots=True)
class LockedPlan:
    """The plan with every package fixed to a version, source and hash, as of a date."""

    python: str
    """Exact version of the interpreter, `3.10.13`."""
    packages: tuple[Package, ...]
    """Sorted by name. With `joined` they hold the notebook server as well."""
    date: datetime
    joined: bool = False
    """One environment for server and kernel (the repository concerns itself with the server), else two."""
    platform: str = "linux-x86_64"
    warnings: tuple[str, ...] = ()
    debian: tuple[DebianPackage, ...] = ()
    """Sorted by name."""
    conda: tuple[CondaPackage, ...] = ()
    """Sorted by name; if there are any, Python is one of them."""

    @property
    def environment(self) -> str:
        """Digest of what decides the installed files, and of nothing else: not the date, the URLs or the commit."""
        facts: dict[str, object] = {
            "format": DIGEST_FORMAT,
            "python": self.python,
            "platform": self.platform,
            "joined": self.joined,
            "packages": [[p.name, p.version, p.sha256 or p.url] for p in self.packages],
        }
        if self.debian:
            facts["debian"] = [[p.name, p.version, p.architecture, p.sha256] for p in self.debian]
        if self.conda:
            facts["conda"] = [[p.name, p.version, p.build, p.sha256 or p.md5] for p in self.conda]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython on this machine."""

    version: str
    prefix: Path
    """`sys.base_prefix`; mounted at `mount` inside a sandbox unless it is /usr, or the environment has it itself."""
    executable: Path

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])

    @property
    def within(self) -> bool:
        """It is a package of the environment (conda's), not a program of this machine."""
        return self.prefix == Path(NB_PREFIX)

    @property
    def inside(self) -> str:
        """Path of the executable as seen inside a sandbox."""
        if self.mount is None:
            return str(self.executable)
        return f"{self.mount}/{self.executable.relative_to(self.prefix)}"

    @property
    def mount(self) -> str | None:
        """Where the prefix is mounted inside a sandbox; None when it is there anyway."""
        return None if self.prefix == Path("/usr") or self.within else f"{INTERPRETERS_DIR}/{self.version}"


@dataclass(frozen=True, slots=True)
class Layer:
    """Files that lie over an environment: `home/` over the home directory, `srv/` over /srv; each may be absent.

    A layer of Debian packages has `usr/`, `etc/`, `opt/`, `var/` instead, which lie over this machine's own.
    """

    digest: str
    path: Path


@dataclass(frozen=True, slots=True)
class Environment:
    """The files of a lock, installed."""

    digest: str
    path: Path
    """Holds `srv/`, the lower tree of /srv."""
    python: Interpreter
    joined: bool = False
    system: Layer | None = None
    """The layer of the lock's Debian packages; the first of the layers of every session."""

    @property
    def prefix(self) -> str:
        """The kernel's prefix as seen inside a session."""
        return NB_PREFIX


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use; None means no limit. Bytes for memory and disk."""

    memory: int | None = None
    cpus: float | None = None
    processes: int | None = None
    disk: int | None = None


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """All that an engine needs to start a session."""

    id: str
    name: str
    """The user name in `/user/<name>/`."""
    base_url: str
    """`/user/<name>/`, with both slashes."""
    token: str = field(repr=False)
    environment: Environment
    layers: tuple[Layer, ...]
    """Bottom first: the checkout, then what the repository's own steps wrote."""
    limits: Limits = Limits()
    start: str | None = None
    """The `start` script, relative to REPO_DIR."""
    variables: tuple[tuple[str, str], ...] = ()
    """Further environment variables (BINDER_*)."""
    allow_origin: str = ""
    bound: bool = False
    """End with the process that started it (a launch from the command line), else outlive it."""


@dataclass(frozen=True, slots=True)
class Session:
    """One running environment of one visitor."""

    id: str
    name: str
    engine: str
    socket: Path
    """Unix socket on which the session's server answers HTTP."""
    pid: int
    """Of the session's first process, as this machine counts."""
    born: int
    """Start time of that process in clock ticks since boot, so that a reused pid is not taken for it."""


@dataclass(frozen=True, slots=True)
class Route:
    """Path prefix -> address of a session."""

    prefix: str
    socket: Path
    session: str
