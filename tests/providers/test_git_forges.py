"""Pages of forges and other pasted forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from rebind.errors import AddressError
from rebind.providers.forges import page_path
from rebind.providers.git import GitProvider
from rebind.values import Spec

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def detect(tmp_path: Path) -> GitProvider:
    return GitProvider(cache=tmp_path / "never-made")


@pytest.mark.parametrize(
    ("address", "repository", "ref"),
    [
        ("https://github.com/a/b", "https://github.com/a/b", None),
        ("https://github.com/a/b/", "https://github.com/a/b", None),
        ("  https://github.com/a/b.git ", "https://github.com/a/b.git", None),
        ("github.com/a/b", "https://github.com/a/b", None),
        ("www.github.com/a/b", "https://www.github.com/a/b", None),
        ("example.org/a/b.git", "https://example.org/a/b.git", None),
        ("https://github.com/a/b?tab=readme#top", "https://github.com/a/b", None),
        ("https://github.com/a/b/tree/main", "https://github.com/a/b", "main"),
        ("https://github.com/a/b/tree/feature/x", "https://github.com/a/b", "feature/x/"),
        ("https://github.com/a/b/tree/feature%2Fx", "https://github.com/a/b", "feature/x/"),
        ("https://github.com/a/b/blob/main/dir/x.ipynb", "https://github.com/a/b", "main/dir/x.ipynb/"),
        (f"https://github.com/a/b/blob/{SHA}/x.ipynb", "https://github.com/a/b", SHA),
        (f"https://github.com/a/b/commit/{SHA}", "https://github.com/a/b", SHA),
        ("https://github.com/a/b/releases/tag/v1.0", "https://github.com/a/b", "v1.0"),
        ("https://github.com/a/b/pull/12/files", "https://github.com/a/b", "refs/pull/12/head"),
        ("https://github.com/a/b/issues/3", "https://github.com/a/b", None),
        ("https://gist.github.com/a/0123abcd", "https://gist.github.com/a/0123abcd", None),
        (f"https://gist.github.com/a/0123abcd/{SHA}", "https://gist.github.com/a/0123abcd", SHA),
        ("https://gitlab.com/g/h/p/-/tree/main", "https://gitlab.com/g/h/p", "main"),
        ("https://git.example.org/g/h/p/-/blob/main/x.ipynb", "https://git.example.org/g/h/p", "main/x.ipynb/"),
        ("https://gitlab.com/g/p/-/merge_requests/4", "https://gitlab.com/g/p", "refs/merge-requests/4/head"),
        ("https://bitbucket.org/a/b/src/main/x.py", "https://bitbucket.org/a/b", "main/x.py/"),
        ("https://bitbucket.org/a/b/branch/feature/x", "https://bitbucket.org/a/b", "feature/x"),
        ("https://codeberg.org/a/b/src/branch/main/x", "https://codeberg.org/a/b", "main/x/"),
        ("https://git.example.org/a/b/src/tag/v1", "https://git.example.org/a/b", "v1"),
        ("https://git.example.org/deep/er/name", "https://git.example.org/deep/er/name", None),
        ("git@github.com:a/b.git", "git@github.com:a/b.git", None),
        ("ssh://git@example.org:2222/a/b", "ssh://git@example.org:2222/a/b", None),
        ("git://example.org/a", "git://example.org/a", None),
        ("file:///srv/a", "file:///srv/a", None),
    ],
)
def test_what_people_paste(detect: GitProvider, address: str, repository: str, ref: str | None) -> None:
    assert detect.detect(address) == Spec("git", repository, ref)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "notes",
        "a/b",
        "./a/b",
        "10.5281/zenodo.3242074",
        "doi:10.5281/zenodo.3242074",
        "swh:1:rev:94dca98c9f9b0c2e1d0a5b8a6c2e7d1c1f0a9b8c",
        "example.org/page",
        "ext::sh -c x",
        "--upload-pack=x",
        "mailto:ada@example.org",
        "ada@example.org",
        "s3://bucket/name",
        "what is this?",
    ],
)
def test_other_text_is_not_ours(detect: GitProvider, address: str) -> None:
    assert detect.detect(address) is None


def test_a_password_in_the_address_is_refused(detect: GitProvider) -> None:
    with pytest.raises(AddressError, match="password"):
        detect.detect("https://ada:hunter2@example.org/a")


def test_detect_touches_nothing(detect: GitProvider) -> None:
    detect.detect("https://github.com/a/b/tree/main")
    assert not detect.cache.exists()


def test_the_path_of_a_page_is_known_with_its_ref() -> None:
    page = "https://github.com/a/b/blob/feature/x/dir/n.ipynb"
    assert page_path(page, "feature/x") == "dir/n.ipynb"
    assert page_path(page, "feature") == "x/dir/n.ipynb"
    assert page_path("https://github.com/a/b", "main") == ""
    assert page_path("https://ada:pw@github.com/a/b", "main") == ""
