"""The base image: what lies below all layers of ours. From a registry, an OCI layout, or a root file system as tar."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rebind.errors import AddressError, BuildError
from rebind.images.blobs import Blobs
from rebind.images.layout import read
from rebind.images.names import ImageName, parse
from rebind.images.tar import PIECE, LayerFile, Packed

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
_KINDS = {
    GZIP: GZIP,
    PLAIN: PLAIN,
    ZSTD: ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": PLAIN,
}
_FILES = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow")
_LARGEST = 1 << 20
_LOCALES = ("usr/lib/locale/locale-archive", "usr/lib/locale/en_US.utf8")


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A layer of the base, as it was made by others."""

    packed: Packed
    media_type: str = GZIP
    source: str = ""
    """The image it came from, if from a registry: `host/path`, to mount it from there."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base image: its layers, and what of it ours depends on."""

    layers: tuple[BaseLayer, ...]
    architecture: str
    variables: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, int, int, int], ...]
    """Path, content, mode, owner and group of the lists of users and groups."""
    locale: str

    def file(self, path: str) -> tuple[str, int, int, int] | None:
        return next(((text, mode, owner, group) for name, text, mode, owner, group in self.files if name == path), None)


Fetch = Callable[[ImageName], tuple[dict[str, Any], list[dict[str, Any]]]]
"""Gets configuration and layer descriptors of an image in a registry, the layers into the blobs."""


def load(text: str, blobs: Blobs, fetch: Fetch) -> Base:
    """The base that a setting names. Raises AddressError, BuildError, NetworkError."""
    scheme, _, place = text.partition(":")
    if scheme == "docker" and place.startswith("//"):
        name = parse(place[2:])
        config, layers = fetch(name)
        return _described(blobs, config, layers, f"{name.registry}/{name.path}")
    if scheme == "tar":
        return _root_file_system(Path(place), blobs)
    if scheme in ("oci", "oci-archive"):
        config, layers = read(scheme, Path(place), blobs)
        return _described(blobs, config, layers, "")
    raise AddressError(
        f"{text!r} is not a base image.",
        remedy="Give docker://NAME, oci:FOLDER, oci-archive:FILE, or tar:FILE with a root file system.",
    )


def _root_file_system(path: Path, blobs: Blobs) -> Base:
    try:
        facts = path.stat()
    except OSError as error:
        raise AddressError(f"The base image {path} cannot be read: {error.strerror}.") from error
    key = ["base-tar", str(path.resolve()), facts.st_size, facts.st_mtime_ns]
    packed = blobs.layer(key, lambda draft: _compress(path, draft))
    return _scanned(blobs, (BaseLayer(packed),), _architecture(), ())


def _architecture() -> str:
    import platform

    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _compress(path: Path, draft: Path) -> Packed:
    with open(path, "rb") as stream, LayerFile(draft) as layer:
        while piece := stream.read(PIECE):
            layer.write(piece)
        return layer.finish()


def _described(blobs: Blobs, config: dict[str, Any], layers: list[dict[str, Any]], source: str) -> Base:
    diff_ids = config.get("rootfs", {}).get("diff_ids", [])
    if len(diff_ids) != len(layers):
        raise BuildError("The base image names not as many layers as contents of layers.", remedy="Use another base.")
    made = []
    for diff_id, layer in zip(diff_ids, layers, strict=True):
        kind = _KINDS.get(layer["mediaType"])
        if kind is None:
            raise BuildError(f"The base image has a layer of the unknown kind {layer['mediaType']!r}.")
        made.append(BaseLayer(Packed(layer["digest"], layer["size"], diff_id), kind, source))
    given = (config.get("config") or {}).get("Env") or []
    variables = tuple((name, value) for name, _, value in (text.partition("=") for text in given))
    return _scanned(blobs, tuple(made), str(config.get("architecture", _architecture())), variables)


def _scanned(
    blobs: Blobs, layers: tuple[BaseLayer, ...], architecture: str, variables: tuple[tuple[str, str], ...]
) -> Base:
    key = ["base", [layer.packed.digest for layer in layers]]
    known = blobs.noted(key)
    if not isinstance(known, dict):
        files, locale = _scan(blobs, layers)
        known = {"files": files, "locale": locale}
        blobs.note(key, known)
    files = [tuple(each) for each in known["files"]]
    return Base(layers, architecture, variables, tuple(files), known["locale"])


def _scan(blobs: Blobs, layers: tuple[BaseLayer, ...]) -> tuple[list[tuple[str, str, int, int, int]], str]:
    """The lists of users and groups as the topmost layer has them, and the locale that can be had."""
    found: dict[str, tuple[str, str, int, int, int]] = {}
    locale = "C.UTF-8"
    for layer in layers:
        with _opened(blobs, layer) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./").lstrip("/")
                if name in _LOCALES or name.startswith(f"{_LOCALES[1]}/"):
                    locale = "en_US.UTF-8"
                if name in _FILES and member.isreg() and member.size < _LARGEST:
                    content = archive.extractfile(member)
                    text = content.read().decode("utf-8", "surrogateescape") if content else ""
                    found[name] = (name, text, member.mode, member.uid, member.gid)
    if "etc/passwd" not in found:
        raise BuildError("The base image has no /etc/passwd.", remedy="Use a base image of a whole distribution.")
    return [found[name] for name in _FILES if name in found], locale


@contextmanager
def _opened(blobs: Blobs, layer: BaseLayer) -> Iterator[IO[bytes]]:
    path = blobs.file(layer.packed.digest)
    with open(path, "rb") as raw:
        if layer.media_type == GZIP:
            with gzip.open(raw) as stream:
                yield stream  # type: ignore[misc]
        elif layer.media_type == ZSTD:
            raise BuildError("The base image has layers in zstd.", remedy="Use one with gzip layers.")
        else:
            yield raw
