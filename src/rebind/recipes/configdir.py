"""Where configuration is looked for (builder spec 1.1)."""

from __future__ import annotations

from rebind.errors import RecipeError
from rebind.recipes.tree import Tree

NAMES = ("binder", ".binder")


def find_config_dir(tree: Tree) -> str:
    """`binder` or `.binder` if that directory exists, '' for the root. Raises RecipeError if both exist.

    A config directory, even an empty one, replaces the root: there is no merging. A plain file called `binder` does
    not count.
    """
    found = [name for name in NAMES if tree.is_dir(name)]
    if len(found) > 1:
        raise RecipeError(
            "The repository has both binder/ and .binder/, and only one of them can be the configuration directory.",
            remedy="Delete one of the two.",
        )
    return found[0] if found else ""


def within(config_dir: str, name: str) -> str:
    """Path of the configuration file `name`, relative to the root."""
    return f"{config_dir}/{name}" if config_dir else name
