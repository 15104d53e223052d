"""Pipfile, `.python-version`, script blocks, locks of rebind itself, and which of several files counts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from rebind.errors import RecipeError
from rebind.locks import write_pylock
from rebind.recipes import plan
from rebind.values import LocalPackage, LockedPlan, Package, PythonNeed, Requirements

A = "a" * 64


def own_lock(*pins: str, joined: bool = False) -> str:
    packages = [
        Package(
            name, version, f"https://h.org/{name}-{version}-py3-none-any.whl", A, f"{name}-{version}-py3-none-any.whl"
        )
        for name, version in (pin.split("==") for pin in pins)
    ]
    return write_pylock(LockedPlan("3.10.13", tuple(packages), datetime(2024, 5, 1, tzinfo=UTC), joined))


def test_a_pipfile_becomes_requirements(repository):
    text = """
[[source]]
url = "https://pypi.org/simple"
[packages]
a = "*"
B_c = {version = ">=1,<2", extras = ["x", "y"], markers = "python_version < '3.9'"}
d = {version = "*", sys_platform = "== 'win32'", os_name = "== 'nt'"}
e = {git = "https://h.org/e.git", ref = "main", subdirectory = "s"}
f = {file = "https://h.org/f-1.zip"}
g = "1.5"
[dev-packages]
h = "~=2.0"
a = "<1"
[docs]
left-out = "*"
[pipenv]
allow_prereleases = true
[scripts]
run = "rm -rf /"
"""
    found = plan(repository({"Pipfile": text}))
    assert set(found.requirements.lines) == {
        "a",
        "b-c[x,y]>=1,<2 ; python_version < '3.9'",
        "d ; (os_name == 'nt') and (sys_platform == 'win32')",
        "e @ git+https://h.org/e.git@main#subdirectory=s",
        "f @ https://h.org/f-1.zip",
        "g==1.5",
        "h~=2.0",
    }
    assert found.requirements.options == ("--pre",)
    assert found.pinned is None
    assert found.warnings == ()


def test_other_sources_of_a_pipfile(repository):
    text = (
        '[[source]]\nurl = "https://h.org/simple"\nverify_ssl = false\n[[source]]\nurl = "https://pypi.org/simple/"\n'
    )
    options = plan(repository({"Pipfile": text})).requirements.options
    assert options == (
        "--index-url https://h.org/simple",
        "--trusted-host h.org",
        "--extra-index-url https://pypi.org/simple",
    )


def test_paths_of_a_pipfile_count_from_its_directory(repository):
    text = '[packages]\nme = {path = "..", editable = true, extras = ["x"]}\npkg = {path = "./pkg"}\n'
    found = plan(repository({"binder/Pipfile": text, "setup.py": "", "binder/pkg/setup.py": ""}))
    assert found.requirements.local == (LocalPackage(".", True, ("x",)), LocalPackage("binder/pkg"))


def test_the_package_of_the_root_counts_only_if_the_pipfile_lists_it(repository):
    found = plan(repository({"Pipfile": "[packages]\n", "setup.py": "", "requirements.txt": "a"}))
    assert found.requirements == Requirements()
    assert any("setup.py is not read" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("lock", "pipfile", "version"),
    [
        ({"python_version": "3.8"}, 'python_version = "3.9"', "3.8"),
        ({"python_version": "3.8", "python_full_version": "3.7.4"}, 'python_version = "3.9"', "3.7.4"),
        ({}, 'python_version = "3.9"', "3.9"),
        ({}, 'python_version = "3.9"\npython_full_version = "3.6.5"', "3.6.5"),
        ({"python_version": "3"}, "", "3"),
        ({"python_version": "2"}, "", "2.7"),
        ({"python_version": "*"}, "", None),
        ({}, "", None),
    ],
)
def test_python_of_lock_and_pipfile(repository, lock, pipfile, version):
    content = json.dumps({"_meta": {"requires": lock}})
    files = {"Pipfile.lock": content, "Pipfile": f"[requires]\n{pipfile}\n", "runtime.txt": "python-3.12"}
    found = plan(repository(files))
    assert found.python.version == version
    assert any("has no effect beside Pipfile.lock" in warning for warning in found.warnings)


def test_a_pipfile_beside_a_runtime_of_r_is_not_read(repository):
    found = plan(repository({"Pipfile": '[packages]\na = "*"\n', "runtime.txt": "r-4.3"}))
    assert found.requirements.lines == ()
    assert any("Pipfile is not read beside runtime.txt" in warning for warning in found.warnings)


def test_a_broken_runtime_txt_breaks_pipfiles_too(repository):
    with pytest.raises(RecipeError, match="names no runtime"):
        plan(repository({"Pipfile": "", "runtime.txt": "python 3.10"}))


def test_what_a_pipfile_lock_takes_from_elsewhere_stays_open(repository):
    sources = [{"name": "pypi", "url": "https://pypi.org/simple"}, {"name": "own", "url": "https://h.org/simple"}]
    entries = {
        "a": {"version": "==1", "hashes": [f"sha256:{A}", "sha512:0a"], "index": "pypi"},
        "b": {"version": "==2", "hashes": [f"sha256:{A}"], "index": "own"},
        "c": {"file": "https://h.org/c-1.zip"},
        "d": {"path": ".", "editable": True},
        "e": {"git": "https://h.org/e", "ref": "1" * 40},
    }
    text = json.dumps({"_meta": {"sources": sources}, "default": entries, "develop": {"a": {"version": "==9"}}})
    found = plan(repository({"Pipfile.lock": text, "setup.py": ""}))
    assert found.pinned is not None
    assert [(package.name, package.version) for package in found.pinned.packages] == [("a", "1"), ("e", "")]
    assert found.requirements.lines == ("b==2", "c @ https://h.org/c-1.zip")
    assert found.requirements.hashes == (("b", (A,)),)
    assert "--extra-index-url https://h.org/simple" in found.requirements.options
    assert found.requirements.local == (LocalPackage(".", True),)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        *(("3.11\n", "3.11"), ("3.11.4", "3.11.4"), ("# c\n\n cpython-3.12 # x\n3.9\n", "3.12"), ("3", "3")),
        *(("pypy3.9", None), ("system", None), ("", None), ("3.99", None), ("2.6", None), ("\n\n", None)),
    ],
)
def test_python_version_file(repository, text, version):
    found = plan(repository({".python-version": text, "requirements.txt": ""}))
    assert found.python.version == version
    assert bool(found.warnings) == (version is None)


def test_python_version_file_gives_way(repository):
    assert plan(repository({".python-version": "3.9", "runtime.txt": "python-3.11"})).python.version == "3.11"
    found = plan(repository({"runtime.txt": "python-2024-01-31"}))
    assert (found.python.version, found.python.stated_in) == ("3.9", ".python-version")
    project = '[project]\nname = "a"\nrequires-python = ">=3.10"\ndependencies = ["b"]\n'
    found = plan(repository({"pyproject.toml": project}))
    assert found.python == PythonNeed(None, ">=3.10", "pyproject.toml")
    assert "it has no effect" in "".join(found.warnings)


BLOCK = '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "a>=1",\n#   "b",\n# ]\n# ///\nimport a\n'


def test_the_block_of_a_single_script(repository):
    found = plan(repository({"s.py": "#!/usr/bin/env python\n" + BLOCK, "other.py": "import os\n", "sub/x.py": BLOCK}))
    assert found.requirements.lines == ("a>=1", "b")
    assert found.python == PythonNeed(None, ">=3.11", "s.py")


def test_the_block_of_a_single_notebook(repository):
    cells = [{"cell_type": "markdown", "source": BLOCK}, {"cell_type": "code", "source": BLOCK.splitlines(True)}]
    found = plan(repository({"n.ipynb": json.dumps({"cells": cells})}))
    assert found.requirements.lines == ("a>=1", "b")


@pytest.mark.parametrize(
    "name", ["requirements.txt", "setup.py", "postBuild", "pyproject.toml", "Pipfile", "install.R"]
)
def test_blocks_do_not_count_beside_other_files(repository, name):
    assert "a>=1" not in plan(repository({"s.py": BLOCK, name: ""})).requirements.lines


def test_two_blocks_count_for_nothing(repository):
    found = plan(repository({"s.py": BLOCK, "t.py": BLOCK}))
    assert found.requirements.lines == ()
    assert "s.py and t.py" in found.warnings[0]


def test_parts_of_a_block_without_effect_are_named(repository):
    found = plan(repository({"s.py": "# /// script\n# dependencies = []\n# x = 1\n# [tool.uv]\n# y = 1\n# ///\n"}))
    assert len(found.warnings) == 2


def test_a_wrong_block_is_an_error(repository):
    with pytest.raises(RecipeError, match=r"^s\.py: "):
        plan(repository({"s.py": "# /// script\n# dependencies = 1\n# ///\n"}))


def test_a_lock_of_rebind_goes_before_what_it_was_made_from(repository):
    root = repository({"requirements.txt": "six>=1\nb ; python_version < '3'\n", "pylock.toml": own_lock("six==1.16")})
    found = plan(root)
    assert found.pinned is not None
    assert (found.pinned.source, found.pinned.joined) == ("pylock.toml", False)
    assert found.requirements == Requirements()
    assert found.python == PythonNeed("3.10.13", "==3.10.*", "pylock.toml")
    assert found.date == date(2024, 5, 1)
    assert found.warnings == ()
    repository({"runtime.txt": "python-3.10-2024-06-01"})
    assert (plan(root).python.version, plan(root).date) == ("3.10.13", date(2024, 6, 1))


def test_a_lock_of_rebind_that_requirements_outgrew_is_left(repository):
    files = {"pylock.toml": own_lock("six==1.16"), "setup.py": ""}
    for line in ("toolz", "six>=1.17", "six==1.15"):
        found = plan(repository({**files, "requirements.txt": f"{line}\n"}))
        assert found.pinned is None
        assert found.requirements.lines == (line,)
        assert f"does not meet {line} of requirements.txt" in "".join(found.warnings)


def test_a_lock_of_rebind_beside_a_pipfile(repository):
    lock = {"default": {"six": {"version": "==1.16"}}, "_meta": {"requires": {"python_version": "3.10"}}}
    files = {"Pipfile.lock": json.dumps(lock), "runtime.txt": "python-3.8", "pylock.toml": own_lock("six==1.16")}
    found = plan(repository(files))
    assert (found.pinned.source, found.python.version) == ("pylock.toml", "3.10.13")  # type: ignore[union-attr]
    found = plan(repository({"pylock.toml": own_lock("six==1.17", "ipykernel==6.0")}))
    assert found.pinned.source == "Pipfile.lock"  # type: ignore[union-attr]


def test_the_root_package_stays_beside_a_lock(repository):
    project = '[build-system]\nrequires = []\n[project]\nname = "a"\nversion = "1"\ndependencies = ["six"]\n'
    found = plan(repository({"pyproject.toml": project, "pylock.toml": own_lock("six==1.16")}))
    assert found.requirements.local == (LocalPackage("."),)
    assert found.pinned is not None


def test_a_lock_of_rebind_with_the_server(repository):
    found = plan(repository({"pylock.toml": own_lock("six==1.16", joined=True)}))
    assert found.pinned is not None
    assert found.pinned.joined
