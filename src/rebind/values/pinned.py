"""What a lock file in a repository fixes, as its recipe read it: the part of a plan that the locks take exactly.

Two shapes: a flat list, where a package counts if its marker holds (pylock.toml, Pipfile.lock), and a graph, where it
counts if something that counts depends on it (uv.lock). Every text in here was checked by the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One of the files among which an interpreter's is chosen."""

    filename: str
    url: str = ""
    """'' if the lock gives none: the package index has the file."""
    sha256: str = ""
    size: int | None = None
    uploaded: datetime | None = None


@dataclass(frozen=True, slots=True)
class PinnedDependency:
    """An edge of the graph."""

    name: str
    versions: tuple[str, ...] = ()
    """Those among the lock's versions that will do; () for any."""
    marker: str = ""
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PinnedPackage:
    """One version of one package."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    marker: str = ""
    requires_python: str = ""
    files: tuple[PinnedFile, ...] = ()
    """() if the lock names none: any file of the version will do whose hash is among `hashes`."""
    hashes: tuple[str, ...] = ()
    """sha256, where the lock states hashes without files; () there means any."""
    checkout: str = ""
    """`git+https://...@<commit>`, with `#subdirectory=` if need be."""
    own: bool = False
    """A package of the repository itself: it has dependencies, and no file."""
    dependencies: tuple[PinnedDependency, ...] = ()
    extras: tuple[tuple[str, tuple[PinnedDependency, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Pinned:
    """All that one lock file fixes."""

    source: str
    """The file's path in the repository, for messages."""
    packages: tuple[PinnedPackage, ...]
    roots: tuple[PinnedDependency, ...] | None = None
    """Where the graph starts; None for a flat list."""
    requires_python: str = ""
    environments: tuple[str, ...] = ()
    """Markers, one of which must hold; () for no such condition."""
    groups: tuple[str, ...] = ()
    """Dependency groups that markers may ask for (PEP 751)."""
    joined: bool | None = None
    """In a lock that rebind wrote: whether the notebook server is in it."""
