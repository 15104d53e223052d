"""Names, pages and their place on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebind.locks.pages import File, Pages, make_page, parse_json, project_name, true_url, version_of


@given(st.text(max_size=200))
def test_a_name_is_always_safe_in_a_path(text: str) -> None:
    name = project_name(text)
    assert name is None or (set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and 0 < len(name) <= 120)


@pytest.mark.parametrize("text", ["..", ".", "", "a/b", "a\\b", "a\r\nb", "a\n", "-a", "é", "a" * 121, "a b", "a%2f"])
def test_attacks_on_names_are_no_names(text: str) -> None:
    assert project_name(text) is None


def test_names_are_normalised() -> None:
    assert project_name("Foo.Bar__baz") == "foo-bar-baz"


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("a_b-1.0-py3-none-any.whl", "1.0"),
        ("a-b-1.0.post1.tar.gz", "1.0.post1"),
        ("A_B-2.zip", "2"),
        ("x-1.tar.gz", ""),
    ],
)
def test_versions_of_files(filename: str, version: str) -> None:
    assert version_of("a-b", filename) == version


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:x", "ftp://h/x", "http://[bad/x"])
def test_addresses_that_are_not_passed_on(url: str) -> None:
    assert true_url("https://index/simple/x/", url) is None


def test_addresses_are_made_whole_and_lose_credentials() -> None:
    assert true_url("https://i:8/simple/x/", "../../f/x.whl#sha256=1") == "https://i:8/f/x.whl"
    assert true_url("https://i/", "https://user:secret@h:1/x.whl") == "https://h:1/x.whl"


def _page(tmp_path: Path) -> tuple[Pages, bytes]:
    row = {"url": "x.whl", "hashes": {"sha256": "0" * 64}, "upload-time": "2018-01-01T00:00:00.5Z", "yanked": "a\tb\n"}
    data = json.dumps({"files": [row | {"filename": f"x-{n}-py3-none-any.whl", "size": n} for n in range(3)]}).encode()
    return Pages(tmp_path), data


def test_a_page_comes_back_as_it_was_written(tmp_path: Path) -> None:
    pages, data = _page(tmp_path)
    page = make_page("x", 1.5, "tag", parse_json("x", "https://i/simple/x/", data))
    pages.write(page)
    assert pages.read("x") == page


@pytest.mark.parametrize("cut", [0, 10, 200, -1, -20])
def test_a_damaged_page_is_no_page(tmp_path: Path, cut: int) -> None:
    pages, data = _page(tmp_path)
    pages.write(make_page("x", 1.5, "tag", parse_json("x", "https://i/simple/x/", data)))
    whole = pages.path("x").read_bytes()
    pages.path("x").write_bytes(whole[:cut] if cut >= 0 else whole.removesuffix(b"\n")[: cut - 40])
    assert pages.read("x") is None


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"files": {}}', b"\xff"])
def test_a_page_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json("x", "https://i/", data)


def test_one_file_of_a_page_is_what_the_whole_page_says(tmp_path: Path) -> None:
    names = ["a-1.0.tar.gz", "a-1.0-py3-none-any.whl", "a-11.0.tar.gz"]
    files = [
        File(name, f"https://x.org/{name}", "0" * 64, 5, float(n), ">=3", "", "1.0") for n, name in enumerate(names)
    ]
    pages = Pages(tmp_path)
    pages.write(make_page("a", 1.0, "", files))
    page = pages.read("a")
    assert page is not None
    for name in names:
        assert pages.file("a", name) == page.find(name) is not None
    for name in ("1.0", "a-1.0.tar", "0" * 64, "", "\t", "a-1.0.tar.gz\thttps"):
        assert pages.file("a", name) is None
    assert pages.file("b", names[0]) is None
