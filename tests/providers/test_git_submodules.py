"""Submodules: those of the commit, by the same rules, and nothing that `.gitmodules` could be misused for."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import http_server

from rebind.errors import RebindError, RefusedError, RepositoryError
from rebind.providers.git import GitProvider
from rebind.values import Spec

pytestmark = pytest.mark.slow


def add(repository: Repository, path: str, url: str, commit: str, name: str = "", more: str = "") -> str:
    """A submodule as a stranger could write it, without asking git whether it likes it."""
    text = f'[submodule "{name or path}"]\n\tpath = {path}\n\turl = {url}\n{more}'
    old = repository.root / ".gitmodules"
    (repository.root / ".gitmodules").write_text((old.read_text() if old.exists() else "") + text)
    repository.git("add", "-f", ".gitmodules")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    (repository.root / path).mkdir(parents=True, exist_ok=True)
    repository.git("commit", "-q", "-m", f"submodule {path}")
    return repository.git("rev-parse", "HEAD")


def take(provider: GitProvider, url: str, ref: str | None, into: Path) -> Lines:
    lines = Lines()
    provider.fetch(provider.resolve(Spec("git", url, ref)), into, lines)
    return lines


def test_at_its_recorded_commit_and_recursively(
    provider: GitProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    inner = Repository(tmp_path / "served" / "inner")
    deep = inner.commit({"deep.txt": "deep"})
    inner.commit({"deep.txt": "newer"})
    add(other, "in/ner", "../inner", deep)
    recorded = other.commit({"lib.txt": "recorded"})
    other.commit({"lib.txt": "newer"})
    add(repository, "lib", "../other", recorded)
    for ref in (None, "main"):
        into = tmp_path / f"out-{ref}"
        take(provider, repository.url, ref, into)
        assert (into / "lib" / "lib.txt").read_text() == "recorded"
        assert (into / "lib" / "in" / "ner" / "deep.txt").read_text() == "deep"
        assert in_checkout(into, "status", "--porcelain") == ""
        status = in_checkout(into, "submodule", "status", "--recursive").splitlines()
        assert [line.split()[0] for line in status] == [recorded, deep]
        assert in_checkout(into / "lib", "rev-list", "--count", "HEAD") == "1"


def test_a_ref_without_submodule_gets_none(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    plain = repository.commit({"a": "1"})
    add(repository, "lib", "https://127.0.0.1:9/none", "a" * 40)
    take(provider, repository.url, plain, tmp_path / "out")
    assert not (tmp_path / "out" / "lib").exists()


def test_a_failure_is_fatal_and_names_the_submodule(
    provider: GitProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    other.commit({"a": "1"})
    add(repository, "path/lib", "../other", "d" * 40)
    with pytest.raises(RepositoryError, match="'path/lib'"):
        take(provider, repository.url, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_submodule_is_left_empty_and_said(
    provider: GitProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    sha = other.commit({"a": "1"})
    add(repository, "skipped", "../other", sha, more="\tupdate = none\n")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{sha},stray")
    repository.git("commit", "-q", "-m", "stray")
    text = take(provider, repository.url, None, tmp_path / "out").text
    assert "'stray' is left empty" in text
    assert "'skipped' is left empty" in text
    assert list((tmp_path / "out" / "stray").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["{file}", "{path}", "../../../../../../{path}", "ext::sh -c 'touch x'", "-oProxyCommand=x", "file:///etc"]
)
def test_a_remote_repository_names_no_path_of_this_machine(
    url: str, repository: Repository, other: Repository, served: Path, tmp_path: Path
) -> None:
    sha = other.commit({"secret": "1"})
    add(repository, "lib", url.format(file=other.url, path=other.root), sha)
    for allow_local in (False, True):
        provider = GitProvider(cache=tmp_path / f"cache-{allow_local}", allow_local=allow_local)
        with http_server(served) as server, pytest.raises(RebindError) as caught:
            take(provider, f"{server.url}/repository", None, tmp_path / "out")
        assert "'lib'" in str(caught.value)
        assert not (tmp_path / "out").exists()


def test_a_local_repository_may(
    provider: GitProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    sha = other.commit({"lib.txt": "1"})
    add(repository, "lib", str(other.root), sha)
    take(provider, repository.url, None, tmp_path / "out")
    assert (tmp_path / "out" / "lib" / "lib.txt").exists()


@pytest.mark.parametrize("name", ["../../evil", "..", "x/../../y", "-x", 'a\\"] b'])
def test_hostile_names_are_only_names(
    name: str, provider: GitProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    sha = other.commit({"lib.txt": "1"})
    add(repository, "lib", "../other", sha, name=name)
    (tmp_path / "in").mkdir()
    into = tmp_path / "in" / "out"
    take(provider, repository.url, None, into)
    assert (into / "lib" / "lib.txt").exists()
    assert [entry.name for entry in (tmp_path / "in").iterdir()] == ["out"]
    assert in_checkout(into, "config", "--get", "core.bare") == "false"
    assert in_checkout(into, "status", "--porcelain") == ""


def test_the_program_in_gitmodules_is_never_run(
    provider: GitProvider, repository: Repository, other: Repository, tmp_path: Path
) -> None:
    sha = other.commit({"lib.txt": "1"})
    trap = tmp_path / "pwned"
    add(repository, "lib", "../other", sha, more=f"\tupdate = !touch {trap}\n")
    take(provider, repository.url, None, tmp_path / "out")
    assert not trap.exists()
    assert "update =" not in (tmp_path / "out" / ".git" / "config").read_text()


def test_a_chain_of_submodules_ends(provider: GitProvider, tmp_path: Path) -> None:
    sha, previous = "", ""
    for number in range(12):
        repository = Repository(tmp_path / "served" / f"r{number}")
        sha = add(repository, "next", f"../{previous}", sha) if sha else repository.commit({"a": "1"})
        previous = f"r{number}"
    with pytest.raises(RepositoryError, match="nested too deeply"):
        take(provider, f"file://{tmp_path}/served/{previous}", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_credentials_in_the_address_of_a_submodule(
    provider: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    add(repository, "lib", "https://ada:hunter2@127.0.0.1:9/x", "a" * 40)
    with pytest.raises(RebindError) as caught:
        take(provider, repository.url, None, tmp_path / "out")
    assert "hunter2" not in caught.value.text()


def test_refused_kinds_stay_refused(repository: Repository, served: Path, tmp_path: Path) -> None:
    add(repository, "lib", "git://127.0.0.1:9/x", "a" * 40)
    provider = GitProvider(cache=tmp_path / "cache", allowed_protocols=("http",))
    with http_server(served) as server, pytest.raises(RefusedError, match="'lib'"):
        take(provider, f"{server.url}/repository", None, tmp_path / "out")
