"""What the sandbox's tests share: a way to run an attacker's script inside, and a skip where that is not possible."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rebind.sandbox import SANDBOX_UID, Bind, Confinement, Mount, base_mounts, capabilities, run

PYTHON_PREFIX = Path(sys.base_prefix)
IN_USR = PYTHON_PREFIX.is_relative_to("/usr")
PYTHON = (
    str(Path(sys.executable).resolve())
    if IN_USR
    else f"/opt/rebind/python/tests/{Path(sys.executable).resolve().relative_to(PYTHON_PREFIX)}"
)


@dataclass(frozen=True)
class Outcome:
    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def plain_confinement(*mounts: Mount, **changes: object) -> Confinement:
    """A sandbox with the programs of this machine and the Python of these tests."""
    # At its own path as well: there a shared build has its library.
    places = () if IN_USR else ("/opt/rebind/python/tests", str(PYTHON_PREFIX))
    python = tuple(Bind(PYTHON_PREFIX, place) for place in places)
    variables = (("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"), ("HOME", "/tmp"))
    made = Confinement((*base_mounts(), *python, *mounts), variables, "/tmp", name="tests")
    return replace(made, **changes)  # type: ignore[arg-type]


Inside = Callable[..., Outcome]


@pytest.fixture(scope="session", autouse=True)
def isolation(request: pytest.FixtureRequest) -> None:
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)


@pytest.fixture
def inside() -> Inside:
    """`inside(script, *mounts, python=False, **changes of the confinement)`: runs it as a stranger's code."""

    def call(script: str, *mounts: Mount, python: bool = False, timeout: float = 30, **changes: object) -> Outcome:
        lines: list[str] = []
        argv = [PYTHON, "-I", "-S", "-c", script] if python else ["/bin/sh", "-c", script]
        code = run(plain_confinement(*mounts, **changes), argv, on_line=lines.append, timeout=timeout)
        return Outcome(code, lines)

    return call


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for sockets, and which the sandbox's user may enter."""
    with TemporaryDirectory(prefix="rb-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def give(path: Path) -> Path:
    """Gives a tree to the sandbox's user, as a store does."""
    if os.geteuid() == 0:
        for each in (path, *path.rglob("*")):
            os.chown(each, SANDBOX_UID, SANDBOX_UID, follow_symlinks=False)
    return path
