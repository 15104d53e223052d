"""GitHub, gists, GitLab, Bitbucket and Hugging Face: links, and what comes over git or over an API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from conftest_providers import Repository, in_checkout
from git_servers import HttpServer, http_server
from tests.providers.record_servers import NOTHING, Asked, Reply, Service, as_json

from rebind.errors import AddressError, RefNotFoundError, RefusedError, RepositoryError
from rebind.providers import Provider
from rebind.providers.addresses import parse_url
from rebind.providers.forge import BitbucketProvider, HuggingFaceProvider
from rebind.providers.git import GitProvider
from rebind.providers.github import Credentials, GistProvider, GitHubProvider
from rebind.providers.gitlab import GitLabProvider
from rebind.providers.online import Online
from rebind.values import Spec

QUICK = Online(pause=0.0)
TOKEN = Credentials(access_token="s3cret")
GIST = "0123456789abcdef0123"


@pytest.fixture
def server(served: Path) -> Iterator[HttpServer]:
    with http_server(served) as started:
        yield started


@pytest.fixture
def git(tmp_path: Path) -> GitProvider:
    return GitProvider(cache=tmp_path / "cache")


def none(_: object) -> None:
    pass


# Links


@pytest.mark.parametrize(
    ("raw", "repository", "ref"),
    [
        ("a/b/main", "https://github.com/a/b", "main"),
        ("a/b.git/feature/x", "https://github.com/a/b", "feature/x"),
        ("a/b/feature%2Fx", "https://github.com/a/b", "feature/x"),
        ("a/b/", "https://github.com/a/b", None),
        ("a/b/HEAD", "https://github.com/a/b", "HEAD"),
    ],
)
def test_github_links(git: GitProvider, raw: str, repository: str, ref: str | None) -> None:
    assert GitHubProvider(git=git).parse(raw) == Spec("gh", repository, ref)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "a",
        "a/",
        "/a",
        "../b/x",
        "a/../x",
        "-a/b/x",
        "a/b/--x",
        "a%0a/b/x",
        "a/b/x%0a",
        "a b/c/x",
        "a/%ff/x",
        "a@h/b/x",
    ],
)
def test_bad_github_links(git: GitProvider, raw: str) -> None:
    with pytest.raises(AddressError):
        GitHubProvider(git=git).parse(raw)


@pytest.mark.parametrize(
    ("address", "ref"),
    [
        ("https://github.com/a/b", None),
        ("https://www.github.com/a/b.git", None),
        ("github.com/a/b/tree/v1", "v1"),
        ("https://github.com/a/b/tree/feature/x", "feature/x/"),
        ("https://github.com/a/b/pull/7", "refs/pull/7/head"),
    ],
)
def test_github_pages(git: GitProvider, address: str, ref: str | None) -> None:
    assert GitHubProvider(git=git).detect(address) == Spec("gh", "https://github.com/a/b", ref)


def test_others_pages_are_left_to_others(git: GitProvider) -> None:
    every: list[Provider] = [GitHubProvider(git=git), GistProvider(git=git), GitLabProvider(git=git)]
    every += [BitbucketProvider(git=git), HuggingFaceProvider(git=git)]
    web = ("example.org/a/b", "github.com.evil.example/a/b", "github.com/a", "evil.example/github.com/a/b")
    for address in (*(f"https://{path}" for path in web), "git@github.com:a/b", "10.5281/zenodo.1", "", "/a/b"):
        assert [provider.detect(address) for provider in every] == [None] * 5


def test_other_links(git: GitProvider) -> None:
    gitlab, gist = GitLabProvider(git=git), GistProvider(git=git)
    assert gitlab.parse("g%2Fs%2Fp/feature%2Fx") == Spec("gl", "https://gitlab.com/g/s/p", "feature/x")
    assert gitlab.parse("g%2Fp.git/") == Spec("gl", "https://gitlab.com/g/p", None)
    assert gitlab.parse("g/p/main") == Spec("gl", "https://gitlab.com/g/p/main/")
    assert gist.parse(f"a/{GIST}") == gist.parse(f"a/{GIST}/") == Spec("gist", f"https://gist.github.com/a/{GIST}.git")
    assert HuggingFaceProvider(git=git).parse("datasets/a/b/main") == Spec(
        "hf", "https://huggingface.co/datasets/a/b", "main"
    )
    assert HuggingFaceProvider(git=git).parse("a/b/x/y") == Spec("hf", "https://huggingface.co/a/b", "x/y")
    assert BitbucketProvider(git=git).parse("a/b/x") == Spec("bitbucket", "https://bitbucket.org/a/b", "x")
    for provider, raw in [
        (gitlab, "g"),
        (gitlab, "g%2F..%2Fp/x"),
        (gist, "a/../x"),
        (gist, "a/xyz"),
        (gist, f"{GIST}"),
    ]:
        with pytest.raises(AddressError):
            provider.parse(raw)


def test_pages_of_the_others(git: GitProvider) -> None:
    gitlab = GitLabProvider(git=git)
    assert gitlab.detect("https://gitlab.com/g/s/p/-/tree/v1") == Spec("gl", "https://gitlab.com/g/s/p", "v1")
    face = HuggingFaceProvider(git=git)
    assert face.detect("https://hf.co/spaces/a/b/tree/main") == Spec("hf", "https://huggingface.co/spaces/a/b", "main")
    assert face.detect("https://huggingface.co/datasets") is None
    assert BitbucketProvider(git=git).detect("https://bitbucket.org/a/b/src/main/") is not None


# Over git


def test_identity_cache_and_files_are_those_of_git(
    server: HttpServer, served: Path, git: GitProvider, tmp_path: Path
) -> None:
    repository = Repository(served / "ada" / "lab")
    id = repository.commit({"a": "1"})
    provider = GitHubProvider(git=git, base_url=server.url)
    commit = provider.resolve(provider.parse("ada/lab/main"))
    plain = git.resolve(git.parse(f"{server.url.replace('/', '%2F')}%2Fada%2Flab/main"))
    assert (commit.id, commit.date, commit.identity) == (plain.id, plain.date, plain.identity)
    assert (commit.link, commit.page) == (f"ada/lab/{id}", f"{server.url}/ada/lab/tree/{id}")
    provider.fetch(commit, tmp_path / "out", none)
    assert in_checkout(tmp_path / "out", "rev-parse", "HEAD") == id
    with pytest.raises(RefNotFoundError, match="'master'"):
        provider.resolve(provider.parse("ada/lab/master"))


def test_spellings_share_one_identity(git: GitProvider) -> None:
    names = {parse_url(text).identity for text in ("https://github.com/Ada/Lab", "git@github.com:ada/lab.git")}
    assert names == {"git/github.com/ada/lab"}
    gists = {parse_url(f"https://gist.github.com/{path}").identity for path in (f"ada/{GIST}.git", GIST)}
    assert len(gists) == 1


def test_q11_unescaped_nested_projects(server: HttpServer, served: Path, git: GitProvider, tmp_path: Path) -> None:
    plain = Repository(served / "org" / "plain").commit({"a": "1"})
    nested = Repository(served / "group" / "sub" / "deep")
    first = nested.commit({"a": "2"})
    nested.git("branch", "feature/x")
    provider = GitLabProvider(git=git, base_url=server.url)
    for raw, id in [("org/plain/main", plain), ("group/sub/deep/main", first), ("group/sub/deep/feature/x", first),
                    ("group/sub/deep/feature%2Fx", first), ("group%2Fsub%2Fdeep/main", first)]:  # fmt: skip
        commit = provider.resolve(provider.parse(raw))
        assert commit.id == id
        assert not commit.spec.repository.endswith("/")
    assert commit.link == f"group%2Fsub%2Fdeep/{first}"
    again = provider.resolve(
        replace(provider.parse("group/sub/deep/main"), ref=first)
    )  # as a hub that starts anew asks
    assert (again.id, again.spec.repository) == (first, f"{server.url}/group/sub/deep")
    provider.fetch(again, tmp_path / "out", none)
    with pytest.raises(RefNotFoundError):
        provider.resolve(provider.parse("org/plain/no/such"))
    with pytest.raises(RepositoryError):
        provider.resolve(provider.parse("org/none/main"))


def test_gists_over_git(server: HttpServer, served: Path, git: GitProvider, tmp_path: Path) -> None:
    repository = Repository(served / "ada" / f"{GIST}.git")
    old, new = repository.commit({"a": "1"}), repository.commit({"a": "2"})
    provider = GistProvider(git=git, base_url=server.url)
    for ref in ("", "/HEAD", "/master", "/main"):
        assert provider.resolve(provider.parse(f"ada/{GIST}{ref}")).id == new
    commit = provider.resolve(provider.parse(f"ada/{GIST}/{old}"))
    assert (commit.id, commit.link) == (old, f"ada/{GIST}/{old}")
    provider.fetch(provider.resolve(provider.parse(f"ada/{GIST}/master")), tmp_path / "out", none)
    assert (tmp_path / "out" / "a").read_text() == "2"


# Over the API


@dataclass
class Api(Service):
    """GitHub's: refs of ada/lab, and one gist."""

    refs: dict[str, str] = field(default_factory=dict)
    secret: bool = False
    limited: bool = False

    def answer(self, asked: Asked) -> Reply:
        if self.limited:
            reset = str(int(time.time()) + 13 * 60)
            return as_json(
                {"message": "API rate limit exceeded"}, 403, X_RateLimit_Remaining="0", X_RateLimit_Reset=reset
            )
        if asked.path == f"/gists/{GIST}":
            dates = ("2020-01-02T03:04:05Z", "2019-01-02T03:04:05Z")
            history = [{"version": v * 40, "committed_at": date} for v, date in zip("ab", dates, strict=True)]
            return as_json({"public": not self.secret, "history": history})
        name = asked.path.removeprefix("/repos/ada/lab/commits/")
        if name not in self.refs:
            return as_json({"message": "No commit found for SHA: x"}, 422)
        etag = f'"{self.refs[name]}"'
        if asked.headers.get("if-none-match") == etag:
            return 304, {"ETag": etag}, b""
        committer = {"name": "Ada", "date": "2019-05-06T07:08:09Z"}
        return as_json({"sha": self.refs[name], "commit": {"committer": committer}}, ETag=etag)


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(refs={"main": "a" * 40, "feature/x": "b" * 40, "HEAD": "c" * 40}) as started:
        yield started


