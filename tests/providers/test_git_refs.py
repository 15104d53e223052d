"""Which of a repository's names a ref means."""

from __future__ import annotations

import pytest

from rebind.errors import AddressError, RefNotFoundError
from rebind.providers.refs import Advertised, by_prefix, check_ref, choose, hex_part, not_found, read_advertised

A, B, C = "a" * 40, "b" * 40, "c" * 40


def test_read_advertised() -> None:
    text = f"ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/main\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n"
    assert read_advertised(text) == Advertised(
        {"HEAD": A, "refs/heads/main": A, "refs/tags/v1": C}, "main", {"refs/tags/v1": B}
    )


@pytest.mark.parametrize(
    ("ref", "names", "expected"),
    [
        ("main", ["refs/heads/main", "refs/tags/main"], "refs/heads/main"),
        ("v1", ["refs/heads/main", "refs/tags/v1"], "refs/tags/v1"),
        ("origin/main", ["refs/heads/main"], "refs/heads/main"),
        ("origin/main", ["refs/heads/main", "refs/heads/origin/main"], "refs/heads/origin/main"),
        ("feature/main", ["refs/heads/main"], None),
        ("main", ["refs/heads/feature/main"], None),
        ("main", ["refs/remotes/origin/main"], None),
        ("refs/pull/1/head", ["refs/pull/1/head"], "refs/pull/1/head"),
        ("heads/main", ["refs/heads/main"], "refs/heads/main"),
        ("feature/x/dir/", ["refs/heads/feature/x", "refs/heads/dir"], "refs/heads/feature/x"),
        ("main/a/b/", ["refs/heads/main", "refs/heads/b"], "refs/heads/main"),
        ("main/a", ["refs/heads/main"], None),
    ],
)
def test_choice(ref: str, names: list[str], expected: str | None) -> None:
    ids = {name: f"{number:040x}" for number, name in enumerate(names)}
    choice = choose(ref, Advertised(ids))
    assert (choice and choice.id) == (ids[expected] if expected else None)


def test_short_ids() -> None:
    names = Advertised({"refs/heads/x": "abcdef" + "0" * 34, "refs/heads/y": "abcde0" + "0" * 34})
    assert by_prefix("abcdef", names) == "abcdef" + "0" * 34
    assert by_prefix("0000", names) is None
    with pytest.raises(RefNotFoundError, match="several"):
        by_prefix("abcde", names)
    assert hex_part("origin/B8259dac9eb") == "b8259dac9eb"
    assert hex_part("abc") == hex_part("main") == ""


@pytest.mark.parametrize(
    "ref",
    [
        "-x",
        "--upload-pack=touch /tmp/x",
        "a b",
        "a\nb",
        "a\0b",
        "a..b",
        "main~1",
        "main^{/secret}",
        "main@{yesterday}",
        "@",
        ":/fix",
        "HEAD:path",
        "a*",
        "a?",
        "[a]",
        "a\\b",
        "/a",
        "../a",
        "a//b",
        "a/.b",
        "a.lock",
        "\x1b[31m",
        "x" * 2000,
    ],
)
def test_what_cannot_be_a_ref_is_refused(ref: str) -> None:
    with pytest.raises(AddressError):
        check_ref(ref)


def test_no_ref() -> None:
    assert check_ref("") is None
    assert check_ref(None) is None


def test_hint_for_the_default_branch() -> None:
    error = not_found("master", "https://example.org/a", Advertised({}, "trunk"))
    assert "'trunk'" in error.remedy
    assert "HEAD" in error.remedy
