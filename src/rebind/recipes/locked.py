"""What the recipe of a lock file hands back, and what several of them share."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from datetime import date

from rebind.recipes.references import inside_path
from rebind.recipes.tree import Tree
from rebind.recipes.where import Where, shown
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock file as a recipe read it."""

    pinned: Pinned
    open: Requirements = field(default_factory=Requirements)
    """What the lock names and does not fix (packages of other indexes and of bare addresses), and local packages."""
    python: str = ""
    """The Python that the lock states, '' if it only sets conditions (`pinned.requires_python`)."""
    date: date | None = None
    direct: tuple[str, ...] = ()
    """Names of the packages that the author asked for, where the lock tells."""
    warnings: tuple[str, ...] = ()


def local_package(path: object, editable: object, tree: Tree, where: Where) -> LocalPackage:
    """A package of the repository; paths count from the lock's own directory. Raises RecipeError if it is outside."""
    if not isinstance(path, str) or not isinstance(editable, bool):
        raise where.error(f"{shown(str(path))} is not a path.")
    inside = inside_path(path, tree, where, base=posixpath.dirname(where.file))
    return LocalPackage(inside, editable)
