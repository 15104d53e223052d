"""Lock files: what we write, what we read, and what a stranger may put into one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebind.errors import LockError
from rebind.locks import read_pylock, server_lock, server_names, write_pylock
from rebind.locks.tags import rank
from rebind.values import Interpreter, LockedPlan, Package


def python(version: str) -> Interpreter:
    minor = version.rpartition(".")[0]
    return Interpreter(version, Path("/opt/x"), Path(f"/opt/x/bin/python{minor}"))


def package(name: str = "numpy", **more: object) -> Package:
    facts = {"version": "1.0", "url": f"https://h/{name}-1.0-py3-none-any.whl", "sha256": "a" * 64}
    facts |= {"filename": f"{name}-1.0-py3-none-any.whl", "size": 3, "uploaded": datetime(2018, 1, 1, tzinfo=UTC)}
    return Package(name=name, **(facts | more))  # type: ignore[arg-type]


def locked(*packages: Package, **more: object) -> LockedPlan:
    return LockedPlan("3.10.4", packages, datetime(2018, 1, 1, 0, 0, 0, 5, tzinfo=UTC), **more)  # type: ignore[arg-type]


def test_all_comes_back(tmp_path: Path) -> None:
    sdist = package("old", url="https://h/old-1.0.tar.gz", filename="old-1.0.tar.gz", size=None, uploaded=None)
    git = package("vcs", url=f"git+https://h/x@{'b' * 40}", sha256="", filename="vcs.git", size=None, uploaded=None)
    plan = locked(package(), sdist, git, joined=True, warnings=('say "this"\n\x7f\\', "ü"))
    assert read_pylock(write_pylock(plan), python("3.10.4")) == plan


@given(st.text(max_size=40))
def test_any_warning_can_be_written(text: str) -> None:
    clean = text.encode("utf-8", "ignore").decode()
    plan = locked(package(), warnings=(clean,))
    assert read_pylock(write_pylock(plan), python("3.10.4")).warnings == (clean,)


ENTRY = """lock-version = "1.0"
[[packages]]
name = "numpy"
version = "1.0"
{}
"""
FILE = '{{ url = "https://h/{}", hashes = {{ sha256 = "{}" }} }}'


def entry(*filenames: str, more: str = "") -> str:
    files = ", ".join(FILE.format(name, f"{number:x}" * 64) for number, name in enumerate(filenames))
    return ENTRY.format(f"wheels = [{files}]\n{more}")


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("2.7.18", "cp27-cp27mu-manylinux1_x86_64"),
        ("3.6.15", "cp36-cp36m-manylinux1_x86_64"),
        ("3.7.16", "cp37-cp37m-manylinux2010_x86_64"),
        ("3.10.4", "cp310-cp310-manylinux_2_17_x86_64"),
        ("3.13.1", "cp39-abi3-manylinux2014_x86_64"),
    ],
)
def test_the_file_of_the_interpreter_is_picked(version: str, tag: str) -> None:
    import platform

    tag = tag.replace("x86_64", platform.machine())
    others = (
        "cp27-cp27m-manylinux1_x86_64",
        "cp36-cp36m-win_amd64",
        "cp310-cp310-macosx_11_0_arm64",
        "py2.py3-none-any",
    )
    names = [f"numpy-1.0-{each}.whl" for each in (*others, tag)]
    if platform.machine() != "x86_64" and ("manylinux1_" in tag or "manylinux2010" in tag):
        pytest.skip("no such wheels for this machine")
    assert read_pylock(entry(*names), python(version)).packages[0].filename == names[-1]


def test_a_wheel_beats_the_source_and_the_higher_build_number_wins() -> None:
    text = entry("numpy-1.0-1-py3-none-any.whl", "numpy-1.0-10-py3-none-any.whl", "numpy-1.0-2-py3-none-any.whl")
    assert read_pylock(text, python("3.10.4")).packages[0].filename == "numpy-1.0-10-py3-none-any.whl"


def test_no_wheel_for_a_platform_newer_than_this_machine() -> None:
    assert rank("numpy-1.0-cp310-cp310-manylinux_2_99_x86_64.whl", "3.10") is None


def test_markers_are_those_of_the_interpreter() -> None:
    text = entry("numpy-1.0-py3-none-any.whl", more="marker = \"python_version < '3.8'\"")
    assert len(read_pylock(text, python("3.7.16")).packages) == 1
    assert read_pylock(text, python("3.10.4")).packages == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        'lock-version = "2.0"',
        "[" * 100_000,
        ENTRY.format("").replace("numpy", "../../etc"),
        ENTRY.format("").replace('"1.0"\n\n', '"../x"\n'),
        ENTRY.format(""),
        entry("numpy-1.0-cp27-cp27m-win32.whl"),
        ENTRY.format('wheels = [{ url = "https://h/numpy-1.0-py3-none-any.whl" }]'),
        ENTRY.format('wheels = [{ url = "https://h/numpy-1.0-py3-none-any.whl", hashes = { sha256 = "../x" } }]'),
        ENTRY.format(f"sdist = {FILE.format('numpy-1.0.tar.gz', 'a' * 64)}").replace("https://h/", "file:///etc/"),
        ENTRY.format(
            f'sdist = {{ name = "../evil.tar.gz", url = "https://h/x", hashes = {{ sha256 = "{"a" * 64}" }} }}'
        ),
        ENTRY.format('vcs = { type = "git", url = "https://h/x", commit-id = "--upload-pack=evil" }'),
        ENTRY.format(f'vcs = {{ type = "git", url = "ext::sh -c evil", commit-id = "{"a" * 40}" }}'),
        ENTRY.format(f'vcs = {{ type = "git", url = "file:///etc", commit-id = "{"a" * 40}" }}'),
        entry("numpy-1.0-py3-none-any.whl", more='marker = "rubbish"'),
        'requires-python = ">=3.99"\n' + entry("numpy-1.0-py3-none-any.whl"),
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(LockError):
        read_pylock(text, python("3.10.4"))


def test_credentials_do_not_pass() -> None:
    text = entry("numpy-1.0-py3-none-any.whl").replace("https://h/", "https://user:secret@h/")
    assert "secret" not in read_pylock(text, python("3.10.4")).packages[0].url
    git = ENTRY.format(f'vcs = {{ type = "git", url = "https://user:secret@h/x", commit-id = "{"a" * 40}" }}')
    assert read_pylock(git, python("3.10.4")).packages[0].url == f"git+https://h/x@{'a' * 40}"


def test_the_repositorys_own_packages_are_no_part_of_a_lock() -> None:
    assert read_pylock(ENTRY.format('directory = { path = "." }'), python("3.10.4")).packages == ()


@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0", "3.14.0"])
def test_the_servers_lock_has_wheels_for_every_python_it_is_for(version: str) -> None:
    found = server_lock(python(version))
    names = {item.name for item in found.packages}
    assert {"jupyterlab", "notebook", "jupyter-server", "jupyterhub", "nbgitpuller", "jupyter-server-proxy"} < names
    assert "ipykernel" not in names
    assert all(item.is_wheel and item.sha256 and item.uploaded for item in found.packages)
    assert names <= server_names()


def test_the_server_is_for_no_older_python() -> None:
    with pytest.raises(LockError, match=r"3\.10"):
        server_lock(python("3.10.4"))
