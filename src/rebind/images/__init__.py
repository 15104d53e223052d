"""Environment <-> OCI image, without a daemon and without a Dockerfile.

The same commit gives the same bytes on every host: layers are sorted, times fixed, owners numbers. A layer is keyed by
what is in it and kept, so it is read and compressed once; what a registry has is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rebind.images.blobs import Blobs
from rebind.images.names import ImageName, default, parse
from rebind.values import Event, Phase, Report

if TYPE_CHECKING:
    from rebind.images.registry import Pushed, Registry
    from rebind.images.writer import Contents, Image

__all__ = ["ImageName", "Images", "default", "parse"]


class Images:
    """Writes images. `path`: where blobs are kept; `base`: what lies below (`docker://NAME`, `oci:DIR`,
    `oci-archive:FILE`, `tar:FILE`); `plain`: registries that may be spoken to over http."""

    def __init__(self, path: Path, base: str, *, plain: frozenset[str] = frozenset()) -> None:
        self.blobs = Blobs(path)
        self._base, self._plain = base, plain

    def write(self, contents: Contents, report: Report) -> Image:
        """The image of an environment and layers. Raises BuildError, DiskError, AddressError, NetworkError."""
        from rebind.images import base, writer

        self.blobs.start()
        below = base.load(self._base, self.blobs, lambda name: self.registry(name).pull(name, self.blobs))
        return writer.write(contents, below, self.blobs, _saying(report, Phase.BUILDING))

    def push(self, image: Image, name: ImageName, report: Report) -> Pushed:
        """Sends an image to its registry. Raises NetworkError, RefusedError, RepositoryError."""
        layers = [layer for layer in image.base.layers if layer.source.startswith(f"{name.registry}/")]
        where = ["where", name.registry]
        known: dict[str, str] = self.blobs.noted(where) or {}
        known |= {layer.packed.digest: layer.source.partition("/")[2] for layer in layers}
        say = _saying(report, Phase.PUSHING)
        pushed = self.registry(name).push(name, image.manifest, image.parts, self.blobs, mounts=known, say=say)
        # What another repository of the registry has need not be sent there again. Two at once may forget some of it.
        if added := {part.digest: name.path for part in image.parts if part.digest not in known}:
            self.blobs.note(where, known | added)
        return pushed

    def save(self, image: Image, output: str, name: str = "") -> None:
        """Writes an image to `oci-archive:FILE` or `oci:DIR`. Raises AddressError, BuildError, OSError."""
        from rebind.images import layout

        scheme, place = layout.split(output)
        layout.write(scheme, place, self.blobs, image.manifest, image.parts, name)

    def registry(self, name: ImageName) -> Registry:
        """The registry of a name, with what we know of credentials for it. Raises SettingsError."""
        from rebind.images import credentials
        from rebind.images.registry import Registry

        return Registry(name.registry, credentials.find(name.registry), plain=self._plain)


def _saying(report: Report, phase: Phase) -> Callable[[str], None]:
    return lambda line: report(Event(phase, f"{line}\n"))
