"""`postBuild` and `start` (builder spec 1.14, 1.15)."""

from __future__ import annotations

from rebind.recipes.configdir import within
from rebind.recipes.tree import Tree


def find_script(tree: Tree, config_dir: str, name: str) -> tuple[str | None, tuple[str, ...]]:
    """Path of a script relative to the root, None if it is not there; and warnings. Nothing of it is run."""
    path = within(config_dir, name)
    if not tree.is_file(path):
        return None, ()
    first = tree.head(path).split(b"\n")[0]
    if first.startswith(b"#!") and first.endswith(b"\r"):
        return path, (f"{path} has Windows line ends, so its #! line names a program that does not exist.",)
    return path, ()
