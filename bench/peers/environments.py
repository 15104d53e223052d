"""Peers that are Python programs, each in a virtual environment of its own, compiled as pip would."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measure import environ, run


def _uv() -> str:
    return str(Path(sys.executable).parent / "uv")


def make(room: Path, python: str | Path, *install: str) -> Path:
    """An environment at `room` on the interpreter `python` with what `install` names, made once; gives its Python."""
    mark = room / "complete"
    if not mark.exists():
        env = environ(UV_NATIVE_TLS="true")
        run([_uv(), "venv", "--no-config", "-q", "--clear", "-p", python, room], env=env)
        flags = ["--no-config", "-q", "--compile-bytecode", "-p", str(room / "bin" / "python")]
        run([_uv(), "pip", "install", *flags, *install], env=env)
        mark.touch()
    return room / "bin" / "python"


def repo2docker(room: Path) -> Path:
    """The program `repo2docker` of jupyter-repo2docker, newest release."""
    return make(room, sys.executable, "jupyter-repo2docker", "setuptools").parent / "repo2docker"
