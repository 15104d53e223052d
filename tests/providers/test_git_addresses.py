"""Addresses: one identity for all spellings, and nothing that is an option, a program or a secret."""

from __future__ import annotations

import pytest

from rebind.errors import AddressError
from rebind.providers.addresses import parse_url, relative_url


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/Ada/Notes",
        "https://GitHub.com/ada/notes.git",
        "https://github.com:443/ada/notes/",
        "http://github.com:80//ada/notes.git/",
        "https://someone@github.com/ada/notes",
        "git@github.com:ada/notes.git",
        "git@github.com:/ada/notes",
        "ssh://git@github.com/ada/notes",
        "ssh://git@github.com:22/ada/notes.git",
        "ssh://git@ssh.github.com:443/ada/notes.git",
        "git+ssh://git@github.com/ada/notes",
        "git://github.com:9418/ada/notes",
        "https://www.github.com/ada/n%6Ftes",
        "HTTPS://github.com./ada/./notes",
    ],
)
def test_all_spellings_have_one_identity(address: str) -> None:
    assert parse_url(address).identity == "git/github.com/ada/notes"


def test_identity_keeps_what_differs() -> None:
    names = [
        "https://example.org/Ada/notes",
        "https://example.org/ada/notes",
        "https://example.org:8080/ada/notes",
        "https://example.org/ada/notes?x=1",
        "https://example.net/ada/notes",
        "file:///ada/notes",
    ]
    assert len({parse_url(name).identity for name in names}) == len(names)


def test_local_paths_share_the_identity_of_file_urls() -> None:
    assert parse_url("/home/ada/a b").identity == parse_url("file:///home/ada/a%20b").identity == "local/home/ada/a b"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("https://Example.org:443/a/b", "https://example.org/a/b"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("ssh://git@example.org:2222/a/b", "ssh://git@example.org:2222/a/b"),
        ("https://[::1]:8080/a", "https://[::1]:8080/a"),
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c"),
        ("/srv/a b", "file:///srv/a%20b"),
    ],
)
def test_git_is_given_a_plain_form(address: str, text: str) -> None:
    assert parse_url(address).text == text


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-oProxyCommand=touch /tmp/x",
        "--upload-pack=touch /tmp/x",
        "ext::sh -c 'touch /tmp/x'",
        "fd::17/foo",
        "ext::ssh://example.org/a",
        "ext://sh",
        "transport::https://example.org/a",
        "https::https://example.org/a",
        "ssh://-oProxyCommand=x/a",
        "ssh://git@-oProxyCommand=x/a",
        "-x@example.org:a",
        "ssh://-l@example.org/a",
        "git@example.org:-x",
        "git@example.org:--upload-pack=x",
        "ssh://example.org/-x",
        "git@-oProxyCommand=x:a",
        "git@exa mple.org:a",
        "https://example.org/a\nb",
        "https://example.org/a\0b",
        "https://example.org/a%0ab",
        "https://example.org/a%00b",
        "https://example.org/\x1b[2Ja",
        "https://example.org/../a",
        "https://example.org/a/%2e%2e/b",
        "https://example.org/%ff",
        "https://example.org/",
        "https://example.org",
        "https://:80/a",
        "https://exa$(x)mple.org/a",
        "https://example.org:99999/a",
        "https://example.org:x/a",
        "https://ada:secret@example.org/a",
        "https://:secret@example.org/a",
        "file://other/a",
        "ftp://example.org/a",
        "rsync://example.org/a",
        "javascript://example.org/a",
        "C:\\work",
        "notes",
        "https://example.org/" + "a" * 5000,
    ],
)
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_url(address)
    assert "secret" not in caught.value.text()


@pytest.mark.parametrize(
    ("base", "text", "result"),
    [
        ("https://example.org/a/b.git", "../c.git", "https://example.org/a/c.git"),
        ("https://example.org/a/b", "./c", "https://example.org/a/b/c"),
        ("https://example.org/a/b/", "../../c/d", "https://example.org/c/d"),
        ("git@example.org:a/b.git", "../c.git", "git@example.org:a/c.git"),
        ("file:///srv/a/b", "../c", "file:///srv/a/c"),
        ("https://example.org/a", "https://example.net/b", "https://example.net/b"),
    ],
)
def test_relative_submodule_addresses(base: str, text: str, result: str) -> None:
    assert relative_url(parse_url(base), text).text == result


@pytest.mark.parametrize(
    "text", ["../../../x", "../../..", "./../../../../etc", ".././../../x", "..", "-x", "../-x/.."]
)
def test_relative_addresses_do_not_leave_their_server(text: str) -> None:
    with pytest.raises(AddressError):
        relative_url(parse_url("https://example.org/a/b"), text)
