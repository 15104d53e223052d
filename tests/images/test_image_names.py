"""Names of images."""

from __future__ import annotations

import pytest

from rebind import images
from rebind.errors import AddressError


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag"),
    [
        ("one", "docker.io", "library/one", "latest"),
        ("group/one:2", "docker.io", "group/one", "2"),
        ("localhost/one", "localhost", "one", "latest"),
        ("localhost:5000/a/b__c:x", "localhost:5000", "a/b__c", "x"),
        ("registry.example.org/a.b/c-d:1.0", "registry.example.org", "a.b/c-d", "1.0"),
        ("[::1]:5000/one", "[::1]:5000", "one", "latest"),
    ],
)
def test_a_name_is_taken_apart(text: str, registry: str, path: str, tag: str) -> None:
    name = images.parse(text)
    assert (name.registry, name.path, name.tag) == (registry, path, tag)


def test_a_digest_beats_the_tag() -> None:
    name = images.parse(f"host.example/one@sha256:{'a' * 64}")
    assert name.reference == f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UPPER",
        "a//b",
        "../etc/passwd",
        "host.example/../../v2/other",
        "host.example/a b",
        "host.example/a?mount=x",
        "host.example/a#b",
        "host.example/a%2fb",
        "host.example/a\nX-Header: y",
        "host.example:99999/a",
        "host.example:0/a",
        "user:password@host.example/a",
        "http://host.example/a",
        "host.example/a:" + "t" * 129,
        "host.example/a:tag/../../x",
        "host.example/a@sha256:abc",
        "host.example/" + "a/" * 130 + "a",
        "-rf",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        images.parse(text)


def test_names_are_made_of_addresses_as_repo2docker_does() -> None:
    made = images.default("https://github.com/binder-examples/conda", "4373085")
    assert made == "r2dhttps-3a-2f-2fgithub-2ecom-2fbinder-2dexamples-2fconda4373085"
    assert images.parse(images.default("/srv/Ü x", None)).path.startswith("library/r2d-2fsrv-2f-c3-9c-20x")