def github(git: GitProvider, api: Api, **settings: Any) -> GitHubProvider:
    return GitHubProvider(git=git, online=QUICK, api_url=api.url, credentials=TOKEN, **settings)


def test_a_ref_is_asked_of_the_api_with_its_etag(git: GitProvider, api: Api) -> None:
    provider = github(git, api)
    for _ in range(2):
        commit = provider.resolve(provider.parse("ada/lab/main"))
        assert (commit.id, commit.date.isoformat()) == ("a" * 40, "2019-05-06T07:08:09+00:00")
        assert commit.identity == "git/github.com/ada/lab"
    assert [each.headers.get("if-none-match") for each in api.asked] == [None, f'"{"a" * 40}"']
    assert {each.headers["authorization"] for each in api.asked} == {"token s3cret"}
    api.refs["main"] = "d" * 40
    assert provider.resolve(provider.parse("ada/lab/main")).id == "d" * 40
    assert provider.resolve(provider.parse("ada/lab/feature%2Fx")).id == "b" * 40
    assert provider.resolve(provider.parse("ada/lab/")).id == "c" * 40


def test_nothing_is_believed_for_a_while(git: GitProvider, api: Api) -> None:
    provider = github(git, api)
    for _ in range(3):
        with pytest.raises(RefNotFoundError, match="'nope'"):
            provider.resolve(provider.parse("ada/lab/nope"))
    assert len(api.asked) == 1
    provider = github(git, api, nothing_for=0.0)
    for _ in range(2):
        with pytest.raises(RefNotFoundError):
            provider.resolve(provider.parse("ada/lab/nope"))
    assert len(api.asked) == 3


