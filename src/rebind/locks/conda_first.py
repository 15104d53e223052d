"""Plans with conda packages: those first, then the `pip:` list on the Python that came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from rebind.locks.conda import CondaLocker, beside, conda_only, pip_plan, python_version
from rebind.locks.locker import Locker
from rebind.locks.resolve import UnresolvableError
from rebind.values import Layer, LockedPlan, Plan, Report


class CondaFirst:
    """Locks any plan: one without conda packages just as `locker` does."""

    def __init__(self, locker: Locker, conda: CondaLocker) -> None:
        self._locker, self._conda = locker, conda

    def lock(
        self,
        plan: Plan,
        root: Path,
        when: datetime,
        report: Report,
        *,
        identity: str = "",
        system: Callable[[], Layer | None] | None = None,
    ) -> LockedPlan:
        """See Locker.lock."""
        if plan.conda is None:
            return self._locker.lock(plan, root, when, report, identity=identity, system=system)
        packages = self._conda.lock(plan, when, report)
        wanted = pip_plan(plan, packages)
        if wanted is None:
            return conda_only(packages, when.astimezone(UTC).replace(microsecond=0))
        warnings: tuple[str, ...] = ()
        try:
            locked = self._locker.lock(wanted, root, when, report, identity=identity, system=system)
        except UnresolvableError:
            # pip itself would replace conda's packages where the list asks for others.
            free = pip_plan(plan, packages, bound=False) or wanted
            locked = self._locker.lock(free, root, when, report, identity=identity, system=system)
            warnings = ("The pip: list of environment.yml asks for other versions than conda's: both may be there.",)
        return replace(
            locked,
            python=python_version(packages),
            packages=beside(locked.packages, packages),
            conda=packages,
            warnings=(*locked.warnings, *warnings),
        )
