"""Lock -> environment: packages as hard links from a content-addressed store, and the repository's layers over them."""

from __future__ import annotations

from pathlib import Path

from rebind.builds.downloads import Downloads
from rebind.builds.environments import Environments
from rebind.builds.store import Say, Store
from rebind.builds.wheels import Wheels
from rebind.values import (
    Environment,
    Event,
    Interpreter,
    Limits,
    LockedPlan,
    Package,
    Phase,
    Report,
)

__all__ = ["Builder", "Store"]

NO_LIMITS = Limits()


class Builder:
    """Builds what is not in `store` yet. `egress` is the socket of the proxy through which a sandbox reaches the
    network, `proxy_url` the same proxy for ourselves; None: no network, and directly."""

    def __init__(self, *, store: Store, egress: Path | None, proxy_url: str | None, limits: Limits = NO_LIMITS) -> None:
        self.store, self._egress, self._limits = store, egress, limits
        self._downloads = Downloads(store, proxy_url)
        self._environments = Environments(store, self._wheels)

    def build(self, locked: LockedPlan, interpreter: Interpreter, report: Report) -> Environment:
        """The environment of a lock, built once for its digest over all processes.

        Raises BuildError, NetworkError, DiskError, SandboxError.
        """
        return self._environments.build(locked, interpreter, saying(report))

    def build_server(self, locked: LockedPlan, interpreter: Interpreter, report: Report) -> Path:
        """The same for use at a path of this machine: returns its prefix. Raises as `build`."""
        return self._environments.build_server(locked, interpreter, saying(report))

    def _wheels(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Wheels:
        def obtain(package: Package) -> tuple[Path, str]:
            return self._downloads.fetch(package, say), package.sha256

        return Wheels(self.store, obtain)


def saying(report: Report) -> Say:
    """Lines of a build as events."""
    return lambda line: report(Event(Phase.BUILDING, f"{line}\n"))
