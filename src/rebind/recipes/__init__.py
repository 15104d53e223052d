"""Recipes: files -> plan. Reads text and returns facts; nothing of a repository is run, fetched or followed out of it.

One file a kind of configuration file; the rules are those of repo2docker (mybinder.org), its known defects mended.
"""

from __future__ import annotations

from pathlib import Path

from rebind.recipes.conda import conda_plan
from rebind.recipes.python import python_plan
from rebind.values import Plan

__all__ = ["plan"]


def plan(root: Path) -> Plan:
    """What the repository at `root` (a checkout, or the directory in it that takes the root's part) needs.

    Raises RecipeError if a configuration file is wrong, and for anything that would lead out of `root`.
    """
    return conda_plan(root) or python_plan(root)
