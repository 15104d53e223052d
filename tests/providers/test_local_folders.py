"""Folders, checkouts and bare repositories of this machine: what is taken, under which name and date."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import lfs_repository
from test_git_submodules import add

from rebind.errors import AddressError, RefNotFoundError, RefusedError, RepositoryError
from rebind.providers.local import LocalProvider
from rebind.values import Commit, Spec

OLD = datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def local(tmp_path: Path) -> LocalProvider:
    return LocalProvider(cache=tmp_path / "cache")


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def take(local: LocalProvider, root: Path, ref: str | None, into: Path) -> Commit:
    commit = local.resolve(Spec("local", str(root), ref))
    local.fetch(commit, into, Lines())
    assert list((local.cache / "tmp").iterdir()) == [] if (local.cache / "tmp").exists() else True
    return commit


def test_a_plain_folder(local: LocalProvider, tmp_path: Path) -> None:
    root = tmp_path / "folder"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o4755)
    (root / "näme \n x").write_text("y")
    (root / "link").symlink_to("sub/run.sh")
    (root / "dangling").symlink_to("/etc/none")
    commit = take(local, root, None, tmp_path / "out")
    assert commit.id.startswith("sha256-")
    assert len(commit.id) == 71
    assert commit.date == today()
    assert commit.identity == f"local{root}"
    out = tmp_path / "out"
    assert (out / "sub" / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert (out / "sub" / "empty").is_dir()
    assert (out / "dangling").readlink() == Path("/etc/none")
    assert (out / "link").readlink() == Path("sub/run.sh")
    assert (out / "näme \n x").read_text() == "y"
    assert local.resolve(Spec("local", str(out), None)).id == commit.id


def test_every_kind_of_change_changes_the_name(local: LocalProvider, tmp_path: Path) -> None:
    root = tmp_path / "folder"
    root.mkdir()
    (root / "a").write_text("1")
    (root / "l").symlink_to("a")
    seen = set()

    def note() -> None:
        commit_id = local.resolve(Spec("local", str(root), None)).id
        assert commit_id not in seen
        seen.add(commit_id)

    note()
    (root / "a").write_text("2")
    note()
    (root / "a").chmod(0o755)
    note()
    (root / "a").rename(root / "b")
    note()
    (root / "l").unlink()
    (root / "l").symlink_to("b")
    note()
    (root / "d").mkdir()
    note()
    (root / "d" / "a").write_text("")
    note()
    os.utime(root / "b", (1, 1))
    assert local.resolve(Spec("local", str(root), None)).id in seen


def test_a_clean_checkout_is_its_commit(local: LocalProvider, repository: Repository, tmp_path: Path) -> None:
    sha = repository.commit({"a": "1", "sub/b": "2", ".gitignore": "*.log\n"})
    repository.git("remote", "add", "origin", "https://ada:hunter2@example.org/a/b.git")
    commit = take(local, repository.root, None, tmp_path / "out")
    assert (commit.id, commit.date) == (sha, OLD)
    assert (tmp_path / "out" / "sub" / "b").read_text() == "2"
    assert in_checkout(tmp_path / "out", "status", "--porcelain") == ""
    assert in_checkout(tmp_path / "out", "branch", "--show-current") == "main"
    assert in_checkout(tmp_path / "out", "remote", "get-url", "origin") == "https://example.org/a/b.git"
    assert "hunter2" not in (tmp_path / "out" / ".git" / "config").read_text()


def test_ignored_files_come_along_and_do_not_move_the_date(
    local: LocalProvider, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a": "1", ".gitignore": "*.log\n"})
    (repository.root / "x.log").write_text("log")
    commit = take(local, repository.root, None, tmp_path / "out")
    assert commit.id.startswith("sha256-")
    assert commit.date == OLD
    assert (tmp_path / "out" / "x.log").read_text() == "log"
    assert in_checkout(tmp_path / "out", "status", "--porcelain") == ""


@pytest.mark.parametrize("change", ["edit", "new", "delete", "mode", "staged"])
def test_a_changed_checkout_is_its_content(
    change: str, local: LocalProvider, repository: Repository, tmp_path: Path
) -> None:
    sha = repository.commit({"a": "1", "b": "2"})
    if change in ("edit", "staged"):
        (repository.root / "a").write_text("3")
    if change == "staged":
        repository.git("add", "a")
    if change == "new":
        (repository.root / "c").write_text("3")
    if change == "delete":
        (repository.root / "b").unlink()
    if change == "mode":
        (repository.root / "a").chmod(0o755)
    commit = take(local, repository.root, None, tmp_path / "out")
    assert commit.id.startswith("sha256-")
    assert commit.date == today()
    assert local.resolve(Spec("local", str(repository.root), None)).id == commit.id
    assert in_checkout(tmp_path / "out", "rev-parse", "HEAD") == sha
    assert len(in_checkout(tmp_path / "out", "status", "--porcelain").splitlines()) == 1
    assert take(local, repository.root, "main", tmp_path / "out2").id == sha
    assert in_checkout(tmp_path / "out2", "status", "--porcelain") == ""


def test_a_same_size_change_within_a_second_is_seen(local: LocalProvider, repository: Repository) -> None:
    repository.commit({"a": "1"})
    stat = (repository.root / "a").stat()
    (repository.root / "a").write_text("2")
    os.utime(repository.root / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert local.resolve(Spec("local", str(repository.root), None)).id.startswith("sha256-")


def test_refs_of_a_checkout(local: LocalProvider, repository: Repository, tmp_path: Path) -> None:
    ids = repository.grow(10)
    repository.git("tag", "-a", "v1", "-m", "x", "HEAD~2")
    repository.git("branch", "feature/main", "HEAD~5")
    repository.git("update-ref", "refs/remotes/origin/only-there", "HEAD~6")
    cases = [
        ("main", ids[9], "main"),
        ("v1", ids[7], ""),
        ("feature/main", ids[4], "feature/main"),
        ("origin/only-there", ids[3], "only-there"),
        ("only-there", ids[3], "only-there"),
        (ids[2], ids[2], ""),
        (ids[1][:8], ids[1], ""),
        (f"origin/{ids[1][:8]}", ids[1], ""),
        ("HEAD", ids[9], "main"),
    ]
    for number, (ref, commit_id, branch) in enumerate(cases):
        into = tmp_path / str(number)
        assert (ref, take(local, repository.root, ref, into).id) == (ref, commit_id)
        assert (ref, in_checkout(into, "branch", "--show-current")) == (ref, branch)
        assert in_checkout(into, "rev-list", "--count", "HEAD") == str(ids.index(commit_id) + 1)
        assert in_checkout(into, "status", "--porcelain") == ""
    for ref in ("nope", "e" * 40, "eeeeeee", "a/main"):
        with pytest.raises(RefNotFoundError):
            local.resolve(Spec("local", str(repository.root), ref))


def test_a_bare_repository(local: LocalProvider, repository: Repository, tmp_path: Path) -> None:
    sha = repository.commit({"a": "1"})
    bare = tmp_path / "bare"
    repository.git("clone", "-q", "--bare", ".", str(bare))
    commit = take(local, bare, None, tmp_path / "out")
    assert (commit.id, commit.date) == (sha, OLD)
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [".git", "a"]
    empty = tmp_path / "empty"
    repository.git("init", "-q", "--bare", str(empty))
    with pytest.raises(RepositoryError, match="empty"):
        local.resolve(Spec("local", str(empty), None))


def test_linked_work_trees_and_shallow_clones(local: LocalProvider, repository: Repository, tmp_path: Path) -> None:
    ids = repository.grow(5)
    repository.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"), "HEAD~2")
    assert take(local, tmp_path / "linked", None, tmp_path / "out").id == ids[2]
    assert in_checkout(tmp_path / "out", "rev-list", "--count", "HEAD") == "3"
    repository.git("clone", "-q", "--depth=2", repository.url, str(tmp_path / "shallow"))
    assert take(local, tmp_path / "shallow", None, tmp_path / "out2").id == ids[4]
    assert in_checkout(tmp_path / "out2", "rev-list", "--count", "HEAD") == "2"
    in_checkout(tmp_path / "out2", "fsck")


def test_a_repository_without_a_commit_is_a_folder(
    local: LocalProvider, repository: Repository, tmp_path: Path
) -> None:
    (repository.root / "a").write_text("1")
    assert take(local, repository.root, None, tmp_path / "out").id.startswith("sha256-")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["a"]


def test_submodules_as_they_are(
    local: LocalProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    sha = other.commit({"lib.txt": "1"})
    head = add(repository, "lib", "../other", sha)
    # Not there: then the folder is not what the commit says.
    assert local.resolve(Spec("local", str(repository.root), None)).id.startswith("sha256-")
    repository.git("-c", "protocol.file.allow=always", "submodule", "update", "--init")
    commit = take(local, repository.root, None, tmp_path / "out")
    assert commit.id == head
    assert (tmp_path / "out" / "lib" / "lib.txt").read_text() == "1"
    assert in_checkout(tmp_path / "out", "status", "--porcelain") == ""
    assert in_checkout(tmp_path / "out" / "lib", "rev-parse", "HEAD") == sha
    (repository.root / "lib" / "lib.txt").write_text("2")
    assert local.resolve(Spec("local", str(repository.root), None)).id.startswith("sha256-")
    assert take(local, repository.root, "main", tmp_path / "out2").id == head
    assert (tmp_path / "out2" / "lib" / "lib.txt").read_text() == "1"


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed")
def test_lfs_files_of_this_machine(local: LocalProvider, repository: Repository, served: Path, tmp_path: Path) -> None:
    lfs_repository(repository.root, served, b"large" * 100)
    oid = next((served / "lfs-files").iterdir())
    sha = repository.commit({"a": "1"})
    place = repository.root / ".git" / "lfs" / "objects" / oid.name[:2] / oid.name[2:4] / oid.name
    place.parent.mkdir(parents=True)
    shutil.copy(oid, place)
    assert take(local, repository.root, "main", tmp_path / "out").id == sha
    assert (tmp_path / "out" / "data.bin").read_bytes() == b"large" * 100


def test_a_commit_whose_folder_moved_on_is_still_served(
    local: LocalProvider, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a": "1"})
    commit = local.resolve(Spec("local", str(repository.root), None))
    (repository.root / "a").write_text("2")
    (repository.root / "b").write_text("2")
    local.fetch(commit, tmp_path / "dirty", Lines())
    assert (tmp_path / "dirty" / "a").read_text() == "1"
    assert not (tmp_path / "dirty" / "b").exists()
    repository.commit({"c": "3"})
    local.fetch(commit, tmp_path / "older", Lines())
    assert sorted(entry.name for entry in (tmp_path / "older").iterdir()) == [".git", "a"]


def test_content_that_changed_meanwhile_is_said(local: LocalProvider, tmp_path: Path) -> None:
    root = tmp_path / "folder"
    root.mkdir()
    (root / "a").write_text("1")
    commit = local.resolve(Spec("local", str(root), None))
    (root / "a").write_text("2")
    with pytest.raises(RepositoryError, match="was changed"):
        local.fetch(commit, tmp_path / "out", Lines())
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_read(local: LocalProvider, tmp_path: Path) -> None:
    root = tmp_path / "folder"
    root.mkdir()
    (root / "a").write_text("1")
    with pytest.raises(RepositoryError, match="is a file"):
        local.resolve(Spec("local", str(root / "a"), None))
    with pytest.raises(RepositoryError, match="does not exist"):
        local.resolve(Spec("local", str(root / "none"), None))
    with pytest.raises(RefNotFoundError, match="not a git repository"):
        local.resolve(Spec("local", str(root), "main"))
    os.mkfifo(root / "pipe")
    with pytest.raises(RepositoryError, match="pipe"):
        local.resolve(Spec("local", str(root), None))


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_unreadable_files_are_named(local: LocalProvider, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "closed").write_text("1")
    (tmp_path / "folder" / "closed").chmod(0)
    with pytest.raises(RepositoryError, match="closed"):
        local.resolve(Spec("local", str(tmp_path / "folder"), None))


def test_a_folder_without_write_permission_can_be_removed_again(local: LocalProvider, tmp_path: Path) -> None:
    (tmp_path / "folder" / "closed").mkdir(parents=True)
    (tmp_path / "folder" / "closed" / "a").write_text("1")
    (tmp_path / "folder" / "closed").chmod(0o555)
    take(local, tmp_path / "folder", None, tmp_path / "out")
    assert (tmp_path / "out" / "closed").stat().st_mode & 0o700 == 0o700


def test_limits(tmp_path: Path) -> None:
    root = tmp_path / "folder"
    root.mkdir()
    with (root / "sparse").open("w") as file:
        file.truncate(1 << 40)
    with pytest.raises(RepositoryError, match="larger than"):
        LocalProvider(cache=tmp_path / "c", max_bytes=1 << 20).resolve(Spec("local", str(root), None))
    (root / "sparse").unlink()
    inside = LocalProvider(cache=tmp_path / "c")
    with pytest.raises(RepositoryError, match="own data"):
        inside.fetch(inside.resolve(Spec("local", str(root), None)), root / "out", Lines())
    assert not (root / "out").exists()


def test_detect_and_parse(local: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir").mkdir()
    assert local.detect(str(tmp_path / "dir")) == Spec("local", str(tmp_path / "dir"))
    monkeypatch.chdir(tmp_path)
    assert local.detect("dir") == local.detect("./dir/") == Spec("local", str(tmp_path / "dir"))
    assert local.detect(".") == Spec("local", str(tmp_path))
    for address in (str(tmp_path / "file"), "none", "", "a\0b", "x" * 9000, "https://example.org/a"):
        assert local.detect(address) is None
    assert local.parse("%2Fhome%2Fada/feature%2Fx") == Spec("local", "/home/ada", "feature/x")
    for raw in ("home/x", "", "%2Fa%00b/x", "%2Fa/-x", "%ff"):
        with pytest.raises(AddressError):
            local.parse(raw)
    closed = LocalProvider(cache=tmp_path / "c", allow_local=False)
    assert closed.detect(str(tmp_path)) is None
    with pytest.raises(RefusedError):
        closed.resolve(Spec("local", str(tmp_path), None))
