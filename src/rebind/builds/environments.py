"""Locks -> environments in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rebind.builds.assemble import assemble
from rebind.builds.store import Making, Say, Store, room
from rebind.builds.tree import Tree
from rebind.builds.wheels import Wheel, Wheels, check_room, wheel_key
from rebind.values import APP_BASE, CONDA_DIR, NB_PREFIX, NPM_DIR, Environment, Interpreter, LockedPlan

ENVIRONMENTS = "environments"


class Environments:
    """Makes environments of wheels; `wheels` is asked anew for each, with the lock that it is for."""

    def __init__(self, store: Store, wheels: Callable[[LockedPlan, Interpreter, Say], Wheels]) -> None:
        self._store, self._wheels = store, wheels

    def build(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Environment:
        """The environment of a lock, for /srv of a session."""
        digest = locked.environment
        place = self._have(digest, say, lambda making: self._fill(locked, interpreter, making.work, say))
        return Environment(digest, place, interpreter, locked.joined)

    def build_server(self, locked: LockedPlan, interpreter: Interpreter, say: Say) -> Path:
        """The prefix of an environment that is used where it lies, with the interpreter where that lies."""
        facts = [locked.environment, str(interpreter.executable), str(self._store.path)]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        place = self._store.place(ENVIRONMENTS, digest)

        def fill(making: Making) -> None:
            tree = Tree(making.work / "prefix", self._store.owner)
            tree.root.mkdir()
            wheels = self._install(locked, interpreter, str(interpreter.executable), str(place / "prefix"), tree, say)
            _note(making.work, wheels)

        return self._have(digest, say, fill) / "prefix"

    def _have(self, digest: str, say: Say, fill: Callable[[Making], None]) -> Path:
        while not (place := self._store.lease(ENVIRONMENTS, digest)):
            with self._store.making(ENVIRONMENTS, digest, say) as making:
                if not making.found:
                    with room(self._store.path):
                        fill(making)
                    making.keep()
        return place

    def fill(self, locked: LockedPlan, interpreter: Interpreter, place: Path, say: Say) -> None:
        """The environment of a lock's wheels alone, in an empty directory and not kept: to build the others in."""
        wheels = tuple(package for package in locked.packages if package.is_wheel)
        self._fill(replace(locked, packages=wheels), interpreter, place, say)

    def _fill(self, locked: LockedPlan, interpreter: Interpreter, work: Path, say: Say) -> None:
        tree = Tree(work, self._store.owner)
        for directory in (APP_BASE, f"{CONDA_DIR}/bin", f"{NPM_DIR}/bin", f"{NPM_DIR}/lib"):
            tree.make(directory[1:])
        tree.write(f"{NPM_DIR[1:]}/npmrc", f"prefix={NPM_DIR}\n".encode())
        tree.make(NB_PREFIX[1:])
        prefix = Tree(work / NB_PREFIX[1:], self._store.owner)
        _note(work, self._install(locked, interpreter, interpreter.inside, NB_PREFIX, prefix, say))

    def _install(
        self, locked: LockedPlan, interpreter: Interpreter, executable: str, prefix: str, tree: Tree, say: Say
    ) -> Sequence[Wheel]:
        missing = [package for package in locked.packages if not self._has(package.sha256, interpreter)]
        if missing:
            check_room(self._store, missing)
            size = sum(package.size or 0 for package in missing)
            say(f"Fetching {len(missing)} packages{f' ({size / 1e6:.0f} MB)' if size else ''}")
        with self._store.in_use():
            wheels = self._wheels(locked, interpreter, say).prepare(locked.packages, interpreter, say)
            say(f"Installing {len(wheels)} packages")
            assemble(wheels, interpreter, executable, prefix, tree, say)
        return wheels

    def _has(self, sha256: str, interpreter: Interpreter) -> bool:
        return bool(sha256) and self._store.find("wheels", wheel_key(sha256, interpreter)) is not None


def _note(work: Path, wheels: Sequence[Wheel]) -> None:
    """Which wheels an environment is made of, for `clean`."""
    (work / "wheels").write_text("".join(f"{wheel.key}\n" for wheel in wheels))
