"""The one list of built-ins, and the installation that puts them together.

A stranger's provider comes in through the entry point group `rebind.providers`: a callable that takes a `Needs` and
gives a Provider. Built-ins are made in the very same way.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from rebind import sandbox
from rebind.builds import Builder
from rebind.builds import Store as BuildStore
from rebind.builds.cleaning import clean
from rebind.engines.process import ProcessEngine
from rebind.engines.served import ServedEngine
from rebind.errors import SandboxError, SettingsError
from rebind.images import Images
from rebind.launch import Prepared, Steps
from rebind.locks import (
    HOST,
    CondaFirst,
    CondaLocker,
    DatedIndex,
    DebianLocker,
    Interpreters,
    Locker,
    channel_hosts,
    mirror_hosts,
    server_lock,
)
from rebind.providers import Provider
from rebind.providers.builtin import PROVIDERS, Needs
from rebind.providers.pruning import prune
from rebind.sandbox.egress import Egress
from rebind.sandbox.policy import EgressPolicy
from rebind.settings import Settings
from rebind.values import REPO_DIR, SERVER_DIR, Interpreter, Limits, Report

if TYPE_CHECKING:
    from rebind.images.writer import Image

_SOCKET_ROOM = 60  # of the 107 bytes that the path of a Unix socket may have, for the directory


@dataclass(frozen=True, slots=True)
class Told:
    """What an image says of itself beside what is in it."""

    repository: str
    """The address, `local` for a folder."""
    labels: tuple[tuple[str, str], ...] = ()


class Installation:
    """Everything of one data directory. `public`: a hub, which fetches nothing private unless the settings allow it."""

    def __init__(self, settings: Settings, *, public: bool = False) -> None:
        self.settings = settings
        self.public = public and not settings.allow_private_addresses
        # Sessions outlive a hub and look its way out up by this name, so the next hub must listen under the same.
        self._whose = "hub" if public else str(os.getpid())
        self.owner = settings.sandbox_uid if os.getuid() == 0 else None

    @cached_property
    def run_dir(self) -> Path:
        """For sockets: below `data` if that is short enough, else below the temporary directory."""
        path = self.settings.data / "run"
        if len(os.fsencode(path)) > _SOCKET_ROOM:
            key = hashlib.sha256(os.fsencode(self.settings.data)).hexdigest()[:12]
            path = Path(tempfile.gettempdir()) / f"rebind-{os.getuid()}-{key}"
        return _private_directory(path)

    @cached_property
    def builds(self) -> BuildStore:
        return BuildStore(self.settings.data / "store", self.owner)

    @cached_property
    def interpreters(self) -> Interpreters:
        return Interpreters(self.settings.data)

    @cached_property
    def index(self) -> DatedIndex:
        return DatedIndex(self.settings.data, self.settings.index_url)

    def _egress(self, name: str, hosts: frozenset[str], *, allow_private: bool) -> Egress:
        ports = frozenset(int(port) for port in self.settings.egress_ports.split(",") if port.strip().isdigit())
        policy = EgressPolicy(allow_private, hosts, ports)
        # A folder of its own: the first process of each sandbox, another user as root, looks the socket up in it.
        folder = self.run_dir / "out"
        folder.mkdir(mode=0o711, exist_ok=True)
        return Egress(policy, folder / f"{name}-{self._whose}.sock", {HOST: self.index.socket})

    @cached_property
    def egress(self) -> Egress:
        """The way out of sandboxes: to no private address but the index's and those of egress_hosts, whatever the
        settings say of fetching."""
        named = frozenset(host.strip().lower() for host in self.settings.egress_hosts.split(",") if host.strip())
        return self._egress("sandboxes", self.index.hosts | named, allow_private=False)

    @cached_property
    def fetching(self) -> Egress:
        """Our own way out: to package mirrors wherever they are, to private addresses unless this is a public hub."""
        hosts = self.index.hosts | mirror_hosts() | channel_hosts(self.settings.conda_channels_url)
        return self._egress("fetching", hosts, allow_private=not self.public)

    def make_data(self) -> None:
        """Makes the data directory. Raises SettingsError if it cannot be had or written to."""
        data = self.settings.data
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=data):
                pass
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # whoever needs room says so
            raise SettingsError(
                f"The data directory {data} cannot be used: {error.strerror}.",
                remedy="Choose another one with --data or REBIND_DATA.",
            ) from error

    @contextmanager
    def opened(self) -> Iterator[Installation]:
        """Starts what the steps need (dated index, the two ways out) and stops it again. Raises SettingsError."""
        self.make_data()
        with ExitStack() as stack:
            for part in (self.index, self.egress, self.fetching):
                stack.callback(part.stop)
                part.start()
            yield self

    @cached_property
    def builder(self) -> Builder:
        settings = self.settings
        limits = Limits(memory=settings.build_memory or None, disk=settings.build_disk or None, processes=1024)
        return Builder(
            store=self.builds,
            egress=self.egress.socket,
            proxy_url=self.fetching.proxy_url,
            limits=limits,
            timeout=settings.build_timeout or None,
        )

    @cached_property
    def steps(self) -> Steps:
        return Steps(
            providers=self._providers(),
            interpreters=self.interpreters,
            locker=self._locker(),
            debian=DebianLocker(self.settings.data, self.fetching.socket, sandbox.run, self.owner),
            builder=self.builder,
            memory=self.settings.data / "prepared",
            server=self.server,
        )

    def _locker(self) -> CondaFirst:
        settings = self.settings
        conda = CondaLocker(settings.data, settings.conda_channels_url, self.fetching.proxy_url)
        return CondaFirst(self._python_locker(), conda)

    def _python_locker(self) -> Locker:
        return Locker(
            data=self.settings.data,
            index_url=self.settings.index_url,
            egress=_Ways(self.fetching, self.egress),
            interpreters=self.interpreters,
            run_confined=sandbox.run,
            asked=lambda: self.index.asked,
            owner=self.owner,
        )

    def _providers(self) -> tuple[Provider, ...]:
        factories = dict(PROVIDERS)
        for entry in entry_points(group="rebind.providers"):
            factories.setdefault(entry.name, entry.load())
        return tuple(factory(self._needs(name)) for name, factory in factories.items())

    def _needs(self, name: str) -> Needs:
        settings = self.settings
        proxy = self.fetching.proxy_url if self.public else None
        return Needs(
            settings.data / name,
            proxy,
            self.public,
            settings.fetch_timeout or None,
            settings.fetch_disk or None,
            settings.data / "git",
        )

    def run(
        self,
        prepared: Prepared,
        command: Sequence[str],
        report: Report,
        *,
        on_line: Callable[[str], None] | None = None,
    ) -> int:
        """Runs a command in the environment, confined as a session is and with the notebook server's programs on the
        path; gives its exit code. Raises SandboxError, and what `server` raises."""
        settings = self.settings
        limits = Limits(
            settings.session_memory or None,
            settings.session_cpus or None,
            settings.session_processes or None,
            settings.session_disk or None,
        )
        server = self.server(report)
        confinement = sandbox.session_confinement(
            prepared.environment,
            prepared.layers,
            limits=limits,
            egress=self.egress.socket,
            name=f"run-{os.getpid()}",
            server=server,
        )
        with self._held(prepared, server.parent.name) as held:
            return sandbox.run(confinement, _started(prepared.start, command), on_line=on_line, keep_fds=held)

    @contextmanager
    def _held(self, prepared: Prepared, *environments: str) -> Iterator[list[int]]:
        """Meanwhile `clean` leaves environment and layers alone; the descriptors that see to it."""
        used = (("environments", digest) for digest in (prepared.environment.digest, *environments))
        layers = (("layers", layer.digest) for layer in prepared.layers)
        with ExitStack() as stack:
            held = []
            for kind, digest in (*used, *layers):
                held.append(self.builds.hold(kind, digest))
                stack.callback(os.close, held[-1])
            yield held

    def engine(self) -> ServedEngine:
        """The engine of sessions; call its prepare() to have the notebook server ready at the first start."""
        directory = self.run_dir / "sessions"

        def make(server: Path) -> ProcessEngine:
            return ProcessEngine(directory, server, self.egress.socket, self.owner, timeout=self.settings.start_timeout)

        return ServedEngine(self.server, make)

    @contextmanager
    def own_run_dir(self) -> Iterator[Path]:
        """A run directory of this process alone, removed afterwards; those of dead processes go too."""
        for left in self.run_dir.glob("launch-*"):
            if not Path("/proc", left.name.removeprefix("launch-")).exists():
                shutil.rmtree(left, ignore_errors=True)
        path = _private_directory(self.run_dir / f"launch-{os.getpid()}")
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def server(self, report: Report) -> Path:
        """Prefix of the notebook server's environment, built at first use. Raises as Builder.build_server."""
        return self.builder.build_server(server_lock(_own_interpreter()), _own_interpreter(), report)

    @cached_property
    def images(self) -> Images:
        plain = (name.strip() for name in self.settings.plain_http_registries.split(","))
        path = self.settings.data / "store" / "blobs"
        return Images(path, self.settings.base_image, plain=frozenset(name for name in plain if name))

    def image(self, prepared: Prepared, told: Told, report: Report) -> Image:
        """What was prepared, as an image in the blobs. Raises BuildError, DiskError, AddressError, NetworkError."""
        from rebind.images.manifests import Facts
        from rebind.images.writer import Contents

        self.builds.start()
        joined = prepared.environment.joined
        python = _own_interpreter()
        server = None if joined else self.builder.build_server_for(SERVER_DIR, server_lock(python), python, report)
        date = prepared.commit.date
        facts = Facts(date, told.repository, prepared.commit.spec.ref, prepared.start, joined, told.labels)
        layers, environment = prepared.layers, prepared.environment
        contents = Contents(environment, layers, server, None if joined else python, facts)
        with self._held(prepared), self.builds.in_use():
            return self.images.write(contents, report)

    def clean(self, days: float | None, *, dry_run: bool) -> tuple[int, tuple[str, ...]]:
        """Frees what nobody has used for that many days (None: at all, just now); bytes, and names of what went."""
        freed, removed = clean(self.builds, None if days is None else timedelta(days=days), dry_run=dry_run)
        more, blobs = self.images.blobs.clean(None if days is None else time.time() - days * 86400, dry_run=dry_run)
        freed, removed = freed + more, (*removed, *blobs)
        for kept in (self.settings.data / name for name in PROVIDERS):
            more, gone = prune(kept, time.time() - (days or 0.0) * 86400, dry_run=dry_run)
            freed, removed = freed + more, (*removed, *gone)
        return freed, removed

    def statements(self) -> tuple[str, ...]:
        """What this machine does not allow, in plain sentences."""
        return sandbox.capabilities().statements()


@dataclass(frozen=True, slots=True)
class _Ways:
    """The locker's two ways to the dated index: as a host's client by `proxy_url`, from a sandbox by `socket`."""

    host: Egress
    inside: Egress

    @property
    def proxy_url(self) -> str:
        return self.host.proxy_url

    @property
    def socket(self) -> Path:
        return self.inside.socket


def _started(start: str | None, command: Sequence[str]) -> tuple[str, ...]:
    """The command as the `start` script runs it. A shell's exec also takes a script without `#!`."""
    return ("/bin/sh", "-c", 'exec "$0" "$@"', f"{REPO_DIR}/{start}", *command) if start else tuple(command)


def _own_interpreter() -> Interpreter:
    """The Python that rebind itself runs on; the notebook server runs on it too."""
    prefix = Path(sys.base_prefix)
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Interpreter(".".join(map(str, sys.version_info[:3])), prefix, prefix / "bin" / f"python{minor}")


def _private_directory(path: Path) -> Path:
    """Makes a directory that only we may write in. Raises SandboxError if somebody else made it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise SandboxError(f"The directory {path} belongs to somebody else.", remedy="Choose another one with --data.")
    return path
