"""Rows of the builder's spec on apt.txt, with real packages of this machine's mirrors."""

from __future__ import annotations

import json
import signal
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import MakeRepository
from tests.whole.programs import REBIND, environment, execute, rebind

from rebind.errors import LockError
from rebind.locks import debian_host
from rebind.sandbox import capabilities

pytestmark = [pytest.mark.network, pytest.mark.session]

Says = Callable[[dict[str, str], str], list[str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)
    try:
        debian_host.check_host()
    except LockError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("debian")


@pytest.fixture
def says(data: Path, make_repository: MakeRepository) -> Says:
    """Runs a shell command in a repository of these files and gives its lines."""

    def run(files: dict[str, str], script: str) -> list[str]:
        done = rebind("run", make_repository(files), "--as-of", "today", "--", "sh", "-c", script, data=data)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_v_apt_programs_are_on_the_path(says: Says) -> None:
    files = {"apt.txt": "# comment\n\ngfortran # trailing\nunp\n\nbyacc\n", "a.f": "      print *, 42\n      end\n"}
    files["postBuild"] = "gfortran -o hello a.f\n"
    said = says(files, "which gfortran unp byacc; byacc -V; yacc -V; ./hello")
    assert said[:3] == ["/usr/bin/gfortran", "/usr/bin/unp", "/usr/bin/byacc"]
    assert said[3].startswith("byacc - ")
    assert said[4].startswith("yacc - ")
    assert said[5].strip() == "42"


def test_v_apt_in_a_kernel_of_a_session(data: Path, make_repository: MakeRepository) -> None:
    root = make_repository({"apt.txt": "gfortran unp byacc"})
    command = [*REBIND, "launch", str(root), "--as-of", "today", "--no-open", "--json"]
    with subprocess.Popen(command, env=environment(data=str(data)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["phase"] in ("ready", "failed"):
                break
        assert events[-1]["phase"] == "ready", events
        code = "import shutil, os; print(shutil.which('gfortran'), shutil.which('yacc')); os.mkdir('/usr/bin/x')"
        said = execute(events[-1]["url"], events[-1]["token"], code)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert said.startswith("/usr/bin/gfortran /usr/bin/yacc\n")
    assert "Read-only file system" in said


def test_v_apt_is_in_plan_and_lock(data: Path, make_repository: MakeRepository) -> None:
    root = make_repository({"apt.txt": "byacc"})
    assert "byacc=" in rebind("plan", root, "--as-of", "today", data=data).stdout
    text = rebind("lock", root, "--as-of", "today", data=data).stdout
    assert tomllib.loads(text)["tool"]["rebind"]["debian"][0]["name"] == "byacc"


def test_r_apt_lists_what_was_installed(says: Says) -> None:
    said = says({"apt.txt": "libsodium-dev"}, "apt list --installed; dpkg -l libsodium-dev; ls /usr/include/sodium.h")
    assert any(line.startswith("libsodium-dev/") and "installed" in line for line in said)
    assert any(line.startswith("ii  libsodium-dev") for line in said)
    assert said[-1] == "/usr/include/sodium.h"


def test_o_04_version_and_two_names_on_a_line(says: Says) -> None:
    said = says({"apt.txt": "cowsay=3* unp\n"}, "/usr/games/cowsay moo; command -v unp")
    assert "moo" in said[1]
    assert said[-1] == "/usr/bin/unp"


def test_o_19_binder_examples_apt_install(says: Says) -> None:
    files = {"apt.txt": "lolcat\ncowsay\n", "postBuild": "/usr/games/cowsay built | /usr/games/lolcat > out\n"}
    assert any("built" in line for line in says(files, "cat out"))


def test_1_17_source_packages_find_libraries_of_apt(says: Says) -> None:
    """Its setup.py looks for the library already when it is asked what it needs."""
    files = {"apt.txt": "libgraphviz-dev", "requirements.txt": "pygraphviz==1.11", "runtime.txt": "python-3.11"}
    script = "python -c 'import pygraphviz as p; g = p.AGraph(); g.add_edge(1, 2); print(len(g.edges()))'"
    assert says(files, script) == ["1"]


def test_1_13_a_missing_package_fails_the_build(data: Path, make_repository: MakeRepository) -> None:
    root = make_repository({"apt.txt": "no-such-package-at-all"})
    done = rebind("build", root, data=data)
    assert done.returncode == 1
    assert "no-such-package-at-all" in done.stderr


def test_o_03_nothing_of_apt_txt_is_run(data: Path, make_repository: MakeRepository, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for line in (f"vim; touch {mark}", f"-oAPT::Update::Pre-Invoke::=touch\\ {mark}", f"vim$(touch {mark})"):
        done = rebind("build", make_repository({"apt.txt": line}), data=data)
        assert done.returncode == 1
        assert "apt.txt line 1" in done.stderr
    assert not mark.exists()