def test_an_application_instead_of_a_token(git: GitProvider, api: Api) -> None:
    credentials = Credentials(client_id="id", client_secret="pw")
    provider = GitHubProvider(git=git, online=QUICK, api_url=api.url, credentials=credentials)
    provider.resolve(provider.parse("ada/lab/main"))
    assert api.asked[0].headers["authorization"] == "Basic aWQ6cHc="
    assert "pw" not in repr(credentials)


def test_the_quota_is_said_with_its_time(git: GitProvider, api: Api) -> None:
    api.limited = True
    provider = github(git, api)
    with pytest.raises(RepositoryError, match=r"^GitHub rate limit exceeded\. Try again in 15 minutes\.$"):
        provider.resolve(provider.parse("ada/lab/main"))
    gist = GistProvider(git=git, online=QUICK, api_url=api.url, credentials=TOKEN)
    with pytest.raises(RepositoryError, match="rate limit exceeded"):
        gist.resolve(gist.parse(f"ada/{GIST}"))


def test_answers_that_are_wrong(git: GitProvider, api: Api) -> None:
    api.refs["main"] = "--upload-pack=x"
    provider = github(git, api)
    with pytest.raises(RepositoryError, match="does not say which commit"):
        provider.resolve(provider.parse("ada/lab/main"))


