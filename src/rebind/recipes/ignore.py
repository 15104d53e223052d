"""The ignore files (builder spec 1.1, rule 6). Their lines are only collected here; `builds.ignore` applies them."""

from __future__ import annotations

from rebind.recipes.configdir import within
from rebind.recipes.tree import Tree

NAMES = (".dockerignore", ".containerignore")


def read_ignore(tree: Tree, config_dir: str) -> tuple[str, ...]:
    """The lines of both files of the config directory, in this order; comments and blank lines are left out."""
    lines: list[str] = []
    for name in NAMES:
        text = tree.text(within(config_dir, name)) or ""
        lines += [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple(lines)
