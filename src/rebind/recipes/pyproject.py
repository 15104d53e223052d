"""`pyproject.toml` and `setup.py` in the root (builder spec 1.6). Nothing of a package is run to learn about it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from rebind.recipes.tree import Tree
from rebind.recipes.versions import check_requires
from rebind.recipes.where import Where, shown

FILE = "pyproject.toml"
# The parser's time grows with the square of a key's dots: 40 KB of them took 4.5 s.
_LONGEST_LINE = 4096
_LARGEST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Project:
    """What the root's package files say."""

    package: bool = False
    """The root is a package and is installed, with its dependencies."""
    dependencies: tuple[str, ...] = ()
    """The dependencies of a `[project]` that is not a package."""
    requires_python: str = ""
    warnings: tuple[str, ...] = ()


def read_project(tree: Tree) -> Project:
    """Facts of the root's `setup.py` and `pyproject.toml`. Raises RecipeError if the latter is broken.

    `[project]` without `[build-system]` is no package, but its dependencies are needed (O-14).
    """
    setup = tree.is_file("setup.py")
    text = tree.text(FILE)
    if text is None:
        return Project(package=setup)
    found = parse_pyproject(text)
    if setup:
        return Project(True, (), found.requires_python)
    return found


def parse_pyproject(text: str) -> Project:
    """Facts of a `pyproject.toml` (PEP 518, 621). Raises RecipeError."""
    where = Where(FILE)
    if len(text) > _LARGEST or any(len(line) > _LONGEST_LINE for line in text.split("\n")):
        raise where.error(f"it is larger than {_LARGEST // 1024} KiB or has a line of over {_LONGEST_LINE} characters.")
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number with thousands of digits
        raise where.error(f"it is not valid TOML: {str(error)[:200]}.") from error
    project = content.get("project")
    if project is None:
        return Project(warnings=_without_project(content))
    if not isinstance(project, dict):
        raise where.error("`project` is not a table.")
    requires = project.get("requires-python", "")
    if not isinstance(requires, str):
        raise where.error("requires-python is not a string.")
    requires = check_requires(requires, where)
    if "build-system" in content:
        return Project(True, (), requires)
    return Project(False, _dependencies(project, where), requires, _dynamic(project))


def _dependencies(project: Mapping[str, object], where: Where) -> tuple[str, ...]:
    found = project.get("dependencies", [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise where.error(f"dependencies is not a list of strings but {shown(str(found))}.")
    return tuple(found)


def _dynamic(project: Mapping[str, object]) -> tuple[str, ...]:
    dynamic = project.get("dynamic")
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        return (f"{FILE} leaves its dependencies to a build system and names none: they are not installed.",)
    return ()


def _without_project(content: Mapping[str, object]) -> tuple[str, ...]:
    tool = content.get("tool")
    if isinstance(tool, dict) and "poetry" in tool and "build-system" in content:
        return (f"{FILE} has [tool.poetry] but no [project] table: it is not installed, as on mybinder.org.",)
    return ()
