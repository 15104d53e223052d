"""The lock of rebind's own notebook server, shipped with each release."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from rebind.locks.pylock import parse, read_pylock
from rebind.values import Interpreter, LockedPlan

_FILE = "server.toml"


def _text() -> str:
    return (files("rebind.locks") / _FILE).read_text()


@cache
def server_lock(interpreter: Interpreter) -> LockedPlan:
    """The server's packages for an interpreter (3.11 or newer). Remade by `python -m rebind.locks.make_server_lock`."""
    return read_pylock(_text(), interpreter)


@cache
def server_names() -> frozenset[str]:
    """Normalised names of all packages of the server."""
    packages = parse(_text())["packages"]
    assert isinstance(packages, list)
    return frozenset(str(package["name"]) for package in packages)
