"""GIT_CREDENTIAL_ENV: reaches the server it is meant for, and no argument list, log, checkout or other server."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository
from git_servers import http_server
from test_git_submodules import add

from rebind.errors import RebindError, RepositoryError
from rebind.providers.access import Access
from rebind.providers.addresses import parse_url
from rebind.providers.git import GitProvider
from rebind.values import Spec

pytestmark = pytest.mark.slow

LOGIN = "ada:hunter2%of\\backslash"
TEXT = "username=ada\npassword=hunter2%of\\backslash"


def _fill(access: Access, asked: str, url: str) -> str:
    access.prepare()
    done = subprocess.run(
        ["git", *access.options(), "credential", "fill"],
        env=access.environment(parse_url(url)),
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("text", ["username=ada\npassword=s3cret", r"username=ada\npassword=s3cret"])
def test_escapes_are_expanded(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CREDENTIAL_ENV", text)
    access = Access(home=tmp_path, allow_local=True)
    said = _fill(access, "protocol=https\nhost=example.org\n\n", "https://example.org/a")
    assert "username=ada\npassword=s3cret\n" in said


@pytest.mark.parametrize(
    "asked",
    [
        "protocol=https\nhost=evil.org\n\n",
        "protocol=http\nhost=example.org\n\n",
        "protocol=https\nhost=example.org:444\n\n",
        "protocol=https\nhost=example.org.evil.org\n\n",
    ],
)
def test_another_server_gets_nothing(asked: str, tmp_path: Path) -> None:
    access = Access(home=tmp_path, allow_local=True, credentials=TEXT)
    assert "hunter2" not in _fill(access, asked, "https://example.org/a")


def test_a_hub_needs_to_say_for_which_host(tmp_path: Path) -> None:
    asked, url = "protocol=https\nhost=example.org\n\n", "https://example.org/a"
    assert "hunter2" not in _fill(Access(home=tmp_path, credentials=TEXT), asked, url)
    assert "hunter2" not in _fill(Access(home=tmp_path, credentials=f"host=evil.org\n{TEXT}"), asked, url)
    assert "hunter2" in _fill(Access(home=tmp_path, credentials=f"host=example.org\n{TEXT}"), asked, url)


def test_a_private_repository(
    repository: Repository, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    repository.grow(3)
    with http_server(served, password=LOGIN) as server:
        spec = Spec("git", f"{server.url}/repository", "main")
        with pytest.raises(RepositoryError, match="private"):
            GitProvider(cache=tmp_path / "none", allow_local=True).resolve(spec)
        monkeypatch.setenv("GIT_CREDENTIAL_ENV", TEXT)
        provider = GitProvider(cache=tmp_path / "cache", allow_local=True)
        provider.fetch(provider.resolve(spec), tmp_path / "out", lines)
        assert (tmp_path / "out" / "f0.txt").exists()
        assert base64.b64encode(LOGIN.encode()).decode() in server.given[-1]
        assert "hunter2" not in lines.text
        for place in (tmp_path / "out", tmp_path / "cache"):
            for path in place.rglob("*"):
                assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_wrong_credentials_are_not_shown(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(1)
    with http_server(served, password="other:one") as server:
        provider = GitProvider(cache=tmp_path / "cache", allow_local=True, credentials=TEXT)
        with pytest.raises(RebindError) as caught:
            provider.resolve(Spec("git", f"{server.url}/repository"))
        assert "hunter2" not in caught.value.text()


def test_never_in_an_argument_list(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(1)
    seen: list[bytes] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = entry.read_bytes()
                except OSError:
                    continue
                if b"hunter2" in text or b"git" in text:
                    seen.append(text)
            time.sleep(0.005)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        with http_server(served, password=LOGIN, stall=0.05) as server:
            provider = GitProvider(cache=tmp_path / "cache", allow_local=True, credentials=TEXT)
            provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), tmp_path / "out", Lines())
    finally:
        done.set()
        watcher.join()
    assert any(b"ls-remote" in text for text in seen)
    assert not any(b"hunter2" in text for text in seen)


def test_redirects_and_submodules_do_not_carry_them_away(
    repository: Repository, other: Repository, served: Path, tmp_path: Path
) -> None:
    sha = other.commit({"a": "1"})
    with http_server(served, password="x:y") as thief:
        add(repository, "lib", f"{thief.url}/other", sha)
        with http_server(served, password=LOGIN) as server:
            provider = GitProvider(
                cache=tmp_path / "c1", allow_local=True, credentials=f"host=127.0.0.1:{server.port}\n{TEXT}"
            )
            with pytest.raises(RepositoryError, match="'lib'"):
                provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), tmp_path / "out", Lines())
        with http_server(served, redirect=thief.url) as server:
            provider = GitProvider(cache=tmp_path / "c2", allow_local=True, credentials=TEXT)
            with pytest.raises(RepositoryError):
                provider.resolve(Spec("git", f"{server.url}/repository"))
        assert thief.asked
        assert thief.given == []
