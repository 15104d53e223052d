"""Files kept in Git LFS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import HttpServer, http_server, lfs_repository

from rebind.errors import RepositoryError
from rebind.providers.git import GitProvider
from rebind.sandbox import Egress, EgressPolicy
from rebind.values import Spec

pytestmark = pytest.mark.slow

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
@pytest.mark.parametrize("text", ["url = file://{other}", "url = ssh://-oProxyCommand=x/a"])
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


@contextmanager
def proxied(served: Path, tmp_path: Path, **settings: object) -> Iterator[tuple[GitProvider, HttpServer]]:
    """A provider that may reach one server, through the proxy."""
    with http_server(served, **settings) as server:
        policy = EgressPolicy(allowed_hosts=frozenset({f"127.0.0.1:{server.port}"}), ports=frozenset({80}))
        proxy = Egress(policy, tmp_path / "egress" / "sock")
        proxy.start()
        credentials = f"host=127.0.0.1:{server.port}\nusername=ada\npassword=hunter2"
        try:
            yield (
                GitProvider(
                    cache=tmp_path / "cache", proxy_url=proxy.proxy_url, credentials=credentials, max_bytes=1_000_000
                ),
                server,
            )
        finally:
            proxy.stop()


def take(provider: GitProvider, server: HttpServer, into: Path) -> None:
    provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), into, Lines())


@needs_lfs
def test_through_the_proxy_with_credentials(large: Repository, served: Path, tmp_path: Path) -> None:
    with proxied(served, tmp_path, password="ada:hunter2") as (provider, server):
        for name in ("one", "two"):
            take(provider, server, tmp_path / name)
            assert (tmp_path / name / "data.bin").read_bytes() == CONTENT
            assert in_checkout(tmp_path / name, "status", "--porcelain") == ""
        assert len([path for _, path in server.asked if path.endswith("/objects/batch")]) == 1
        assert not [
            path for path in (tmp_path / "one").rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()
        ]


@needs_lfs
@pytest.mark.parametrize("how", ["lfsconfig", "answer", "redirect"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.1", "[::1]", "0.0.0.0", "2130706433"])
def test_no_way_around_the_proxy(
    how: str, host: str, large: Repository, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,*")
    with http_server(served) as inner, proxied(served, tmp_path) as (provider, outer):
        away = f"http://{host}:{inner.port}"
        if how == "lfsconfig":
            large.commit({".lfsconfig": f"[lfs]\n\turl = {away}/any/info/lfs\n"})
        elif how == "answer":
            outer.lfs_files = away
        else:
            outer.lfs_redirect = away
        with pytest.raises(RepositoryError, match="LFS"):
            take(provider, outer, tmp_path / "out")
        assert inner.asked == []
        assert outer.asked
        assert not (tmp_path / "out").exists()


@needs_lfs
@pytest.mark.parametrize("files", ["file:///etc", "ftp://127.0.0.1", "data:,x", "", "http://127.0.0.1 :1/\r\nX: y"])
def test_an_answer_that_is_no_web_address(files: str, large: Repository, served: Path, tmp_path: Path) -> None:
    with proxied(served, tmp_path) as (provider, server):
        server.lfs_files = files or "nothing"
        with pytest.raises(RepositoryError, match="LFS"):
            take(provider, server, tmp_path / "out")


@needs_lfs
def test_another_content_and_too_much_of_it(large: Repository, served: Path, tmp_path: Path) -> None:
    kept = next((served / "lfs-files").iterdir())
    for content in (b"x" * len(CONTENT), CONTENT + b"x", b""):
        kept.write_bytes(content)
        with (
            proxied(served, tmp_path) as (provider, server),
            pytest.raises(RepositoryError, match="LFS") as caught,
        ):
            take(provider, server, tmp_path / "out")
        assert "another file" in caught.value.detail
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 99000000000\n"
    large.commit({"data.bin": pointer})
    with proxied(served, tmp_path) as (provider, server), pytest.raises(RepositoryError, match="larger than"):
        take(provider, server, tmp_path / "out")


def test_without_git_lfs_it_is_said(
    large: Repository, provider: GitProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **more: None if name == "git-lfs" else real(name, **more))
    provider.fetch(provider.resolve(Spec("git", large.url)), tmp_path / "out", lines)
    assert b"git-lfs.github.com" in (tmp_path / "out" / "data.bin").read_bytes()
    assert "git-lfs is not installed" in lines.text
