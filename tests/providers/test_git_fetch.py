"""What a checkout holds, over file:// ."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout

from rebind.errors import AddressError, RefNotFoundError, RepositoryError
from rebind.providers.git import GitProvider
from rebind.values import Commit, Phase, Spec


def take(provider: GitProvider, url: str, ref: str | None, into: Path, report: Lines | None = None) -> Commit:
    commit = provider.resolve(Spec("git", url, ref))
    provider.fetch(commit, into, report if report is not None else Lines())
    return commit


def test_only_the_wanted_commit_is_there(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    first = repository.commit({"a": "1"})
    repository.git("checkout", "-q", "-b", "elsewhere")
    away = repository.commit({"secret": "s"})
    repository.git("checkout", "-q", "main")
    repository.commit({"b": "2"})
    into = tmp_path / "out"
    take(provider, repository.url, "main", into)
    assert in_checkout(into, "rev-list", "--all").split()[-1] == first
    assert in_checkout(into, "for-each-ref", "--format=%(refname)").split() == [
        "refs/heads/main",
        "refs/remotes/origin/main",
    ]
    assert away not in in_checkout(into, "cat-file", "--batch-all-objects", "--batch-check")
    assert sorted(p.name for p in into.iterdir()) == [".git", "a", "b"]


def test_it_works_without_a_network(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.grow(30)
    for ref, name in ((None, "one"), ("main", "full"), (repository.git("rev-parse", "HEAD~10"), "middle")):
        into = tmp_path / name
        take(provider, repository.url, ref, into)
        assert in_checkout(into, "status", "--porcelain") == ""
        assert in_checkout(into, "log", "--oneline")
        in_checkout(into, "fsck")
        (into / "new.txt").write_text("x")
        in_checkout(into, "add", "-A")
        in_checkout(into, "commit", "-q", "-m", "from a session")
        in_checkout(into, "diff", "--stat", "HEAD~1") if name != "one" else None
        in_checkout(into, "stash", "list")
        in_checkout(into, "gc", "-q")
        assert in_checkout(into, "status", "--porcelain") == ""
        assert not (into / ".git" / "objects" / "info" / "alternates").exists()
        assert str(tmp_path / "cache") not in (into / ".git" / "config").read_text()


def test_older_contents_are_left_out_where_the_server_can(
    provider: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    repository.grow(20)
    into = tmp_path / "out"
    take(provider, repository.url, "main", into)
    missing = in_checkout(into, "rev-list", "--objects", "--missing=print", "HEAD")
    assert missing.count("?") == 20 - 7
    assert in_checkout(into, "config", "remote.origin.promisor") == "true"


@pytest.mark.parametrize(
    ("ref", "branch"), [(None, "main"), ("HEAD", "main"), ("feature/x", "feature/x"), ("origin/feature/x", "feature/x")]
)
def test_a_branch_is_checked_out_as_a_branch(
    provider: GitProvider, repository: Repository, tmp_path: Path, ref: str | None, branch: str
) -> None:
    repository.commit({"a": "1"})
    repository.git("branch", "feature/x")
    take(provider, repository.url, ref, tmp_path / "out")
    assert in_checkout(tmp_path / "out", "symbolic-ref", "--short", "HEAD") == branch
    assert in_checkout(tmp_path / "out", "rev-parse", "--abbrev-ref", "@{u}") == f"origin/{branch}"


def test_tags_and_commits_are_detached(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    sha = repository.commit({"a": "1"})
    repository.git("tag", "-a", "v1", "-m", "text")
    repository.git("tag", "light")
    for number, ref in enumerate(("v1", "light", sha, sha[:7])):
        commit = take(provider, repository.url, ref, tmp_path / str(number))
        assert commit.id == sha
        assert in_checkout(tmp_path / str(number), "rev-parse", "HEAD") == sha
        assert in_checkout(tmp_path / str(number), "symbolic-ref", "-q", "HEAD", check=False) == ""


def test_date_and_identity(provider: GitProvider, repository: Repository) -> None:
    repository.commit({"a": "1"}, date="2017-09-11T10:20:30+02:00")
    commit = provider.resolve(Spec("git", repository.url))
    assert commit.date == datetime(2017, 9, 11, 8, 20, 30, tzinfo=UTC)
    assert commit.identity == f"local{repository.root}"
    assert provider.resolve(Spec("git", repository.url, "main")) == Commit(
        Spec("git", repository.url, "main"), commit.id, commit.date, commit.identity
    )


@pytest.mark.parametrize("stamp", ["99999999999999 +0000", "-5 +0000", "0 +0000", "253402300800 +0000"])
def test_absurd_dates_do_not_hurt(provider: GitProvider, repository: Repository, stamp: str) -> None:
    tree = repository.git("mktree", text="")
    text = f"tree {tree}\nauthor A <a> 1 +0000\ncommitter A <a> {stamp}\n\nx\n"
    sha = repository.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", text=text)
    repository.git("update-ref", "refs/heads/main", sha)
    assert 1970 <= provider.resolve(Spec("git", repository.url, "main")).date.year <= 9999


def test_a_page_names_branch_and_path(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.commit({"dir/n.ipynb": "{}"})
    repository.git("checkout", "-q", "-b", "feature/x")
    sha = repository.commit({"b": "2"})
    commit = take(provider, repository.url, "feature/x/dir/n.ipynb/", tmp_path / "out")
    assert (commit.id, commit.spec.ref) == (sha, "feature/x")
    assert in_checkout(tmp_path / "out", "branch", "--show-current") == "feature/x"


def test_missing_things_are_named(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.commit({"a": "1"})
    repository.git("branch", "-m", "main", "trunk")
    with pytest.raises(RefNotFoundError, match="'nope'"):
        provider.resolve(Spec("git", repository.url, "nope"))
    with pytest.raises(RefNotFoundError) as caught:
        provider.resolve(Spec("git", repository.url, "main"))
    assert "'trunk'" in caught.value.remedy
    for sha in ("deadbeef", "d" * 40, "origin/" + "d" * 40):
        with pytest.raises(RefNotFoundError):
            provider.resolve(Spec("git", repository.url, sha))
    with pytest.raises(RepositoryError, match="no repository at") as none:
        provider.resolve(Spec("git", f"file://{tmp_path}/none"))
    assert not isinstance(none.value, RefNotFoundError)
    with pytest.raises(AddressError):
        provider.resolve(Spec("git", repository.url, "--upload-pack=x"))


def test_an_empty_repository_is_said_to_be_empty(provider: GitProvider, repository: Repository) -> None:
    with pytest.raises(RepositoryError, match="empty"):
        provider.resolve(Spec("git", repository.url))


def test_ambiguous_short_ids(provider: GitProvider, repository: Repository) -> None:
    repository.grow(300)
    heads = [line[:2] for line in repository.git("rev-list", "HEAD").split()]
    assert len(heads) > len(set(heads))
    ids = repository.git("rev-list", "HEAD").split()
    starts = [sha[:4] for sha in ids]
    twice = next((start for start in starts if starts.count(start) > 1), None)
    if twice:
        with pytest.raises(RefNotFoundError, match="several"):
            provider.resolve(Spec("git", repository.url, twice))
    assert provider.resolve(Spec("git", repository.url, ids[150][:10])).id == ids[150]


def test_progress_is_reported_in_the_fetching_phase(
    provider: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    repository.grow(50)
    events = []
    commit = provider.resolve(Spec("git", repository.url, "main"))
    provider.fetch(commit, tmp_path / "out", events.append)
    assert events
    assert {event.phase for event in events} == {Phase.FETCHING}
    assert all(event.message.endswith("\n") and "\x1b" not in event.message for event in events)


def test_nothing_is_left_after_an_error(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.commit({"a": "1"})
    commit = provider.resolve(Spec("git", repository.url))

    class Stopped(Exception): ...

    def report(_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        provider.fetch(commit, tmp_path / "out", report)
    assert not (tmp_path / "out").exists()
    provider.fetch(commit, tmp_path / "out", Lines())
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_links(provider: GitProvider) -> None:
    spec = provider.parse("https%3A%2F%2Fexample.org%2Fa%2Fb.git/feature%2Fx")
    assert spec == Spec("git", "https://example.org/a/b.git", "feature/x")
    assert provider.parse("https%3A%2F%2Fexample.org%2Fa/feature/x").ref == "feature/x"
    assert provider.parse("https%3A%2F%2Fexample.org%2Fa/").ref is None
    assert provider.parse("git%40example.org%3Aa%2Fb/HEAD") == Spec("git", "ssh://git@example.org/a/b", "HEAD")
    for raw in ("https://example.org/a/b/HEAD", "", "/", "ext%3A%3Ash/HEAD", "https%3A%2F%2Fx.org%2Fa/-x", "%ff/HEAD"):
        with pytest.raises(AddressError):
            provider.parse(raw)


def test_sha256_repositories(provider: GitProvider, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "long", "--object-format=sha256")
    sha = repository.commit({"a": "1"})
    assert len(sha) == 64
    for ref, name in ((None, "one"), ("main", "full")):
        assert take(provider, repository.url, ref, tmp_path / name).id == sha
        assert in_checkout(tmp_path / name, "status", "--porcelain") == ""
