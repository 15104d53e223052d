"""Rows P-* of builder spec 4.2, in real environments of real packages, and what the spec's section 5 asks for (4)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import MakeRepository
from tests.whole.programs import rebind, shared_data

from rebind.sandbox import capabilities

pytestmark = [pytest.mark.session, pytest.mark.network, pytest.mark.timeout(900)]

LOCKS = Path(__file__).parent.parent / "recipes" / "locks"
SOURCE = '[[source]]\nurl = "https://pypi.org/simple"\nverify_ssl = true\nname = "pypi"\n\n'
SETUP = (
    'from setuptools import setup\nsetup(name="dummy", version="1", py_modules=["dummy"], install_requires=["{}"])\n'
)
DUMMY = {"setup.py": SETUP.format("pypi-pkg-test==0.0.4"), "dummy.py": "x = 1\n"}
LOCK = (LOCKS / "pipenv-p-lock" / "Pipfile.lock").read_text()
"""pypi-pkg-test 0.0.4, there 0.0.9 for development."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not capabilities().isolation:
        pytest.skip("this machine does not allow user namespaces: " + " ".join(capabilities().statements()))
    return shared_data(lambda: tmp_path_factory.mktemp("pipfile"))


def pipfile(packages: str = "", dev: str = "") -> str:
    return f"{SOURCE}[packages]\n{packages}\n\n[dev-packages]\n{dev}\n"


def python(root: Path, data: Path, code: str, program: str = "python3") -> subprocess.CompletedProcess[str]:
    return rebind("run", root, "--", program, "-c", code, data=data)


def check(root: Path, data: Path, *imports: str, absent: tuple[str, ...] = (), program: str = "python3") -> str:
    """Imports some modules and none of others; gives the version of Python."""
    code = "import sys\n"
    code += "".join(f"import {name}\n" for name in imports)
    code += "".join(
        f"try:\n    import {name}\nexcept ImportError:\n    pass\nelse:\n    sys.exit('{name} is there')\n"
        for name in absent
    )
    done = python(root, data, code + "print('.'.join(map(str, sys.version_info[:2])))", program)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()[-1]


def test_p_bf_the_pipfile_of_binder_counts(make_repository: MakeRepository, data: Path) -> None:
    files = {"Pipfile": pipfile('there = "*"'), "binder/Pipfile": pipfile('pypi-pkg-test = "*"')}
    check(make_repository(files), data, "pypi_pkg_test", absent=("there",))


def test_p_bfl_the_lock_of_binder_counts(make_repository: MakeRepository, data: Path) -> None:
    lock = json.loads(LOCK)
    there, test = ({**lock, "default": lock[one], "develop": {}} for one in ("develop", "default"))
    files = {"Pipfile": pipfile('there = "*"'), "binder/Pipfile": pipfile('pypi-pkg-test = "*"')}
    files |= {"Pipfile.lock": json.dumps(there), "binder/Pipfile.lock": json.dumps(test)}
    check(make_repository(files), data, "pypi_pkg_test", absent=("there",))


def test_p_lock_the_lock_wins_over_the_pipfile(make_repository: MakeRepository, data: Path) -> None:
    root = make_repository({"Pipfile": pipfile('numpy = "*"', 'there = "*"'), "Pipfile.lock": LOCK})
    check(root, data, "pypi_pkg_test", "there", absent=("numpy",))
    code = "import importlib.metadata as m; print(m.version('pypi-pkg-test'), m.version('there'))"
    assert python(root, data, code).stdout.strip() == "0.0.4 0.0.9"


def test_p_36_the_python_of_the_lock_wins_over_runtime_txt(make_repository: MakeRepository, data: Path) -> None:
    lock = json.loads(LOCK)
    lock["_meta"]["requires"] = {"python_version": "3.6"}
    text = pipfile('pypi-pkg-test = "*"', 'there = "*"') + '\n[requires]\npython_version = "3.6"\n'
    root = make_repository({"Pipfile": text, "Pipfile.lock": json.dumps(lock), "runtime.txt": "python-3.7\n"})
    if "cannot be fetched" in (planned := rebind("plan", root, data=data)).stderr:
        pytest.skip(f"no Python 3.6: {planned.stderr}")
    found = check(root, data, "pypi_pkg_test", "there", program="/srv/conda/envs/kernel/bin/python")
    assert found == "3.6"


