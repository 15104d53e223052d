"""`.python-version`, which pyenv and uv read. mybinder.org does not, so what is not understood is only a warning."""

from __future__ import annotations

import re

from rebind.errors import RecipeError
from rebind.recipes.configdir import within
from rebind.recipes.tree import Tree
from rebind.recipes.versions import allowed, check_version
from rebind.recipes.where import Where, shown

FILE = ".python-version"
_FORM = re.compile(r"(?:cpython[-@]|python[-@]?)?(?P<version>[0-9]+(?:\.[0-9]+){0,2})")


def read_python_version(tree: Tree, config_dir: str, requires: str) -> tuple[str, str, tuple[str, ...]]:
    """The version and the file that states it ('' if none does), and warnings. The first line counts."""
    path = within(config_dir, FILE)
    if not (tree.root / path).is_file():  # a folder of that name is nobody's configuration
        return "", "", ()
    lines = [line.partition("#")[0].strip() for line in (tree.text(path) or "").splitlines()]
    stated = next((line for line in lines if line), "")
    match = _FORM.fullmatch(stated)
    if match is None:
        return "", "", (f"{path} names {shown(stated)}, which is no version of CPython: it has no effect.",)
    try:
        version = check_version(match["version"], Where(path))
    except RecipeError as error:
        return "", "", (str(error),)
    if not allowed(version, requires):
        return "", "", (f"{path} asks for Python {version}, but {shown(requires)} is required: it has no effect.",)
    return version, path, ()
