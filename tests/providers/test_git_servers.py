"""The same repository over every way that git knows, from real servers."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import SSHD, dumb_server, git_daemon, http_server, ssh_server

from rebind.errors import RefNotFoundError, RefusedError, RepositoryError
from rebind.providers.git import GitProvider
from rebind.sandbox import Egress, EgressPolicy
from rebind.values import Commit, Spec

pytestmark = pytest.mark.slow

needs_sshd = pytest.mark.skipif(not SSHD, reason="openssh-server is not installed")


@contextmanager
def dumb(root: Path) -> Iterator[str]:
    for repository in root.iterdir():
        subprocess.run(["git", "-C", str(repository), "update-server-info"], check=True)
    with dumb_server(root) as server:
        yield f"{server.url}/repository/.git"


@contextmanager
def smart(root: Path, **settings: object) -> Iterator[str]:
    with http_server(root, **settings) as server:
        yield f"{server.url}/repository"


@contextmanager
def daemon(root: Path) -> Iterator[str]:
    with git_daemon(root) as url:
        yield f"{url}/repository"


SERVERS = {
    "smart": smart,
    "old-protocol": lambda root: smart(root, protocol="0"),
    "old-and-strict": lambda root: smart(root, protocol="0", filters=False, any_commit=False),
    "no-filter": lambda root: smart(root, filters=False),
    "dumb": dumb,
    "daemon": daemon,
}


@pytest.fixture(params=sorted(SERVERS))
def url(request: pytest.FixtureRequest, repository: Repository, served: Path) -> Iterator[str]:
    repository.grow(100)
    repository.git("tag", "-a", "v1", "-m", "x", "HEAD~20")
    repository.git("branch", "feature/main", "HEAD~50")
    serve: AbstractContextManager[str] = SERVERS[request.param](served)
    with serve as address:
        yield address


def test_every_server_gives_every_kind_of_ref(
    url: str, public: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    ids = repository.git("rev-list", "--reverse", "HEAD").split()
    cases = [
        (None, ids[-1], 1),
        ("main", ids[-1], 100),
        ("v1", ids[-21], 80),
        ("feature/main", ids[-51], 50),
        (ids[30], ids[30], 31),
        (f"origin/{ids[40][:9]}", ids[40], 41),
    ]
    for number, (ref, commit_id, length) in enumerate(cases):
        into = tmp_path / f"out-{number}"
        commit = public.resolve(Spec("git", url, ref))
        public.fetch(commit, into, Lines())
        assert (ref, commit.id) == (ref, commit_id)
        assert (ref, in_checkout(into, "rev-list", "--count", "HEAD")) == (ref, str(length))
        assert (ref, in_checkout(into, "status", "--porcelain")) == (ref, "")
        in_checkout(into, "fsck")
    with pytest.raises(RefNotFoundError):
        public.resolve(Spec("git", url, "e" * 40))
    with pytest.raises(RefNotFoundError):
        public.resolve(Spec("git", url, "main-line"))


def test_a_second_launch_asks_for_names_only(
    public: GitProvider, repository: Repository, served: Path, tmp_path: Path
) -> None:
    repository.grow(100)
    (repository.root / "big.bin").write_bytes(bytes(range(256)) * 4000)
    repository.commit({})
    with http_server(served) as server:
        spec = Spec("git", f"{server.url}/repository", "main")
        public.fetch(public.resolve(spec), tmp_path / "first", Lines())
        whole, server.sent = server.sent, 0
        server.asked.clear()
        public.fetch(public.resolve(spec), tmp_path / "again", Lines())
        assert len(server.asked) == 2  # capabilities, names
        repository.commit({"one-more": "x"})
        server.sent = 0
        public.fetch(public.resolve(spec), tmp_path / "next", Lines())
        assert server.sent < 8000 < whole
        assert (tmp_path / "next" / "one-more").exists()
        server.asked.clear()
        sha = repository.git("rev-parse", "HEAD")
        public.fetch(public.resolve(Spec("git", spec.repository, sha)), tmp_path / "sha", Lines())
        assert server.asked == []


@needs_sshd
def test_ssh(repository: Repository, tmp_path: Path) -> None:
    ids = repository.grow(20)
    with ssh_server(tmp_path / "sshd") as server:
        url = f"ssh://{server.user}@127.0.0.1:{server.port}{repository.root}"
        provider = GitProvider(cache=tmp_path / "cache", ssh_key=server.key)
        for ref, length in ((None, 1), ("main", 20), (ids[4][:8], 5)):
            into = tmp_path / f"out-{length}"
            provider.fetch(provider.resolve(Spec("git", url, ref)), into, Lines())
            assert in_checkout(into, "rev-list", "--count", "HEAD") == str(length)
        assert "127.0.0.1" in (tmp_path / "cache" / "home" / "known_hosts").read_text()
        without = GitProvider(cache=tmp_path / "other")
        with pytest.raises(RepositoryError, match="private"):
            without.resolve(Spec("git", url))
        with pytest.raises(RepositoryError, match="no repository"):
            provider.resolve(Spec("git", f"{url}-none"))


@pytest.fixture
def egress(tmp_path: Path) -> Iterator[Egress]:
    proxy = Egress(EgressPolicy(allow_private=True, ports=frozenset()), tmp_path / "egress" / "sock")
    proxy.start()
    yield proxy
    proxy.stop()


def test_through_the_proxy(egress: Egress, repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(5)
    provider = GitProvider(cache=tmp_path / "cache", proxy_url=egress.proxy_url)
    with http_server(served) as server, git_daemon(served) as daemon_url:
        for number, url in enumerate((server.url, daemon_url)):
            before = len(egress.requests)
            spec = Spec("git", f"{url}/repository", "main")
            provider.fetch(provider.resolve(spec), tmp_path / str(number), Lines())
            assert in_checkout(tmp_path / str(number), "rev-list", "--count", "HEAD") == "5"
            assert len(egress.requests) > before


@needs_sshd
def test_ssh_through_the_proxy(egress: Egress, repository: Repository, tmp_path: Path) -> None:
    repository.grow(5)
    with ssh_server(tmp_path / "sshd") as server:
        provider = GitProvider(cache=tmp_path / "cache", proxy_url=egress.proxy_url, ssh_key=server.key)
        url = f"ssh://{server.user}@127.0.0.1:{server.port}{repository.root}"
        provider.fetch(provider.resolve(Spec("git", url)), tmp_path / "out", Lines())
        assert egress.requests[-1].port == server.port


def test_what_the_proxy_refuses_is_refused(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(2)
    proxy = Egress(EgressPolicy(ports=frozenset()), tmp_path / "egress" / "sock")
    proxy.start()
    try:
        provider = GitProvider(cache=tmp_path / "cache", proxy_url=proxy.proxy_url)
        with http_server(served) as server, git_daemon(served) as daemon_url:
            urls = [server.url, server.url.replace("http:", "https:"), daemon_url, "ssh://git@127.0.0.1:22"]
            for url in urls:
                with pytest.raises(RefusedError, match="may not be fetched from here"):
                    provider.resolve(Spec("git", f"{url}/repository"))
            assert server.asked == []
    finally:
        proxy.stop()


def test_a_redirect_does_not_lead_around_the_proxy(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(2)
    with http_server(served) as inner, http_server(served, redirect=inner.url) as outer:
        policy = EgressPolicy(allowed_hosts=frozenset({f"127.0.0.1:{outer.port}"}), ports=frozenset({80}))
        proxy = Egress(policy, tmp_path / "egress" / "sock")
        proxy.start()
        try:
            provider = GitProvider(cache=tmp_path / "cache", proxy_url=proxy.proxy_url)
            with pytest.raises((RepositoryError, RefusedError)):
                provider.resolve(Spec("git", f"{outer.url}/repository"))
            assert inner.asked == []
            assert outer.asked
        finally:
            proxy.stop()


def test_a_server_that_hangs_is_left(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(2)
    provider = GitProvider(cache=tmp_path / "cache", timeout=0.5)
    with http_server(served, stall=5) as server, pytest.raises(RepositoryError, match="longer than is allowed"):
        provider.resolve(Spec("git", f"{server.url}/repository"))


def test_a_server_that_is_away(public: GitProvider) -> None:
    with pytest.raises(RepositoryError, match="does not answer"):
        public.resolve(Spec("git", "http://127.0.0.1:9/repository"))
    with pytest.raises(RepositoryError, match="not known"):
        public.resolve(Spec("git", "https://nowhere.invalid/repository"))


def test_many_at_once_fetch_once(public: GitProvider, repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(50)
    with http_server(served) as server:
        spec = Spec("git", f"{server.url}/repository", "main")
        errors: list[BaseException] = []

        def run(number: int) -> None:
            try:
                commits[number] = public.resolve(spec)
                public.fetch(commits[number], tmp_path / f"many-{number}", Lines())
            except BaseException as error:
                errors.append(error)

        commits: dict[int, Commit] = {}
        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(set(commits.values())) == 1
        asked = [path for method, path in server.asked if method == "POST"]
        # Names for each; the commit, its history (with the names of tags) and its files once for all.
        assert len(asked) <= 6 + 4
