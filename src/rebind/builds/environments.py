"""Locks -> environments in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rebind.builds.store import Making, Say, Store, room
from rebind.values import Environment, Interpreter, LockedPlan

if TYPE_CHECKING:
    from rebind.builds.wheels import Wheels

ENVIRONMENTS = "environments"
SEPARATE = ("2.7", "3.5", "3.6")
"""Their kernels have a prefix of their own on mybinder.org, whose name repositories rely on (spec 1.5)."""


class Environments:
    """Makes environments of wheels; `wheels` is asked anew for each, with the lock that it is for."""

    def __init__(self, store: Store, wheels: Callable[[LockedPlan, Interpreter, Say], Wheels]) -> None:
        self._store, self._wheels = store, wheels

    def build(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Environment:
        """The environment of a lock, for /srv of a session."""
        digest = locked.environment
        place = self.have(digest, say, lambda making: self._installation(locked, interpreter, say).fill(making.work))
        return Environment(digest, place, interpreter, locked.joined)

    def build_server(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Path:
        """The prefix of an environment that is used where it lies, with the interpreter where that lies."""
        facts = [locked.environment, str(interpreter.executable), str(self._store.path)]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        prefix = self._store.place(ENVIRONMENTS, digest) / "prefix"

        def fill(making: Making) -> None:
            self._installation(locked, interpreter, say).fill_for(str(prefix), making.work)

        return self.have(digest, say, fill) / "prefix"

    def build_server_for(self, inside: str, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Path:
        """The same to be used at the path `inside` of an image, with the interpreter where images have it."""
        facts = [locked.environment, interpreter.inside, inside]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

        def fill(making: Making) -> None:
            self._installation(locked, interpreter, say).fill_for(inside, making.work, interpreter.inside)

        return self.have(digest, say, fill) / "prefix"

    def fill(self, locked: LockedPlan, interpreter: Interpreter, place: Path, say: Say) -> None:
        """The environment of a lock's wheels alone, in an empty directory and not kept: to build the others in."""
        self._installation(locked, interpreter, say).fill(place, only_wheels=True)

    def have(self, digest: str, say: Say, fill: Callable[[Making], None]) -> Path:
        """The environment, filled if it is not there."""
        while not (place := self._store.lease(ENVIRONMENTS, digest)):
            with self._store.making(ENVIRONMENTS, digest, say) as making:
                if not making.found:
                    with room(self._store.path):
                        fill(making)
                    making.keep()
        return place

    def _installation(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> _Installation:
        return _Installation(self._store, self._wheels(locked, interpreter, say), locked, interpreter, say)


class _Installation:
    """One lock being installed."""

    def __init__(self, store: Store, wheels: Wheels, locked: LockedPlan, interpreter: Interpreter, say: Say) -> None:
        self.store, self.wheels, self.locked, self.interpreter, self.say = store, wheels, locked, interpreter, say

    def fill(self, work: Path, *, only_wheels: bool = False) -> None:
        """`work`/srv, as sessions see it."""
        from rebind.builds.tree import Tree
        from rebind.values import APP_BASE, CONDA_DIR, KERNEL_PREFIX, NB_PREFIX, NPM_DIR

        tree = Tree(work, self.store.owner)
        for directory in (APP_BASE, f"{CONDA_DIR}/bin", f"{NPM_DIR}/bin", f"{NPM_DIR}/lib", NB_PREFIX):
            tree.make(directory[1:])
        tree.write(f"{NPM_DIR[1:]}/npmrc", f"prefix={NPM_DIR}\n".encode())
        if self.interpreter.minor in SEPARATE:
            tree.symlink(KERNEL_PREFIX[1:], Path(NB_PREFIX).name)
        self._install(work, work / NB_PREFIX[1:], self.interpreter.inside, NB_PREFIX, only_wheels)

    def fill_for(self, prefix: str, work: Path, executable: str = "") -> None:
        """`work`/prefix, to be used at `prefix`, on this machine unless `executable` is elsewhere."""
        (work / "prefix").mkdir()
        self._install(work, work / "prefix", executable or str(self.interpreter.executable), prefix, False)

    def _install(self, work: Path, root: Path, executable: str, prefix: str, only_wheels: bool) -> None:
        from rebind.builds.assemble import assemble
        from rebind.builds.tree import Tree

        packages = [package for package in self.locked.packages if package.is_wheel or not only_wheels]
        with self.store.in_use():
            self._announce()
            wheels = self.wheels.prepare(packages, self.interpreter, self.say)
            self.say(f"Installing {len(wheels)} packages")
            assemble(wheels, self.interpreter, executable, prefix, Tree(root, self.store.owner), self.say)
        (work / "wheels").write_text("".join(f"{wheel.key}\n" for wheel in wheels))  # for `clean`

    def _announce(self) -> None:
        from rebind.builds.wheels import check_room

        missing = self.wheels.missing(self.locked.packages, self.interpreter)
        if missing:
            check_room(self.store, missing)
            size = sum(package.size or 0 for package in missing)
            self.say(f"Fetching {len(missing)} packages{f' ({size / 1e6:.0f} MB)' if size else ''}")
