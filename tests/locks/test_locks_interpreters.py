"""Which Python is found and chosen. The interpreters are small scripts that answer as one would; one is real."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rebind.errors import InterpreterError
from rebind.locks import Interpreters
from rebind.locks.releases import default_minor
from rebind.locks.scan import Places, scan
from rebind.values import PythonNeed

TODAY = datetime(2026, 1, 1, tzinfo=UTC)
Make = Callable[..., Interpreters]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A machine with these Pythons and no other; each notes that it was asked."""

    def install(*versions: str, implementation: str = "CPython") -> Interpreters:
        folders = []
        for version in versions:
            prefix = tmp_path / "pythons" / version
            executable = prefix / "bin" / f"python{version.rpartition('.')[0]}"
            executable.parent.mkdir(parents=True, exist_ok=True)
            answer = f"echo {implementation}; echo {version}; echo {prefix}"
            executable.write_text(f"#!/bin/sh\necho {version} >> {tmp_path}/asked\n{answer}\n")
            executable.chmod(0o755)
            folders.append(str(executable.parent))
        monkeypatch.setattr(sys, "_base_executable", str(tmp_path / "nothing"))
        places = Places(":".join(folders), tmp_path, tmp_path / "ours")
        return Interpreters(tmp_path / "data", download=False, places=places)

    return install


def test_our_own_interpreter_is_found_by_really_asking_it(tmp_path: Path) -> None:
    found = scan(Places("", tmp_path, tmp_path), tmp_path / "cache.json")
    assert found[0].version == ".".join(map(str, sys.version_info[:3]))
    assert found[0].prefix == Path(sys.base_prefix).resolve()
    assert found[0].executable.exists()


def test_answers_are_remembered_until_the_file_changes(make: Make, tmp_path: Path) -> None:
    make("3.10.4")
    places = Places(str(tmp_path / "pythons" / "3.10.4" / "bin"), tmp_path, tmp_path / "ours")
    for _ in range(2):
        Interpreters(tmp_path / "data", places=places).all()
    assert (tmp_path / "asked").read_text().splitlines() == ["3.10.4"]
    make("3.10.4").all()
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 1}', '{"x": [1]}'])
def test_a_damaged_memory_is_made_again(make: Make, tmp_path: Path, damage: str) -> None:
    machine = make("3.10.4")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "interpreters.json").write_text(damage)
    assert [python.version for python in machine.all()] == ["3.10.4"]


def test_other_implementations_and_broken_ones_are_passed_over(make: Make, tmp_path: Path) -> None:
    assert make("3.10.4", implementation="PyPy").all() == ()
    broken = tmp_path / "pythons" / "3.10.4" / "bin" / "python3.10"
    broken.write_text("#!/bin/sh\nexit 3\n")
    assert make().all() == ()


def test_pyenv_and_uv_are_looked_through_and_shims_are_not(make: Make, tmp_path: Path) -> None:
    make("3.8.1", "3.9.1", "3.11.1", "3.12.1")
    pythons = tmp_path / "pythons"
    for place, version in ((".pyenv/versions", "3.8.1"), (".local/share/uv/python", "3.9.1"), ("ours", "3.11.1")):
        (tmp_path / place).mkdir(parents=True)
        (pythons / version).rename(tmp_path / place / version)
        script = tmp_path / place / version / "bin" / f"python{version.rpartition('.')[0]}"
        script.write_text(script.read_text().replace(str(pythons / version), str(tmp_path / place / version)))
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3.12").symlink_to(pythons / "3.12.1" / "bin" / "python3.12")
    machine = Interpreters(tmp_path / "data", download=False, places=Places(str(shims), tmp_path, tmp_path / "ours"))
    assert {python.version for python in machine.all()} == {"3.8.1", "3.9.1", "3.11.1"}


@pytest.mark.parametrize(
    ("need", "version"),
    [
        (PythonNeed("3.9"), "3.9.7"),
        (PythonNeed("3.9.2"), "3.9.2"),
        (PythonNeed("3"), "3.10.4"),
        (PythonNeed("2"), "2.7.18"),
        (PythonNeed(), "3.10.4"),
        (PythonNeed(requires=">=3.8"), "3.10.4"),
        (PythonNeed(requires=">=3.11"), "3.13.1"),
        (PythonNeed(requires="<3.10"), "3.9.7"),
        (PythonNeed(requires="~=3.11.4"), "3.11.5"),
        (PythonNeed(requires="==3.11.5"), "3.11.5"),
        (PythonNeed("3", requires=">=3.11"), "3.13.1"),
    ],
)
def test_choices(make: Make, need: PythonNeed, version: str) -> None:
    machine = make("2.7.18", "3.9.2", "3.9.7", "3.10.4", "3.11.5", "3.13.1")
    choice = machine.choose(need, TODAY)
    assert (choice.interpreter.version, choice.notes) == (version, ())
    assert machine.find(need, TODAY) == choice.interpreter


