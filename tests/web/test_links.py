"""Links and badges from what people paste."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_hub import GH, GIT, ZENODO

from rebind.errors import AddressError
from rebind.web.links import Pasted, make_link, parse_link, read_spec

ALL = [GH, GIT, ZENODO]
URL = "https%3A%2F%2Fexample.org%2Fa%2Fb.git"


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        (Pasted("https://github.com/a/b"), ("gh", "a/b/HEAD", {})),
        (Pasted("https://github.com/a/b.git", ref="v1"), ("gh", "a/b/v1", {})),
        (Pasted("https://github.com/a/b", ref="feature/x y"), ("gh", "a/b/feature/x%20y", {})),
        (Pasted("https://example.org/a/b.git"), ("git", f"{URL}/HEAD", {})),
        (
            Pasted("  https://example.org/a/b.git ", ref=" r ", path=" n.ipynb "),
            ("git", f"{URL}/r", {"labpath": "n.ipynb"}),
        ),
        (Pasted("git@example.org:a/b.git"), ("git", "git%40example.org%3Aa%2Fb.git/HEAD", {})),
        (Pasted("https://github.com/a/b/blob/main/x/n%20b.ipynb"), ("gh", "a/b/main", {"labpath": "x/n b.ipynb"})),
        (Pasted("https://github.com/a/b/tree/dev/x"), ("gh", "a/b/dev", {})),
        (Pasted("https://gitlab.com/g/s/p/-/tree/dev"), ("git", "https%3A%2F%2Fgitlab.com%2Fg%2Fs%2Fp/dev", {})),
        (Pasted("10.5281/zenodo.3242074", provider="zenodo"), ("zenodo", "10.5281/zenodo.3242074/", {})),
        (Pasted("https://github.com/a/b", path="lab", kind="url"), ("gh", "a/b/HEAD", {"urlpath": "lab"})),
        (Pasted("https://github.com/a/b", path="n", kind="file"), ("gh", "a/b/HEAD", {"filepath": "n"})),
    ],
)
def test_parse(pasted: Pasted, expected: tuple[str, str, dict[str, str]]) -> None:
    assert parse_link(pasted, ALL) == expected


def test_a_short_name_is_github_for_a_hub_with_git_alone() -> None:
    assert parse_link(Pasted("a/b"), [GIT]) == ("git", "https%3A%2F%2Fgithub.com%2Fa%2Fb/HEAD", {})


@pytest.mark.parametrize("address", ["", "   ", "what is this", "javascript:alert(1)", "<script>", "-oProxyCommand=x"])
def test_no_address(address: str) -> None:
    with pytest.raises(AddressError):
        parse_link(Pasted(address), ALL)


def test_unknown_provider() -> None:
    with pytest.raises(AddressError, match="No provider found for prefix"):
        parse_link(Pasted("x", provider="xx"), ALL)


def test_make() -> None:
    link = make_link("https://hub/", "gh", "a/b/HEAD", {"labpath": "x y(1).ipynb"})
    url = "https://hub/v2/gh/a/b/HEAD?labpath=x%20y%281%29.ipynb"
    assert link.url == url
    assert link.markdown == f"[![Launch with rebind](https://hub/badge_logo.svg)]({url})"
    assert f'href="{url}"' in link.html
    assert f":target: {url}" in link.rst


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_nothing_breaks_out_of_a_badge(address: str, ref: str, path: str) -> None:
    try:
        link = make_link("https://hub/", *parse_link(Pasted(f"https://x/{address}", ref, path), ALL))
    except AddressError:
        return
    assert link.url.isascii()
    assert not set(link.url) & set(" \r\n\t<>\"'")
    assert link.html.count("<") == 3
    assert "\n" not in link.markdown
    assert link.rst.count("\n") == 2


@pytest.mark.parametrize(
    ("spec", "display", "expected"),
    [
        ("https%3A%2F%2Fx%2Fa.git/feature/x", GIT, ("https://x/a.git", "feature/x")),
        ("a/b/feature%2Fx", GH, ("a/b", "feature/x")),
        ("a/b", GH, ("a/b", "")),
        ("10.5281/zenodo.1", ZENODO, ("10.5281/zenodo.1", "")),
        ("what/ever", None, ("what/ever", "")),
        ("", GIT, ("", "")),
    ],
)
def test_read_spec(spec: str, display: dict | None, expected: tuple[str, str]) -> None:
    assert read_spec(spec, display) == expected