def test_gists_over_the_api(git: GitProvider, api: Api) -> None:
    provider = GistProvider(git=git, online=QUICK, api_url=api.url, credentials=TOKEN)
    for ref in ("", "/HEAD", "/master", "/main"):
        assert provider.resolve(provider.parse(f"ada/{GIST}{ref}")).id == "a" * 40
    assert provider.resolve(provider.parse(f"ada/{GIST}/{'b' * 40}")).date.year == 2019
    for ref in ("c" * 40, "dev"):
        with pytest.raises(RefNotFoundError):
            provider.resolve(provider.parse(f"ada/{GIST}/{ref}"))
    api.secret = True
    with pytest.raises(RefusedError, match="secret"):
        provider.resolve(provider.parse(f"ada/{GIST}"))
    provider.allow_secret = True
    assert provider.resolve(provider.parse(f"ada/{GIST}")).id == "a" * 40


class GitLabApi(Service):
    """One project, `group/sub/deep`, one branch."""

    def answer(self, asked: Asked) -> Reply:
        base = "/api/v4/projects/group/sub/deep"
        if asked.path == f"{base}/repository/commits/feature/x":
            return as_json({"id": "e" * 40, "committed_date": "2019-05-06T09:08:09.000+02:00"})
        return as_json({"id": 1}) if asked.path == base else NOTHING


def test_gitlab_over_the_api(git: GitProvider) -> None:
    with GitLabApi() as api:
        provider = GitLabProvider(git=git, online=QUICK, base_url=api.url, token="s3cret")
        for raw in ("group%2Fsub%2Fdeep/feature%2Fx", "group/sub/deep/feature/x"):
            commit = provider.resolve(provider.parse(raw))
            assert (commit.id, commit.date.isoformat()) == ("e" * 40, "2019-05-06T07:08:09+00:00")
        with pytest.raises(RefNotFoundError):
            provider.resolve(provider.parse("group%2Fsub%2Fdeep/nope"))
        with pytest.raises(RepositoryError, match="There is no project"):
            provider.resolve(provider.parse("group%2Fnone/main"))
        assert {each.headers["authorization"] for each in api.asked} == {"Bearer s3cret"}
