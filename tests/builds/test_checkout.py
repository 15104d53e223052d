"""The repository's own files become a layer."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny import Lines

from rebind.builds.checkout import checkout_layer
from rebind.builds.overlay import install_commands
from rebind.builds.store import Store
from rebind.errors import RecipeError
from rebind.values import Commit, LocalPackage, Plan, Spec


def commit(identity: str = "https://example.org/a", number: str = "1", subdir: str = "") -> Commit:
    return Commit(Spec("git", identity, subdir=subdir), number * 40, datetime(2024, 1, 1, tzinfo=UTC), identity)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def checkout(tmp_path: Path, name: str = "checkout") -> Path:
    root = tmp_path / name
    files = (".git/HEAD", ".gitignore", "a.ipynb", "data/x.csv", "data/keep/y", "start", "binder/postBuild")
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


def files_of(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_moved_whole_with_git_and_dot_files(tmp_path: Path, store: Store) -> None:
    root = checkout(tmp_path)
    (root / "link").symlink_to("/etc/passwd")
    inode = (root / "a.ipynb").stat().st_ino
    layer = checkout_layer(store, Plan(), root, commit(), Lines().say)
    assert {".git/HEAD", ".gitignore", "a.ipynb", "link"} <= files_of(layer.path / "home")
    assert (layer.path / "home/a.ipynb").stat().st_ino == inode
    assert not root.exists()
    assert sorted(path.name for path in layer.path.iterdir()) == ["complete", "home"]


def test_keyed_by_what_decides_the_files(tmp_path: Path, store: Store) -> None:
    def digest(plan: Plan, which: Commit) -> str:
        return checkout_layer(store, plan, checkout(tmp_path), which, Lines().say).digest

    first = digest(Plan(), commit())
    assert digest(Plan(warnings=("other",)), commit()) == first
    others = {
        digest(Plan(), commit(number="2")),
        digest(Plan(), commit(subdir="data")),
        digest(Plan(ignore=("*.csv",)), commit()),
        digest(Plan(start="start"), commit()),
        digest(Plan(), commit("https://example.org/b")),
    }
    assert len(others) == 5
    assert first not in others


def test_ignored_files_stay_out(tmp_path: Path, store: Store) -> None:
    plan = Plan(ignore=("data", "!data/keep", ".git", "*.ipynb"))
    layer = checkout_layer(store, plan, checkout(tmp_path), commit(), Lines().say)
    assert files_of(layer.path / "home") == {".gitignore", "data/keep/y", "start", "binder/postBuild"}


def test_ignoring_everything(tmp_path: Path, store: Store) -> None:
    root = checkout(tmp_path)
    (root / "outside").symlink_to(tmp_path)
    layer = checkout_layer(store, Plan(ignore=("**",)), root, commit(), Lines().say)
    assert files_of(layer.path / "home") == set()
    assert (tmp_path / "store").exists()


def test_scripts_become_executable(tmp_path: Path, store: Store) -> None:
    root = checkout(tmp_path)
    (root / "start").chmod(0o640)
    plan = Plan(post_build="binder/postBuild", start="start")
    home = checkout_layer(store, plan, root, commit(), Lines().say).path / "home"
    assert stat.S_IMODE((home / "start").stat().st_mode) == 0o751
    assert os.access(home / "binder/postBuild", os.X_OK)
    assert not (home / "a.ipynb").stat().st_mode & 0o111


def test_attack_script_that_is_a_link_out(tmp_path: Path, store: Store) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    precious.chmod(0o600)
    root = checkout(tmp_path)
    (root / "start").unlink()
    (root / "start").symlink_to(precious)
    with pytest.raises(RecipeError, match="start is a link that leads out"):
        checkout_layer(store, Plan(start="start"), root, commit(), Lines().say)
    assert stat.S_IMODE(precious.stat().st_mode) == 0o600


def test_a_script_that_is_a_link_inside(tmp_path: Path, store: Store) -> None:
    root = checkout(tmp_path)
    (root / "binder/start").symlink_to("../start")
    home = checkout_layer(store, Plan(start="binder/start"), root, commit(), Lines().say).path / "home"
    assert os.access(home / "start", os.X_OK)


@pytest.mark.parametrize("script", ["data", "absent"])
def test_a_script_that_is_no_file(tmp_path: Path, store: Store, script: str) -> None:
    with pytest.raises(RecipeError, match="is not a file"):
        checkout_layer(store, Plan(start=script), checkout(tmp_path), commit(), Lines().say)


def test_a_script_that_is_ignored(tmp_path: Path, store: Store) -> None:
    with pytest.raises(RecipeError) as caught:
        checkout_layer(store, Plan(start="start", ignore=("start",)), checkout(tmp_path), commit(), Lines().say)
    assert "ignore" in caught.value.remedy


def test_attack_a_pattern_that_runs_for_years(tmp_path: Path, store: Store) -> None:
    root = checkout(tmp_path)
    (root / ("a" * 200)).touch()
    plan = Plan(ignore=("*a" * 60 + "b",))
    assert checkout_layer(store, plan, root, commit(), Lines().say)
    with pytest.raises(RecipeError, match="ignore files"):
        checkout_layer(store, Plan(ignore=("x" * 100_000,)), checkout(tmp_path), commit(), Lines().say)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_as_root_all_files_get_the_owner_and_no_other_file_does(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    root = checkout(tmp_path)
    os.link(precious, root / "hard")
    (root / "soft").symlink_to(precious)
    (root / "setuid").touch()
    (root / "setuid").chmod(0o6755)
    layer = checkout_layer(Store(tmp_path / "store", 61000), Plan(), root, commit(), Lines().say)
    home = layer.path / "home"
    assert {path.lstat().st_uid for path in (home, *home.rglob("*"))} == {61000}
    assert precious.stat().st_uid == 0
    assert stat.S_IMODE((home / "setuid").stat().st_mode) == 0o755


def test_install_commands() -> None:
    plain = [" ".join(argv[1:]) for argv in install_commands(LocalPackage("."), "3.10")]
    assert plain[0] == "pip install --no-deps --python /srv/conda/envs/notebook/bin/python ."
    assert plain[1:] == ["-m pip install --no-deps .", "-m pip install --no-deps --no-build-isolation ."]
    wheel = list(install_commands(LocalPackage("dist/x-1-py3-none-any.whl"), "2.7"))
    assert [argv[-1] for argv in wheel] == ["./dist/x-1-py3-none-any.whl"]
    editable = next(install_commands(LocalPackage("pkg/", editable=True, extras=("a", "b")), "3.10"))
    assert editable[-2:] == ("--editable", "./pkg[a,b]")


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", "a\0b"])
def test_attack_by_the_path_of_a_local_package(path: str) -> None:
    with pytest.raises(RecipeError):
        list(install_commands(LocalPackage(path), "3.10"))


def test_a_path_is_never_an_option() -> None:
    assert next(install_commands(LocalPackage("--index-url=x"), "3.10"))[-1] == "./--index-url=x"
