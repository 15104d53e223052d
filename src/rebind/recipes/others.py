"""Configuration files that are found and not acted on yet: each is named in a warning.

A repository whose needs stand only in such files still gets a plan, of plain Python without packages, and a strong
warning comes first. Why no error: its notebooks can be read and much of their code may run; most repositories hold such
a file beside ones that are acted on (an `install.R` beside `requirements.txt`); and mybinder.org starts plain Python,
too, for what it does not know. Why strong: the person at the browser must not take missing packages for the author's
fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rebind.errors import RecipeError
from rebind.recipes.configdir import within
from rebind.recipes.tree import Tree


@dataclass(frozen=True, slots=True)
class Other:
    """A kind of configuration file, in the order in which mybinder.org would let it decide."""

    names: tuple[str, ...]
    what: str
    elsewhere: str
    """What mybinder.org does with it."""
    decides: bool = False
    """It says what packages the repository needs."""
    root_only: bool = False


_UNKNOWN = "mybinder.org does not act on it either"
_OTHERS = (
    Other(("Dockerfile",), "an image of its own", "mybinder.org builds it and ignores all other files", True),
    Other(("JuliaProject.toml", "Project.toml", "Manifest.toml"), "Julia", "mybinder.org installs Julia", True),
    Other(("REQUIRE",), "Julia before 1.0", "mybinder.org no longer builds it", True),
    Other(("default.nix",), "Nix", "mybinder.org builds it and ignores requirements.txt", True),
    Other(("DESCRIPTION",), "an R package", "mybinder.org installs R and the package", True, root_only=True),
    Other(("install.R",), "R packages", "mybinder.org runs it where runtime.txt asks for R with a date", True),
    Other(("pixi.toml", "pixi.lock"), "pixi", _UNKNOWN),
    Other(("conda-lock.yml",), "a lock of conda packages", _UNKNOWN),
    Other(("renv.lock",), "a lock of R packages", _UNKNOWN),
    Other(("flake.nix",), "Nix", _UNKNOWN),
    Other((".devcontainer.json", "devcontainer.json", ".devcontainer/devcontainer.json"), "a dev container", _UNKNOWN),
)
_LEGACY = "andrewosh/binder-base"
_FROM = re.compile(r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)", re.IGNORECASE | re.MULTILINE)


def check_legacy(tree: Tree) -> None:
    """Raises RecipeError if the root's Dockerfile builds on the base image of 2016 (builder spec 1.2, U-LEG)."""
    if not _exists(tree, "Dockerfile"):
        return
    first = _FROM.search(tree.text("Dockerfile") or "")
    if first and first[1].split("@")[0].split(":")[0] == _LEGACY:
        raise RecipeError(
            f"The Dockerfile builds on {_LEGACY}, the image of the first Binder, which is no longer supported.",
            remedy="Replace it by a requirements.txt or environment.yml.",
        )


def find_others(tree: Tree, config_dir: str, acted_on: tuple[str, ...]) -> tuple[str, ...]:
    """Warnings for all such files; `acted_on` names the files that do say what is needed."""
    found = [(other, path) for other in _OTHERS for path in _paths(tree, config_dir, other)]
    warnings = [_warning(other, path) for other, path in found]
    decisive = [path for other, path in found if other.decides]
    if decisive:
        warnings.insert(0, _strong(decisive, acted_on))
    return tuple(warnings)


def _paths(tree: Tree, config_dir: str, other: Other) -> list[str]:
    if other.root_only and config_dir:
        return []
    return [path for name in other.names if _exists(tree, path := within(config_dir, name))]


def _exists(tree: Tree, path: str) -> bool:
    """A plain file or a link of that name. A directory, a pipe or a device is not configuration; none is opened."""
    try:
        found = tree.find(path)
    except RecipeError:
        return True  # a link that leads out: named in the warning, never followed
    return found is not None and (tree.root / found).is_file()


def _warning(other: Other, path: str) -> str:
    return f"{path} ({other.what}) is not acted on by this version of rebind; {other.elsewhere}."


def _strong(decisive: list[str], acted_on: tuple[str, ...]) -> str:
    files = " and ".join([", ".join(decisive[:-1]), decisive[-1]] if decisive[1:] else decisive)
    start = f"This repository says what it needs in {files}, which this version of rebind cannot install"
    if acted_on:
        return f"{start}. Installed is only what stands in {' and '.join(acted_on)}; expect parts not to work."
    return f"{start}. The session has plain Python WITHOUT the repository's packages; expect its code to fail."