def test_another_patch_release_is_taken_and_told(make: Make) -> None:
    machine = make("3.10.4")
    for need in (PythonNeed("3.10.2"), PythonNeed(requires="==3.10.2")):
        choice = machine.choose(need, TODAY)
        assert choice.interpreter.version == "3.10.4"
        assert "3.10.4" in choice.notes[0]


def test_a_default_gives_way_to_a_neighbour_and_a_stated_one_does_not(make: Make) -> None:
    machine = make("3.12.3", "3.13.1")
    choice = machine.choose(PythonNeed(), TODAY)
    assert choice.interpreter.version == "3.12.3"
    assert "3.10" in choice.notes[0]
    with pytest.raises(InterpreterError) as caught:
        machine.find(PythonNeed("3.10", stated_in="runtime.txt"), TODAY)
    assert "3.10 (runtime.txt)" in str(caught.value)
    assert "3.12.3, 3.13.1" in caught.value.detail
    assert "uv python install 3.10" in caught.value.remedy


@pytest.mark.parametrize(
    "need",
    [
        PythonNeed("4"),
        PythonNeed("3.99"),
        PythonNeed("2.6"),
        PythonNeed("3.0"),
        PythonNeed("../3.10"),
        PythonNeed("3.10\n"),
        PythonNeed("--help"),
        PythonNeed(requires=">=4"),
        PythonNeed(requires="rubbish"),
        PythonNeed("3.10", requires=">=3.11"),
    ],
)
def test_refused(make: Make, need: PythonNeed) -> None:
    with pytest.raises(InterpreterError):
        make("3.10.4", "3.11.5").find(need, TODAY)


def test_no_python_at_all(make: Make) -> None:
    with pytest.raises(InterpreterError, match="There are: none" if False else "cannot be fetched"):
        make().find(PythonNeed(), TODAY)


@pytest.mark.parametrize(
    ("day", "minor"),
    [
        ("2012-01-01", "3.6"),
        ("2017-09-11", "3.6"),
        ("2018-12-20", "3.6"),
        ("2018-12-27", "3.7"),
        ("2021-04-10", "3.9"),
        ("2022-04-10", "3.10"),
        ("2026-01-01", "3.10"),
    ],
)
def test_the_python_of_a_day(day: str, minor: str) -> None:
    assert default_minor(datetime.fromisoformat(day).replace(tzinfo=UTC)) == minor


def test_by_version_gives_the_exact_one(make: Make) -> None:
    machine = make("3.9.2", "3.9.7")
    assert machine.by_version("3.9.2").version == "3.9.2"
    assert machine.by_version("3.9").version == "3.9.7"
    with pytest.raises(InterpreterError):
        machine.by_version("3.9.3")


def test_a_failed_download_is_not_tried_again_at_once(make: Make, tmp_path: Path) -> None:
    failed = tmp_path / "data" / "python" / ".failed-3.13"
    failed.parent.mkdir(parents=True)
    failed.touch()
    places = make("3.10.4")._places
    machine = Interpreters(tmp_path / "data", places=places)
    with pytest.raises(InterpreterError):
        machine.find(PythonNeed("3.13"), TODAY)


@pytest.mark.parametrize(
    ("day", "requires", "minor"),
    [
        ("2024-03-01", ">=3.11", "3.11"),  # 3.12 had no wheels yet, and 3.13 was not there
        ("2025-06-01", ">=3.11", "3.13"),
        ("2020-01-01", ">=3.6", "3.7"),
        ("2020-01-01", ">=3.8", "3.8"),
        ("2020-01-01", ">=3.12", "3.12"),  # of a day when there was none: the oldest that will do
    ],
)
def test_what_a_package_requires_is_met_by_a_python_of_the_day(make: Make, day: str, requires: str, minor: str) -> None:
    machine = make("3.6.9", "3.7.9", "3.8.9", "3.9.9", "3.10.9", "3.11.9", "3.12.9", "3.13.9", "3.14.1")
    when = datetime.fromisoformat(day).replace(tzinfo=UTC)
    assert machine.find(PythonNeed(requires=requires), when).minor == minor
