"""Names of images: `[registry[:port]/]path[:tag][@digest]` (the distribution project's reference grammar)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rebind.errors import AddressError

DOCKER_HUB = "docker.io"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class ImageName:
    """A name, taken apart."""

    registry: str
    """Host and port; `docker.io` if the name has none."""
    path: str
    tag: str = "latest"
    digest: str = ""

    @property
    def reference(self) -> str:
        """What the registry's API wants: the digest, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}" + (f"@{self.digest}" if self.digest else f":{self.tag}")


def parse(text: str) -> ImageName:
    """Takes a name apart. Raises AddressError.

    As in repo2docker (builder spec 3.1) the first label of a host must be lower case, those after it need not.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _wrong(text, "its digest is not sha256: and 64 hex digits")
    first, slash, path = rest.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, path = "", rest
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, "its tag has characters that no tag may have, or is too long")
    _check_host(text, first)
    if not path or len(path) > _LONGEST or not all(_PART.fullmatch(part) for part in path.split("/")):
        raise _wrong(text, "it may have lower case letters and digits, with '.', '_', '__' and '-' between them")
    registry = first or DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return ImageName(registry, path, tag or "latest", digest)


def _check_host(text: str, host: str) -> None:
    if not host:
        return
    label = host.partition(":")[0].partition(".")[0]
    port = host.rpartition(":")[2] if re.search(r":[0-9]+$", host) else "1"
    if not _HOST.fullmatch(host) or label != label.lower() or not 0 < int(port) < 65536:
        raise _wrong(text, f"{host!r} is not the name of a registry")


def default(address: str, commit_id: str | None, subdir: str = "") -> str:
    """The name that repo2docker gives an image (builder spec 2.3)."""
    text = address + subdir + (commit_id or "")
    escaped = "".join(c if c.isascii() and c.isalnum() else _escaped(c) for c in text)
    return f"r2d{escaped}".lower()


def _escaped(character: str) -> str:
    return "".join(f"-{byte:x}" for byte in character.encode("utf-8", "surrogateescape"))


def _wrong(text: str, why: str) -> AddressError:
    return AddressError(
        f"{text!r} is not the name of an image: {why}.",
        remedy="Write it as registry.example.org/group/name:tag.",
    )
