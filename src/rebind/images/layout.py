"""Images as files: an OCI layout (a folder) or an archive of one (image-spec 1.1, image-layout.md)."""

from __future__ import annotations

import json
import os
import platform
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from rebind.errors import AddressError, BuildError
from rebind.images.blobs import Blobs
from rebind.images.tar import FILE, FOLDER, PIECE, Entry, Packed, header

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_MARK = b'{"imageLayoutVersion":"1.0.0"}'
_LARGEST_TEXT = 16 << 20


def split(text: str) -> tuple[str, Path]:
    """`oci-archive:FILE` or `oci:DIR`, taken apart. Raises AddressError."""
    scheme, colon, place = text.partition(":")
    if scheme not in ("oci", "oci-archive") or not colon or not place:
        raise AddressError(f"{text!r} says not where to write.", remedy="Give oci-archive:FILE or oci:FOLDER.")
    return scheme, Path(place)


def write(scheme: str, place: Path, blobs: Blobs, manifest: Packed, parts: list[Packed], name: str) -> None:
    """Writes an image; whole or not at all for an archive. Raises BuildError, OSError."""
    index = _index(manifest, name)
    unique = sorted({part.digest: part for part in [*parts, manifest]}.values(), key=lambda part: part.digest)
    if scheme == "oci":
        _write_folder(place, blobs, unique, index)
        return
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with open(draft, "wb") as out:
            _write_archive(out, blobs, unique, index)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _index(manifest: Packed, name: str) -> bytes:
    described = {"mediaType": MANIFEST, "digest": manifest.digest, "size": manifest.size}
    if name:
        described["annotations"] = {"org.opencontainers.image.ref.name": name}
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}).encode()


def _write_folder(place: Path, blobs: Blobs, parts: list[Packed], index: bytes) -> None:
    (place / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    for part in parts:
        target = place / "blobs" / "sha256" / part.digest[7:]
        if target.is_file() and target.stat().st_size == part.size:
            continue
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        with open(draft, "wb") as out:
            for piece in blobs.open_checked(part):
                out.write(piece)
        draft.replace(target)
    (place / "oci-layout").write_bytes(_MARK)
    draft = place / f".index.{os.getpid()}"
    draft.write_bytes(index)
    draft.replace(place / "index.json")  # last: what it names is there


def _write_archive(out: IO[bytes], blobs: Blobs, parts: list[Packed], index: bytes) -> None:
    for folder in ("blobs", "blobs/sha256"):
        out.write(header(Entry(folder, FOLDER, 0o755)))
    for part in parts:
        out.write(header(Entry(f"blobs/sha256/{part.digest[7:]}", FILE, size=part.size)))
        for piece in blobs.open_checked(part):
            out.write(piece)
        out.write(bytes(-part.size % 512))
    for name, content in (("index.json", index), ("oci-layout", _MARK)):
        out.write(header(Entry(name, FILE, size=len(content))) + content + bytes(-len(content) % 512))
    out.write(bytes(1024))


# Reading, for a base image


def read(scheme: str, place: Path, blobs: Blobs) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Configuration and layers of the one image in a layout; its layers go into the blobs. Raises AddressError."""
    path, _, reference = str(place).partition(":")
    try:
        if scheme == "oci":
            return _read(_folder_reader(Path(path)), blobs, reference)
        with tarfile.open(path) as archive:
            return _read(_archive_reader(archive), blobs, reference)
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise AddressError(f"{place} is not an image in the OCI layout: {error}.") from error


Reader = Callable[[str], IO[bytes]]


def _folder_reader(place: Path) -> Reader:
    def read(name: str) -> IO[bytes]:
        return open(place / name, "rb")

    return read


def _archive_reader(archive: tarfile.TarFile) -> Reader:
    members = {member.name.removeprefix("./"): member for member in archive.getmembers() if member.isreg()}

    def read(name: str) -> IO[bytes]:
        found = archive.extractfile(members[name])
        assert found
        return found

    return read


def _read(reader: Reader, blobs: Blobs, reference: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    manifest = _text(reader, "index.json")
    if reference:
        named = [m for m in manifest["manifests"] if (m.get("annotations") or {}).get(_REF) == reference]
        manifest = {"manifests": named}
    while "manifests" in manifest:
        manifest = _text(reader, _blob(choose(manifest["manifests"])["digest"]))
    for layer in manifest["layers"]:
        if not blobs.has(layer["digest"], layer["size"]):
            with reader(_blob(layer["digest"])) as stream:
                blobs.receive(layer["digest"], layer["size"], _pieces(stream))
    return _text(reader, _blob(manifest["config"]["digest"])), manifest["layers"]


_REF = "org.opencontainers.image.ref.name"


def _blob(digest: str) -> str:
    algorithm, _, rest = digest.partition(":")
    if algorithm != "sha256" or len(rest) != 64 or not rest.isalnum():
        raise ValueError(f"{digest!r} is not a digest")
    return f"blobs/sha256/{rest}"


def _text(reader: Reader, name: str) -> dict[str, Any]:
    with reader(name) as stream:
        data = stream.read(_LARGEST_TEXT + 1)
    if len(data) > _LARGEST_TEXT:
        raise BuildError(f"{name} of the base image is too large.")
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")
    return found


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def choose(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest for this machine's kind out of an index. Raises BuildError."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for each in manifests:
        wanted = each.get("platform")
        if not wanted or (wanted.get("architecture") == architecture and wanted.get("os") == "linux"):
            return each
    raise BuildError(f"The base image is not made for {architecture}.", remedy="Choose another base image.")
