"""Rows of the builder's specification that speak of environment.yml, by id; sessions from a local channel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conformance import conda_channel as channel_of

from rebind.errors import LockError, NetworkError, RecipeError
from rebind.locks.conda import CondaLocker, beside, pip_plan
from rebind.recipes import plan
from rebind.sandbox import capabilities
from rebind.values import CondaNeed, CondaPackage, Package, Plan, PythonNeed, Requirements

PLACEHOLDER = "/home/somebody/feedstock_root/build_artifacts/tool_1700000000000/_h_env_placehold_placehold_placehold"
YEAR = datetime(2024, 6, 1, tzinfo=UTC)


def repository(tmp_path: Path, text: str, **files: str) -> Path:
    (tmp_path / "environment.yml").write_text(text)
    for name, content in files.items():
        (tmp_path / name.replace("__", ".")).write_text(content)
    return tmp_path


def python_of(tmp_path: Path, spec: str) -> str | None:
    return plan(repository(tmp_path, f"dependencies:\n  - {spec!r}\n")).python.version


# The file


def test_u_yml_an_empty_file_gives_the_default_python(tmp_path):
    found = plan(repository(tmp_path, ""))
    assert (found.recipe, found.python.version, found.conda) == ("conda", "3.10", CondaNeed(("conda-forge",), ()))


@pytest.mark.parametrize("text", ["hello", "- numpy", "42"])
def test_u_yml_what_is_no_mapping_is_an_error(tmp_path, text):
    with pytest.raises(RecipeError, match="not a mapping"):
        plan(repository(tmp_path, text))


def test_o_09_a_broken_runtime_txt_beside_it_is_an_error(tmp_path):
    with pytest.raises(RecipeError):
        plan(repository(tmp_path, "", runtime__txt="python-3.1.2.3.4-x"))


def test_o_10_a_least_python_is_understood(tmp_path):
    assert python_of(tmp_path, "python>=3.12") in ("3.12", "3.13", "3.14")


def test_o_11_yml_comes_before_yaml(tmp_path):
    root = repository(tmp_path, "dependencies: [numpy]", environment__yaml="dependencies: [scipy]")
    found = plan(root)
    assert found.conda.dependencies == ("numpy",)
    assert any("environment.yaml is ignored" in warning for warning in found.warnings)


def test_o_31_a_channel_before_python_is_understood(tmp_path):
    assert python_of(tmp_path, "conda-forge::python=3.12") == "3.12"


def test_o_32_it_alone_counts_with_a_warning(tmp_path):
    found = plan(repository(tmp_path, "dependencies: [numpy]", requirements__txt="there", setup__py=""))
    assert found.requirements.lines == ()
    assert found.requirements.local == ()
    assert any("requirements.txt, setup.py: ignored" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("spec", "version"),
    [("python=3.11", "3.11"), ("python==3.11.*", "3.11"), ("python = 3.8", "3.8"), ("python=3.9.5=h_x", "3.9"),
     ("python=3", "3.10"), ("python=2", "2.7"), ("python=*", "3.10"), ("python 3.12", "3.12"), ("numpy", "3.10"),
     ("python>=3.6,<3.9", "3.8"), ("python[version='<3.9']", "3.8"), ("python-dateutil=2", "3.10")],
)  # fmt: skip
def test_the_python_of_any_match_spec(tmp_path, spec, version):
    assert python_of(tmp_path, spec) == version


def test_a_python_that_is_not_supported_is_an_error(tmp_path):
    with pytest.raises(RecipeError, match="no supported Python"):
        python_of(tmp_path, "python=3.15")


def test_c_312_and_c_310req_their_files(tmp_path):
    text = "dependencies:\n- python=3.10\n- numpy\n- pip\n- pip:\n  - simplejson\n  - ./pkg\n"
    root = repository(tmp_path, text, requirements__txt="there")
    (root / "pkg").mkdir()
    found = plan(root)
    assert found.requirements.lines == ("simplejson",)
    assert [package.path for package in found.requirements.local] == ["pkg"]
    assert found.python.version == "3.10"


@pytest.mark.parametrize(
    "text",
    ["channels: ['file:///etc']", "channels: ['../x']", "channels: [[a]]", "channels: x", "dependencies: x",
     "dependencies: ['file:///etc::python']", "dependencies: [{pip: [[a]]}]", "dependencies: [{conda: [a]}]",
     "dependencies: ['../../x::y']", "dependencies: ['$(id)']", "a: !!python/object/apply:os.system [id]",
     "dependencies: [{pip: ['../out']}]", "dependencies: ['http://user:secret@host/c::x']",
     "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
     "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n"
     "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\ndependencies: [*h]"],
)  # fmt: skip
def test_what_a_stranger_may_write_is_refused(tmp_path, text):
    with pytest.raises(RecipeError):
        plan(repository(tmp_path, text))


# The lock


@pytest.fixture
def small(tmp_path):
    """A channel of two dates, served."""
    here = tmp_path / "channels" / "conda-forge"
    for name in ("ipykernel", "ipywidgets", "pip"):
        channel_of.package(here, name, noarch="generic")
    channel_of.package(here, "python", "3.10.4")
    channel_of.package(here, "python", "3.12.1")
    channel_of.package(here, "hello", "1.0", depends=("python >=3.12",), noarch="generic")
    channel_of.package(here, "hello", "2.0", noarch="generic", when=datetime(2025, 1, 1, tzinfo=UTC))
    channel_of.index(here)
    with channel_of.served(tmp_path / "channels") as url:
        yield CondaLocker(tmp_path / "data", url, None)


def versions(locker: CondaLocker, *specs: str, when: datetime = YEAR, channels: tuple[str, ...] = ("conda-forge",)):
    need = Plan(python=PythonNeed("3.10"), conda=CondaNeed(channels, specs))
    return {each.name: each.version for each in locker.lock(need, when, lambda event: None)}


def test_the_date_decides(small):
    assert versions(small, "hello")["hello"] == "1.0"
    assert versions(small, "hello", when=datetime(2025, 6, 1, tzinfo=UTC))["hello"] == "2.0"


def test_c_down_the_solver_may_move_python_but_does_not_without_need(small):
    assert versions(small)["python"] == "3.10.4"
    assert versions(small, "conda-forge::hello=1.0")["python"] == "3.12.1"


def test_what_cannot_be_solved_is_explained_by_rattler(small):
    with pytest.raises(LockError) as caught:
        versions(small, "nowhere>=7")
    assert "nowhere" in caught.value.detail


def test_a_channel_that_is_not_there_is_named(small):
    with pytest.raises(LockError, match=r"no conda channel at .*/absent"):
        versions(small, channels=("absent",))


def test_a_channel_that_does_not_answer_is_a_network_error(tmp_path):
    locker = CondaLocker(tmp_path, "http://127.0.0.1:9", None)
    with pytest.raises(NetworkError, match="does not answer"):
        versions(locker)


def test_c_310req_the_pip_list_is_bound_to_the_packages_of_conda():
    conda = tuple(CondaPackage(name, v, "0", "noarch", "", "") for name, v in (("python", "3.10.4"), ("NumPy", "1.2")))
    asked = Plan(requirements=Requirements(("simplejson",)), conda=CondaNeed())
    found = pip_plan(asked, conda)
    assert (found.python.version, found.requirements.constraints) == ("3.10", ("numpy==1.2",))
    assert pip_plan(Plan(conda=CondaNeed()), conda) is None
    packages = [Package(name, version, "", "", "") for name, version in (("numpy", "1.2"), ("simplejson", "3"))]
    assert [each.name for each in beside(tuple(packages), conda)] == ["simplejson"]


# Whole


def channel_with_python(channels: Path, work: Path) -> None:
    here = channels / "conda-forge"
    channel_of.python_package(here, work / "python")
    hello = work / "hello"
    (hello / "site-packages" / "hello").mkdir(parents=True)
    (hello / "site-packages" / "hello" / "__init__.py").write_text("def main():\n    print('hello')\n")
    channel_of.package(here, "hello", files=hello, depends=("python",), noarch="python")
    for name in ("ipykernel", "ipywidgets", "pip"):
        channel_of.package(here, name, noarch="generic")
    text = f"#!{PLACEHOLDER}/bin/python\nprint({PLACEHOLDER!r})\n".encode()
    binary = b"\0\1" + f"{PLACEHOLDER}/etc:{PLACEHOLDER}/lib".encode() + b"\0after"
    entries = [("bin/tool", text, 0o755), ("lib/data.bin", binary, 0o644), ("bin/alias", "tool")]
    prefixed = {"bin/tool": (PLACEHOLDER, "text"), "lib/data.bin": (PLACEHOLDER, "binary")}
    channel_of.raw_package(here / "linux-64", "tool", entries, prefixed=prefixed, old=True)
    channel_of.index(here)


SCRIPT = """
import json, os, subprocess, sys, hello
def out(*a): return subprocess.run(a, capture_output=True, text=True).stdout
print(json.dumps({
    "prefix": sys.prefix, "version": sys.version_info[:2], "tool": out("tool"), "alias": out("alias"),
    "bin": open(sys.prefix + "/lib/data.bin", "rb").read().decode("latin-1"),
    "list": json.loads(out("conda", "list", "--json")), "envs": json.loads(out("micromamba", "env", "list", "--json")),
    "same": os.environ["CONDA_PREFIX"] == os.environ["NB_PYTHON_PREFIX"],
    "info": json.loads(out("conda", "info", "--json")), "version_of": out("mamba", "--version"),
    "refused": subprocess.run(["conda", "install", "x"], capture_output=True).returncode,
}))
"""


@pytest.mark.session
def test_c_rpb_and_c_py2_a_session_of_conda_packages(tmp_path):
    if not capabilities().isolation:
        pytest.skip("this machine does not allow sandboxes")
    try:
        channel_with_python(tmp_path / "channels", tmp_path / "work")
    except LookupError as error:
        pytest.skip(str(error))
    root = tmp_path / "repository"
    root.mkdir()
    repository(root, "dependencies: [python>=3.11, hello, tool]", requirements__txt="there", look__py=SCRIPT)
    data = Path(os.environ.get("TEST_DATA") or tmp_path / "data")
    with channel_of.served(tmp_path / "channels") as url:
        env = os.environ | {"REBIND_DATA": str(data), "REBIND_CONDA_CHANNELS_URL": url}
        argv = [sys.executable, "-m", "rebind", "run", str(root), "--as-of", "2024-06-01", "--", "python", "look.py"]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout.strip().splitlines()[-1])
    prefix = "/srv/conda/envs/notebook"
    assert (found["prefix"], found["version"], found["same"]) == (prefix, list(sys.version_info[:2]), True)
    assert found["tool"] == found["alias"] == f"{prefix}\n"
    binary = f"\0\1{prefix}/etc:{prefix}/lib"
    assert found["bin"].startswith(binary + "\0")
    assert found["bin"].endswith("\0after")
    assert len(found["bin"]) == len(f"\0\1{PLACEHOLDER}/etc:{PLACEHOLDER}/lib\0after")
    assert {"hello", "python", "tool"} <= {each["name"] for each in found["list"]}
    assert found["envs"]["envs"] == ["/srv/conda", prefix]
    assert found["info"]["root_prefix"] == "/srv/conda"
    assert found["version_of"].startswith("mamba ")
    assert found["refused"] == 1
    shutil.rmtree(tmp_path / "work")
