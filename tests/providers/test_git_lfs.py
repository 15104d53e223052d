"""Files kept in Git LFS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import http_server, lfs_repository

from rebind.errors import RepositoryError
from rebind.providers.git import GitProvider
from rebind.values import Spec

needs_lfs = pytest.mark.skipif(not shutil.which("git-lfs"), reason="git-lfs is not installed")
CONTENT = b"\x00large\xff" * 1000


@pytest.fixture
def large(repository: Repository, served: Path) -> Repository:
    lfs_repository(repository.root, served, CONTENT)
    repository.commit({"a": "1"})
    return repository


@needs_lfs
def test_files_come_from_the_server_once(large: Repository, served: Path, tmp_path: Path) -> None:
    provider = GitProvider(cache=tmp_path / "cache")
    with http_server(served) as server:
        spec = Spec("git", f"{server.url}/repository", "main")
        for name in ("one", "two"):
            provider.fetch(provider.resolve(spec), tmp_path / name, Lines())
            assert (tmp_path / name / "data.bin").read_bytes() == CONTENT
            assert in_checkout(tmp_path / name, "status", "--porcelain") == ""
        assert len([path for _, path in server.asked if "/files/" in path]) == 1


@needs_lfs
def test_a_missing_file_is_an_error(large: Repository, served: Path, tmp_path: Path) -> None:
    shutil.rmtree(served / "lfs-files")
    provider = GitProvider(cache=tmp_path / "cache")
    with http_server(served) as server, pytest.raises(RepositoryError, match="LFS"):
        provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), tmp_path / "out", Lines())
    assert not (tmp_path / "out").exists()


@needs_lfs
@pytest.mark.parametrize("text", ["url = file://{other}", "url = ssh://-oProxyCommand=x/a", "url = {other}"])
def test_the_repository_names_no_path_of_this_machine(
    text: str, large: Repository, other: Repository, served: Path, tmp_path: Path
) -> None:
    storage = other.root / ".git" / "lfs" / "objects"
    oid = next((served / "lfs-files").iterdir())
    place = storage / oid.name[:2] / oid.name[2:4] / oid.name
    place.parent.mkdir(parents=True)
    oid.rename(place)
    large.commit({".lfsconfig": "[lfs]\n\t" + text.format(other=other.root) + "\n"})
    provider = GitProvider(cache=tmp_path / "cache")
    with http_server(served) as server, pytest.raises(RepositoryError, match="LFS"):
        provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), tmp_path / "out", Lines())


@needs_lfs
def test_another_web_server_may_be_named(large: Repository, served: Path, tmp_path: Path) -> None:
    provider = GitProvider(cache=tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with http_server(served) as files, http_server(served) as server:
        large.commit({".lfsconfig": f"[lfs]\n\turl = {files.url}/any/info/lfs\n"})
        provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), tmp_path / "out", Lines())
        assert (tmp_path / "out" / "data.bin").read_bytes() == CONTENT
        assert not any("/lfs/" in path for _, path in server.asked)


def test_without_git_lfs_it_is_said(
    large: Repository, provider: GitProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **more: None if name == "git-lfs" else real(name, **more))
    provider.fetch(provider.resolve(Spec("git", large.url)), tmp_path / "out", lines)
    assert b"git-lfs.github.com" in (tmp_path / "out" / "data.bin").read_bytes()
    assert "git-lfs is not installed" in lines.text
