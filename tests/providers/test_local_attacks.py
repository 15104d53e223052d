"""A folder that a stranger made runs nothing, and takes nothing that lies elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout

from rebind.errors import RebindError
from rebind.providers.local import LocalProvider
from rebind.values import Spec


@pytest.fixture
def local(tmp_path: Path) -> LocalProvider:
    return LocalProvider(cache=tmp_path / "cache")


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "pwned"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("bare", [False, True])
def test_settings_and_hooks_of_a_repository_run_nothing(
    bare: bool, local: LocalProvider, repository: Repository, tmp_path: Path, trap: Path
) -> None:
    repository.commit({"a": "1", ".gitattributes": "a filter=evil diff=evil merge=evil\n"})
    root = repository.root
    if bare:
        repository.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
        root = tmp_path / "bare"
    git_dir = root if bare else root / ".git"
    run = f"touch {trap}"
    with (git_dir / "config").open("a") as file:
        file.write(
            f'[core]\n\tfsmonitor = "{run}"\n\tsshCommand = "{run}"\n\thooksPath = {tmp_path}/hooks\n'
            f'\tpager = "{run}"\n\talternateRefsCommand = "{run}"\n\tgitProxy = {tmp_path}/hooks/x\n'
            f'[filter "evil"]\n\tclean = "{run}; cat"\n\tsmudge = "{run}; cat"\n\tprocess = "{run}"\n'
            f'[diff "evil"]\n\ttextconv = "{run}"\n\tcommand = "{run}"\n'
            f'[uploadpack]\n\tpackObjectsHook = "{run}; git"\n'
            f'[credential]\n\thelper = "!{run}"\n[lfs]\n\turl = file:///etc\n'
            f'[remote "origin"]\n\turl = ext::{run}\n\tuploadpack = "{run}"\n\tpromisor = true\n'
            f"[extensions]\n\tpartialClone = origin\n[core]\n\trepositoryformatversion = 1\n"
        )
    for name in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman", "x"):
        for place in (git_dir / "hooks", tmp_path / "hooks"):
            place.mkdir(exist_ok=True)
            (place / name).write_text(f"#!/bin/sh\n{run}\n")
            (place / name).chmod(0o755)
    for number, ref in enumerate((None, "HEAD", "main")):
        for changed in (False, True):
            if changed and not bare:
                (root / "a").write_text("2")
            into = tmp_path / f"out-{number}-{changed}"
            local.fetch(local.resolve(Spec("local", str(root), ref)), into, Lines())
            assert in_checkout(into, "config", "--get", "core.fsmonitor", check=False) == ""
            assert not any((into / ".git" / "hooks").iterdir())


@pytest.mark.parametrize("how", ["gitfile", "link", "commondir", "submodule"])
def test_another_repository_is_not_taken_along(
    how: str, local: LocalProvider, other: Repository, tmp_path: Path
) -> None:
    other.commit({"private": "s3cret"})
    root = tmp_path / "stranger"
    root.mkdir()
    (root / "a").write_text("1")
    dot = root / ".git"
    if how == "gitfile":
        dot.write_text(f"gitdir: {other.root}/.git\n")
    elif how == "link":
        dot.symlink_to(other.root / ".git")
    elif how == "commondir":
        shutil.copytree(other.root / ".git", dot)
        (dot / "commondir").write_text(f"{other.root}/.git\n")
    else:
        (root / "inner").mkdir()
        (root / "inner" / ".git").write_text(f"gitdir: {other.root}/.git\n")
    commit = local.resolve(Spec("local", str(root), None))
    assert commit.id.startswith("sha256-")
    local.fetch(commit, tmp_path / "out", Lines())
    assert not (tmp_path / "out" / ".git").exists()
    assert not (tmp_path / "out" / "inner" / ".git").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_links_in_a_folder_stay_links(local: LocalProvider, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("s3cret")
    root = tmp_path / "folder"
    root.mkdir()
    (root / "dir").symlink_to(secret)
    (root / "file").symlink_to(secret / "key")
    local.fetch(local.resolve(Spec("local", str(root), None)), tmp_path / "out", Lines())
    assert (tmp_path / "out" / "dir").is_symlink()
    assert (tmp_path / "out" / "file").is_symlink()


def test_a_folder_swapped_for_a_link_is_not_followed(local: LocalProvider, tmp_path: Path) -> None:
    from rebind.providers.command import Watch
    from rebind.providers.folder import _opened

    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RebindError), _opened("link", None, "x"):
        pass
    assert Watch().report is None


def test_a_damaged_repository_is_said_to_be(local: LocalProvider, repository: Repository, tmp_path: Path) -> None:
    repository.commit({"a": "1"})
    commit = local.resolve(Spec("local", str(repository.root), "main"))
    for path in (repository.root / ".git" / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"x")
    with pytest.raises(RebindError):
        local.fetch(commit, tmp_path / "out", Lines())
    with pytest.raises(RebindError):
        local.resolve(Spec("local", str(repository.root), None))
    assert not (tmp_path / "out").exists()