def test_p_req_requirements_txt_is_not_read(make_repository: MakeRepository, data: Path) -> None:
    files = {"Pipfile": pipfile('pypi-pkg-test = "*"', 'there = "*"'), "requirements.txt": "numpy\n"}
    check(make_repository(files), data, "pypi_pkg_test", "there", absent=("numpy",))


def test_p_spe_a_package_of_the_repository_and_what_it_needs(make_repository: MakeRepository, data: Path) -> None:
    files = {"Pipfile": pipfile('there = "*"\ndummy = {path = ".", editable = true}'), **DUMMY}
    check(make_repository(files), data, "dummy", "pypi_pkg_test", "there")


def test_p_spi_a_package_that_the_pipfile_does_not_list(make_repository: MakeRepository, data: Path) -> None:
    root = make_repository({"Pipfile": pipfile('there = "*"'), **DUMMY, "dummy.py": ""})
    code = "import there, importlib.metadata as m\nprint(sorted(d.metadata['Name'] for d in m.distributions()))"
    done = python(root, data, code)
    assert "'there'" in done.stdout, done.stderr
    assert "dummy" not in done.stdout
    assert "pypi" not in done.stdout


def test_relative_paths_count_from_the_config_directory(make_repository: MakeRepository, data: Path) -> None:
    files = {"binder/Pipfile": pipfile('dummy = {path = "..", editable = true}'), **DUMMY}
    check(make_repository(files), data, "dummy", "pypi_pkg_test")


@pytest.mark.parametrize("folder", ["uv", "poetry", "poetry-1.1", "pdm", "pipenv", "standard"])
def test_wants_4_locks_of_the_tools_are_installed_exactly(
    make_repository: MakeRepository, data: Path, folder: str
) -> None:
    files = {path.name: path.read_text() for path in (LOCKS / folder).iterdir() if path.name != "pylock.pip.toml"}
    root = make_repository({**files, "runtime.txt": "python-3.11\n"}, date="2026-11-20T12:00:00Z")
    code = "import click, markupsafe, iniconfig, ipykernel, importlib.metadata as m; print(m.version('markupsafe'))"
    done = python(root, data, code)
    assert done.stdout.strip() == ("2.1.5" if folder in ("pipenv", "pdm") else "3.0.2"), done.stderr


def test_own_lock_gives_the_same_environment(make_repository: MakeRepository, data: Path, tmp_path: Path) -> None:
    root = make_repository({"requirements.txt": "six\nmarkupsafe\n"})
    first = json.loads(rebind("lock", root, "--json", data=data).stdout)
    done = rebind("lock", root, "--output", tmp_path, data=data)
    assert done.returncode == 0, done.stderr
    again = make_repository({"requirements.txt": "six\nmarkupsafe\n"}, name="again", date="2025-06-01T00:00:00Z")
    shutil.copy(tmp_path / "pylock.toml", again)
    subprocess.run(["git", "-C", str(again), "add", "."], check=True)
    second = json.loads(rebind("lock", again, "--json", "--as-of", "2025-01-01", data=data).stdout)
    assert second["environment"] == first["environment"]
    assert rebind("lock", root, "--output", tmp_path / "absent", data=data).returncode != 0


def test_a_lock_with_a_wrong_hash_is_refused(make_repository: MakeRepository, data: Path) -> None:
    text = (LOCKS / "standard" / "pylock.pip.toml").read_text()
    at = text.index('sha256 = "') + len('sha256 = "')
    root = make_repository({"pylock.toml": text[:at] + "0" * 64 + text[at + 64 :], "runtime.txt": "python-3.11"})
    done = python(root, data, "")
    assert done.returncode != 0
    assert "MarkupSafe-2.1.5" in done.stderr
