"""Rows of builder spec 4.4 and 4.5 that concern the choice of Python."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rebind.errors import InterpreterError
from rebind.locks import Interpreters
from rebind.locks.scan import Places
from rebind.values import PythonNeed

WHEN = datetime(2026, 8, 21, tzinfo=UTC)


@pytest.fixture
def machine(tmp_path: Path) -> Interpreters:
    """Scripts that answer as these CPythons would."""
    folders = []
    for version in ("2.7.18", "3.8.20", "3.9.23", "3.10.19", "3.11.14", "3.12.12", "3.14.0"):
        script = tmp_path / version / "bin" / f"python{version.rpartition('.')[0]}"
        script.parent.mkdir(parents=True)
        script.write_text(f"#!/bin/sh\necho CPython; echo {version}; echo {tmp_path / version}\n")
        script.chmod(0o755)
        folders.append(str(script.parent))
    return Interpreters(tmp_path / "data", download=False, places=Places(":".join(folders), tmp_path, tmp_path / "o"))


def found(machine: Interpreters, version: str | None = None, requires: str = "") -> str:
    return machine.find(PythonNeed(version, requires), WHEN).minor


@pytest.mark.parametrize("version", ["2.6", "3.0", "4.10", "3.99"])
def test_u_pyv_unsupported_versions_raise(machine: Interpreters, version: str) -> None:
    with pytest.raises(InterpreterError, match="not supported"):
        found(machine, version)


@pytest.mark.parametrize(("version", "minor"), [("3.11", "3.11"), ("3", "3.10"), ("2", "2.7"), (None, "3.10")])
def test_spec_1_4_versions_of_runtime_txt(machine: Interpreters, version: str | None, minor: str) -> None:
    assert found(machine, version) == minor


@pytest.mark.parametrize(("requires", "minor"), [(">=3.9", "3.10"), (">=3.11", "3.14"), ("<3.10", "3.9")])
def test_spec_1_6_requires_python(machine: Interpreters, requires: str, minor: str) -> None:
    assert found(machine, requires=requires) == minor
    assert found(machine, "3", requires) == minor


def test_spec_1_6_a_stated_minor_that_does_not_satisfy_is_an_error(machine: Interpreters) -> None:
    with pytest.raises(InterpreterError, match="does not satisfy"):
        found(machine, "3.9", ">=3.10")
    with pytest.raises(InterpreterError, match="no supported Python"):
        found(machine, requires=">=3.20")


def test_o_06_a_patch_version_is_accepted(machine: Interpreters) -> None:
    choice = machine.choose(PythonNeed("3.10.2"), WHEN)
    assert choice.interpreter.version == "3.10.19"
    assert choice.notes


def test_o_12_a_package_that_wants_a_late_patch_release(machine: Interpreters) -> None:
    assert found(machine, requires=">=3.11.4") == "3.14"


def test_o_13_a_package_that_wants_one_patch_release_gets_its_minor(machine: Interpreters) -> None:
    assert found(machine, requires="==3.11.5") == "3.11"
