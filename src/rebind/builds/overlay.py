"""What the repository's own steps write: local packages, then postBuild, as one layer over environment and checkout.

All of it is strangers' code and runs in a sandbox like a session's, whose writes go to the disk and are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rebind.builds.checkout import LAYERS
from rebind.builds.sources import UNKNOWN_TO_UV, UV, index_variables, uv_mount
from rebind.builds.steps import Outcome, failed, run_step, size_of
from rebind.builds.store import Making, Say, Store
from rebind.errors import RecipeError, ScriptError
from rebind.sandbox import Confinement, session_confinement
from rebind.values import NB_PREFIX, REPO_DIR, UID, USER, Environment, Layer, Limits, LocalPackage, Plan

FORMAT = 1  # raised when the same steps would write other files
CACHES = (".cache", ".npm/_cacache", ".npm/_logs")
CACHE_KEPT = 1 << 20


@dataclass(frozen=True, slots=True)
class Ground:
    """What the steps of a repository run over."""

    environment: Environment
    checkout: Layer
    date: datetime
    egress: Path | None
    limits: Limits
    stop: threading.Event
    """Ends the step that runs, once it is set."""
    timeout: float | None = None
    """Longest time of one step, in seconds."""
    server: Callable[[], Path] | None = None
    """Gives the notebook server's prefix: a postBuild finds its `jupyter`, `node` and `npm`, as a session does."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Bottom first: the Debian packages, if there are some, and the checkout."""
        system = self.environment.system
        return (self.checkout,) if system is None else (system, self.checkout)


def written_layer(store: Store, plan: Plan, ground: Ground, say: Say) -> Layer:
    """The layer of local packages and postBuild, of a repository that has some.

    Raises BuildError, ScriptError, DiskError, SandboxError.
    """
    local = plan.requirements.local
    packages = [[package.path, package.editable, package.extras] for package in local]
    day = f"{ground.date:%Y-%m-%d}"  # what pip in a postBuild gets; by the day, or `today` would never be reused
    lower = [ground.environment.digest, *(layer.digest for layer in ground.layers)]
    facts = [FORMAT, *lower, packages, plan.post_build, day]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    while not (place := store.lease(LAYERS, digest)):
        with store.making(LAYERS, digest, say, ground.stop) as making:
            if not making.found:
                _Steps(store, ground, making, say).run(local, plan.post_build)
                making.keep()
    return Layer(digest, place)


class _Steps:
    def __init__(self, store: Store, ground: Ground, making: Making, say: Say) -> None:
        self.store, self.ground, self.making, self.say = store, ground, making, say
        self.upper = making.work / "upper"

    def run(self, local: Sequence[LocalPackage], post_build: str | None) -> None:
        self.upper.mkdir()
        held = [
            self.store.hold("environments", self.ground.environment.path.name),
            *(self.store.hold(LAYERS, layer.digest) for layer in self.ground.layers),
        ]
        try:
            for package in local:
                self._install(package)
            if post_build:
                self._post_build(post_build)
        finally:
            for fd in held:
                os.close(fd)
        self._keep()

    def _install(self, package: LocalPackage) -> None:
        first: Outcome | None = None
        for argv in install_commands(package, self.ground.environment.python.minor):
            outcome = self._step(argv, f"Installing {package.path}", index_variables(self.ground.date))
            if outcome.code == 0:
                return
            first = first or outcome
        assert first is not None
        raise failed(f"Installing the repository's own package {package.path!r}", first, "See the lines above.")

    def _post_build(self, script: str) -> None:
        self.say(f"Running {script}")
        variables = (("NB_USER", USER), ("NB_UID", str(UID)), *index_variables(self.ground.date))
        # A shell's exec runs a script without `#!` itself, which the kernel refuses to do.
        argv = ("/bin/sh", "-c", 'exec "$0"', f"{REPO_DIR}/{script}")
        server = self.ground.server() if self.ground.server else None
        held = self.store.hold("environments", server.parent.name) if server else None
        try:
            outcome = self._step(argv, script, variables, server)
        finally:
            if held is not None:
                os.close(held)
        if outcome.code:
            remedy = "Correct the script; its output is above."
            raise failed(script, outcome, remedy, ScriptError)

    def _step(
        self, argv: Sequence[str], name: str, variables: tuple[tuple[str, str], ...], server: Path | None = None
    ) -> Outcome:
        return run_step(
            self._confinement(variables, server),
            argv,
            say=self.say,
            written=self.upper,
            hold=self.making.fd,
            timeout=self.ground.timeout,
            name=name,
            stop=self.ground.stop,
        )

    def _confinement(self, variables: tuple[tuple[str, str], ...], server: Path | None) -> Confinement:
        confinement = session_confinement(
            self.ground.environment,
            self.ground.layers,
            limits=self.ground.limits,
            egress=self.ground.egress,
            name=f"build-{self.making.work.name}",
            upper=self.upper,
            server=server,
            variables=variables,
        )
        return replace(confinement, mounts=(*confinement.mounts, uv_mount()))

    def _keep(self) -> None:
        for name in ("home", "srv"):
            if (self.upper / name).is_dir():
                (self.upper / name).rename(self.making.work / name)
        self.making.drop(self.upper)
        for cache in _large_caches(self.making.work / "home"):
            self.making.drop(cache)


def install_commands(package: LocalPackage, minor: str) -> Iterator[tuple[str, ...]]:
    """Commands to try in turn: uv (quickest), pip (which also knows editable installs of the time before PEP 660), and
    pip with what the environment has, as everybody did before there was isolation (2019)."""
    path = os.path.normpath(package.path)
    if path.startswith(("/", "..")) or "\0" in path:
        raise RecipeError(f"The package {package.path!r} is not in the repository.", remedy="Use a path inside of it.")
    extras = f"[{','.join(package.extras)}]" if package.extras else ""
    target = f"./{path}{extras}" if path != "." else f".{extras}"
    what = ("--editable", target) if package.editable else (target,)
    if minor not in UNKNOWN_TO_UV:
        yield (UV, "pip", "install", "--no-deps", "--python", f"{NB_PREFIX}/bin/python", *what)
    pip = (f"{NB_PREFIX}/bin/python", "-m", "pip", "install", "--no-deps")
    yield (*pip, *what)
    if not path.endswith(".whl"):
        yield (*pip, "--no-build-isolation", *what)


def _large_caches(home: Path) -> Iterator[Path]:
    """Directories that programs keep what they downloaded in; never a link, whose target is not theirs."""
    for cache in CACHES:
        path = home
        for part in cache.split("/"):
            path = path / part
            if path.is_symlink() or not path.is_dir():
                break
        else:
            if size_of(path) > CACHE_KEPT:
                yield path
