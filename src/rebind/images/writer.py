"""Puts the layers of an image together: base | system | interpreters | server | packages | frame | repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rebind.errors import BuildError
from rebind.images import checkout, interpreter, manifests, packages, system
from rebind.images.base import Base
from rebind.images.blobs import Blobs
from rebind.images.tar import Entry, Packed, write_layer
from rebind.images.trees import Place, above, entries
from rebind.values import SERVER_DIR, Environment, Interpreter, Layer

THREADS = 2
MOST_LAYERS = 127  # of overlayfs and of Docker


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into an image."""

    environment: Environment
    layers: tuple[Layer, ...]
    """Bottom first."""
    server: Path | None
    """The server's environment, assembled for /opt/rebind/server; None if the environment holds the server."""
    server_python: Interpreter | None
    facts: manifests.Facts


@dataclass(frozen=True, slots=True)
class Image:
    """An image, all of it in the blobs."""

    manifest: Packed
    config: Packed
    base: Base
    layers: tuple[Packed, ...]
    """Ours, bottom first."""

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def parts(self) -> list[Packed]:
        """All blobs but the manifest."""
        return [*(layer.packed for layer in self.base.layers), *self.layers, self.config]


@dataclass(frozen=True, slots=True)
class _Part:
    title: str
    key: list[object]
    entries: Callable[[], Iterable[Entry]]


def write(contents: Contents, base: Base, blobs: Blobs, say: Callable[[str], None]) -> Image:
    """Writes what is not in the blobs yet. Raises BuildError, DiskError, OSError."""
    parts = list(_parts(contents, base, blobs))
    if len(base.layers) + len(parts) > MOST_LAYERS:
        raise BuildError("The image would have more than 127 layers.", remedy="Use a base image with fewer layers.")

    def pack(part: _Part) -> Packed:
        def fresh(draft: Path) -> Packed:
            say(f"Writing the layer of {part.title[:100]}")
            return write_layer(part.entries(), draft)

        return blobs.layer(part.key, fresh)

    with ThreadPoolExecutor(THREADS) as threads:
        layers = tuple(threads.map(pack, parts))
    titled = list(zip(layers, [part.title for part in parts], strict=True))
    config = blobs.small(manifests.configuration(base, titled, contents.facts))
    manifest = blobs.small(manifests.manifest(base, layers, config))
    return Image(manifest, config, base, layers)


def _parts(contents: Contents, base: Base, blobs: Blobs) -> Iterator[_Part]:
    with_server = contents.server is not None
    yield _system(base, with_server=with_server)
    yield from _interpreters(contents)
    if contents.server is not None:
        yield _server(contents.server)
    yield from _environment(contents.environment, blobs)
    for number, layer in enumerate(contents.layers):
        title = "what the repository's own steps wrote" if number else "the repository"
        yield _Part(title, ["layer", layer.digest], lambda layer=layer: checkout.layer_entries(layer))  # type: ignore[misc]


def _system(base: Base, *, with_server: bool) -> _Part:
    made = list(system.system_entries(base, with_server=with_server))
    facts = [[e.name, e.mode, e.owner, e.group, e.content.decode("utf-8", "surrogateescape")] for e in made]
    return _Part("user and entry point", ["system", facts], lambda: made)


def _interpreters(contents: Contents) -> Iterator[_Part]:
    found = {
        str(interpreter.key(python)): python
        for python in (contents.environment.python, contents.server_python)
        if python
    }
    for python in sorted(found.values(), key=lambda python: python.version):
        made = lambda python=python: interpreter.interpreter_entries(python)  # noqa: E731
        yield _Part(f"Python {python.version}", interpreter.key(python), made)


def _server(prefix: Path) -> _Part:
    place = Place(SERVER_DIR[1:])

    def made() -> Iterator[Entry]:
        yield from above(place.path, 0)
        yield from entries(prefix, place)

    return _Part("the notebook server", ["server", prefix.parent.name], made)


def _environment(environment: Environment, blobs: Blobs) -> Iterator[_Part]:
    """Layers of packages and the frame. Which they are is noted: finding it out reads all wheels' lists of files."""
    note = ["groups", environment.digest]
    known = blobs.noted(note)
    found = cache(lambda: packages.wheels(environment))
    if not isinstance(known, list):
        known = [[group.title, group.key] for group in packages.groups(found())]
        blobs.note(note, known)
    for number, (title, key) in enumerate(known):

        def made(number: int = number) -> Iterator[Entry]:
            return packages.group_entries(packages.groups(found())[number])

        yield _Part(title, key, made)
    frame: list[object] = ["frame", environment.digest]
    yield _Part("the environment's scripts", frame, lambda: packages.frame_entries(environment, found()))
