"""Where a link leads, and that it never leads out of the session."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebind.errors import RefusedError
from rebind.web.destination import destination

SERVER = "https://h/user/u/"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "?token=T"),
        ({"urlpath": ""}, "?token=T"),
        ({"urlpath": "rstudio"}, "rstudio?token=T"),
        ({"urlpath": "/lab/tree/a b.ipynb"}, "lab/tree/a%20b.ipynb?token=T"),
        ({"urlpath": "proxy/8080/"}, "proxy/8080/?token=T"),
        ({"labpath": "dir/x y.ipynb/"}, "doc/tree/dir/x%20y.ipynb?token=T"),
        ({"filepath": "n.ipynb"}, "tree/n.ipynb?token=T"),
        ({"labpath": "/n.ipynb"}, "doc/tree/n.ipynb?token=T"),
        ({"labpath": "ü/100%.ipynb"}, "doc/tree/%C3%BC/100%25.ipynb?token=T"),
        ({"labpath": "what?#1.ipynb"}, "doc/tree/what%3F%231.ipynb?token=T"),
        ({"labpath": "l", "filepath": "f", "urlpath": "u"}, "doc/tree/l?token=T"),
        ({"filepath": "f", "urlpath": "u"}, "tree/f?token=T"),
        ({"urlpath": "git-pull?repo=R&urlpath=lab/tree/r"}, "git-pull?repo=R&urlpath=lab%2Ftree%2Fr&token=T"),
        ({"urlpath": "lab/tree/%2Fx"}, "lab/tree/%2Fx?token=T"),
        ({"urlpath": "voila/render/a.ipynb#part"}, "voila/render/a.ipynb?token=T#part"),
        ({"urlpath": "lab?reset"}, "lab?reset=&token=T"),
    ],
)
def test_below_the_session(query: dict[str, str], expected: str) -> None:
    assert destination(query).url(SERVER, "T") == SERVER + expected


@pytest.mark.parametrize(
    "urlpath",
    [
        "https://other.example/", "HTTPS://other.example/", "//other.example/", "\\\\other.example/",
        "/\\other.example", "///other.example", "/https://other.example/", "javascript:alert(1)", "data:text/html,x", " https://other.example",
        "../other/", "a/../../other/", "lab/..", "..", ".", "%2e%2e/other/", "a/%2E%2e/x", ".%2e/x", "%252e%252e/x",
        "..\\other\\", "..%5cother", "..%2fother",
    ],
)  # fmt: skip
def test_refused(urlpath: str) -> None:
    with pytest.raises(RefusedError, match="not a path inside the session"):
        destination({"urlpath": urlpath})


@pytest.mark.parametrize("name", ["labpath", "filepath"])
@pytest.mark.parametrize("path", ["../x", "a/../b", "%2e%2e/x", ".."])
def test_files_do_not_climb_either(name: str, path: str) -> None:
    with pytest.raises(RefusedError):
        destination({name: path})


@given(
    st.sampled_from(["urlpath", "labpath", "filepath"]),
    st.text(max_size=40) | st.text("/\\.%2eEfF:?#@\t\r\n ab", max_size=30),
)
def test_the_token_stays_in_the_session(name: str, path: str) -> None:
    try:
        url = destination({name: path}).url(SERVER, "a/b+c")
    except RefusedError:
        return
    parts = urlsplit(url)
    assert url.startswith(SERVER)
    assert url.isascii()
    assert not set(url) & set('\t\r\n <>"\\')
    assert (parts.scheme, parts.netloc) == ("https", "h")
    assert not {".", ".."} & set(parts.path.split("/"))
    assert parse_qs(parts.query)["token"][-1] == "a/b+c"
