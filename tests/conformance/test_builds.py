"""Rows of the builder's spec that concern what is built over an environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rebind import recipes
from rebind.builds import Builder, Store
from rebind.sandbox import SANDBOX_UID, capabilities, run, session_confinement
from rebind.values import Commit, Environment, Interpreter, Layer, Limits, LockedPlan, Spec

PYTHON = Interpreter(".".join(map(str, sys.version_info[:3])), Path(sys.base_prefix), Path(sys.executable).resolve())
NOW = datetime(2024, 1, 1, tzinfo=UTC)

Built = Callable[[Path], tuple[Environment, tuple[Layer, ...]]]


@pytest.fixture(autouse=True)
def _isolation() -> None:
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)


@pytest.fixture
def built(tmp_path: Path) -> Built:
    """Builds a checkout; its requirements stay out, as these rows need none."""
    owner = SANDBOX_UID if os.geteuid() == 0 else None
    builder = Builder(store=Store(tmp_path / "store", owner), egress=None, proxy_url=None)

    def build(root: Path) -> tuple[Environment, tuple[Layer, ...]]:
        plan = recipes.plan(root)
        environment = builder.build(LockedPlan(PYTHON.version, (), NOW), PYTHON, lambda event: None)
        commit = Commit(Spec("git", str(root)), "1" * 40, NOW, str(root))
        return environment, builder.overlay(environment, plan, root, commit, lambda event: None)

    return build


def said(environment: Environment, layers: tuple[Layer, ...], *argv: str) -> list[str]:
    lines: list[str] = []
    made = session_confinement(environment, layers, limits=Limits(), egress=None, name="tests")
    assert run(made, argv, on_line=lines.append, timeout=60) == 0, lines
    return lines


def checkout(tmp_path: Path, files: dict[str, str]) -> Path:
    root = tmp_path / "checkout"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o644)
    return root


def test_o_19_post_build_without_interpreter_line_and_execution_bit(tmp_path: Path, built: Built) -> None:
    environment, layers = built(checkout(tmp_path, {"postBuild": "echo done > made.txt\n"}))
    assert said(environment, layers, "cat", "made.txt") == ["done"]


def test_o_20_start_without_interpreter_line_can_be_run_by_a_shell(tmp_path: Path, built: Built) -> None:
    environment, layers = built(checkout(tmp_path, {"start": 'export A=b\nexec "$@"\n'}))
    assert said(environment, layers, "/bin/sh", "./start", "/bin/sh", "-c", "echo $A; test -x start") == ["b"]


def test_o_27_ignore_file_of_the_root_beside_binder_has_no_effect(tmp_path: Path, built: Built) -> None:
    files = {".dockerignore": "a.txt\n", "binder/.dockerignore": "b.txt\n", "a.txt": "", "b.txt": ""}
    environment, layers = built(checkout(tmp_path, files))
    assert said(environment, layers, "ls") == ["a.txt", "binder"]


def test_o_30_git_directory_is_there_unless_it_is_ignored(tmp_path: Path, built: Built) -> None:
    environment, layers = built(checkout(tmp_path, {".git/HEAD": "x", "a": ""}))
    assert ".git" in said(environment, layers, "ls", "-A")
    environment, layers = built(checkout(tmp_path, {".git/HEAD": "x", "a": "", ".dockerignore": ".git"}))
    assert ".git" not in said(environment, layers, "ls", "-A")


def test_v_bin_local_folders_are_on_the_path_and_the_repository_is_the_directory(tmp_path: Path, built: Built) -> None:
    environment, layers = built(checkout(tmp_path, {"a": ""}))
    path, directory = said(environment, layers, "/bin/sh", "-c", "echo $PATH; pwd")
    assert path.split(":")[:2] == ["/home/jovyan/.local/bin", "/home/jovyan/.local/bin"]
    assert directory == "/home/jovyan"


def test_b_gen_files_belong_to_the_user_and_prefixes_are_writable(tmp_path: Path, built: Built) -> None:
    environment, layers = built(checkout(tmp_path, {"a": "", "b/c": ""}))
    script = (
        "id -un; id -u; id -g; find /home /srv ! -user jovyan ! -path /home; touch x $NB_PYTHON_PREFIX/x $NPM_DIR/x"
    )
    assert said(environment, layers, "/bin/sh", "-c", script) == ["jovyan", "1000", "1000"]
