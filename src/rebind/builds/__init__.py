"""Lock -> environment: packages as hard links from a content-addressed store, and the repository's layers over them.

What only a real build needs is imported when it begins: most launches find everything in the store.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rebind.builds.checkout import LAYERS, checkout_layer
from rebind.builds.environments import Environments
from rebind.builds.store import Making, Say, Store, silent
from rebind.values import (
    Commit,
    DebianPackage,
    Environment,
    Event,
    Interpreter,
    Layer,
    Limits,
    LockedPlan,
    Package,
    Phase,
    Plan,
    Report,
)

if TYPE_CHECKING:
    from rebind.builds.downloads import Downloads
    from rebind.builds.wheels import Wheels

__all__ = ["Builder", "Store"]

NO_LIMITS = Limits()


class Builder:
    """Builds what is not in `store` yet. `egress` is the socket of the proxy through which a sandbox reaches the
    network, `proxy_url` the same proxy for ourselves; None: no network, and directly. `timeout`: seconds that one step
    of strangers' code may take."""

    def __init__(
        self,
        *,
        store: Store,
        egress: Path | None,
        proxy_url: str | None,
        limits: Limits = NO_LIMITS,
        timeout: float | None = None,
    ) -> None:
        self.store, self._egress, self._limits, self._proxy_url = store, egress, limits, proxy_url
        self._timeout = timeout
        self._stops: weakref.WeakSet[threading.Event] = weakref.WeakSet()
        self._downloads: Downloads | None = None
        self._environments = Environments(store, self._wheels)

    def build(self, locked: LockedPlan, interpreter: Interpreter, report: Report) -> Environment:
        """The environment of a lock, built once for its digest over all processes.

        Raises BuildError, NetworkError, DiskError, SandboxError.
        """
        say = saying(report)
        system = self._system(locked.debian, say)
        if system is None:
            return self._environment(locked, interpreter, say)
        held = self.store.hold(LAYERS, system.digest)
        try:
            return replace(self._environment(locked, interpreter, say), system=system)
        finally:
            os.close(held)

    def _environment(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Environment:
        if not locked.conda:
            return self._environments.build(locked, interpreter, say)
        from rebind.builds.conda import Means, conda_python, fill_conda

        def fill(making: Making) -> None:
            wheels = self._wheels(locked, interpreter, say)
            means = Means(self.store, self._downloading(), self._stop(), interpreter, wheels)
            fill_conda(locked, means, making.work, say)

        digest = locked.environment
        place = self._environments.have(digest, say, fill)
        return Environment(digest, place, conda_python(locked.python), locked.joined)

    def system(self, packages: tuple[DebianPackage, ...], report: Report) -> Layer | None:
        """The layer of a lock's Debian packages, None if it has none. Raises as `build`."""
        return self._system(packages, saying(report))

    def build_server(self, locked: LockedPlan, interpreter: Interpreter, report: Report) -> Path:
        """The same for use at a path of this machine: returns its prefix. Raises as `build`."""
        return self._environments.build_server(locked, interpreter, saying(report))

    def build_server_for(self, inside: str, locked: LockedPlan, interpreter: Interpreter, report: Report) -> Path:
        """The same for use at the path `inside` of an image: returns where it lies here. Raises as `build`."""
        return self._environments.build_server_for(inside, locked, interpreter, saying(report))

    def overlay(
        self,
        environment: Environment,
        plan: Plan,
        checkout: Path,
        commit: Commit,
        report: Report,
        *,
        when: datetime | None = None,
        server: Callable[[], Path] | None = None,
    ) -> tuple[Layer, ...]:
        """The layers of a session, bottom first: Debian packages if the lock has some, the repository's files, then
        what its own packages and postBuild wrote.

        `checkout` is the directory that takes the part of the root; it is consumed. `when`: the time as of which pip
        in these steps sees the package index (the lock's date), else the commit's. `server` gives the prefix of the
        notebook server, whose programs a postBuild finds as a session does; asked for if there is one to run.
        Raises BuildError, ScriptError, RecipeError, DiskError, SandboxError.
        """
        say = saying(report)
        files = checkout_layer(self.store, plan, checkout, commit, say)
        lower = (files,) if environment.system is None else (environment.system, files)
        if not plan.requirements.local and not plan.post_build:
            return lower
        from rebind.builds.overlay import Ground, written_layer

        date = when or commit.date
        ground = Ground(environment, files, date, self._egress, self._limits, self._stop(), self._timeout, server)
        return *lower, written_layer(self.store, plan, ground, say)

    def interrupt(self) -> None:
        """Ends what is being built just now: it raises BuildError where it runs. Nothing half-made stays."""
        for stop in tuple(self._stops):
            stop.set()

    def _stop(self) -> threading.Event:
        stop = threading.Event()
        self._stops.add(stop)
        return stop

    def _system(self, packages: tuple[DebianPackage, ...], say: Say) -> Layer | None:
        if not packages:
            return None
        from rebind.builds.debian import Debian, Means

        means = Means(self._downloading, self._limits, self._stop(), self._timeout)
        return Debian(self.store, means).layer(packages, say)

    def _downloading(self) -> Downloads:
        from rebind.builds.downloads import Downloads

        self._downloads = self._downloads or Downloads(self.store, self._proxy_url)
        return self._downloads

    def _wheels(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Wheels:
        """What makes the wheels of one lock: source packages are built as of its date, with its wheels at hand."""
        from rebind.builds.sources import Sources, Workshop
        from rebind.builds.wheels import Wheels

        downloads = self._downloading()
        sources = Sources(self.store, downloads.fetch)

        def old_way(place: Path) -> None:
            self._environments.fill(locked, interpreter, place, silent)

        stop = self._stop()
        system = self._system(locked.debian, say)
        workshop = Workshop(
            interpreter,
            locked.date,
            self._egress,
            self._limits,
            stop,
            old_way,
            self._timeout,
            (system,) if system else (),
        )

        def obtain(package: Package) -> tuple[Path, str]:
            if package.is_wheel:
                return downloads.fetch(package, say, stop), package.sha256
            return sources.wheel(package, workshop, say)

        return Wheels(self.store, obtain, stop)


def saying(report: Report) -> Say:
    """Lines of a build as events."""
    return lambda line: report(Event(Phase.BUILDING, f"{line}\n"))
