"""When a repository concerns itself with the notebook server, so that both share one environment (design 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from pathlib import Path

from packaging.utils import canonicalize_name

from rebind.locks.needs import Needs, read_requirement
from rebind.locks.pages import Pages
from rebind.locks.pylock import is_newer
from rebind.locks.repair import repair_metadata
from rebind.values import Package

RULES = 1  # raised when these rules would decide otherwise
SERVER = (
    "jupyterlab>=4",
    "notebook>=7",
    "jupyter-server>=2",
    "jupyterhub",
    "jupyter-server-proxy",
    "nbgitpuller",
    "jupyter-resource-usage",
)
"""What the server's environment is made of, ours and a joined one (spec 1.5)."""
WITHOUT_NOTEBOOK = tuple(line for line in SERVER if not line.startswith("notebook"))
"""For a repository whose pins leave no room for the notebook of the same day."""
TODAY = {"jupyterlab": "4", "notebook": "7", "jupyter-server": "2"}
"""The oldest versions of today's server API."""
_HOSTS = {*TODAY, "jupyterlab-server", "jupyter-server-proxy", "nbclassic"}
_HARMLESS = {
    "ipympl",
    "ipywidgets",
    "jupyter",
    "jupyter-console",
    "jupyterlab-widgets",
    "qtconsole",
    "widgetsnbextension",
}
"""They need a notebook package but bring no extension of the server that ours lacks."""


def concern(needs: Needs, packages: Iterable[Package], shipped: frozenset[str], pages: Pages) -> str:
    """Why the repository wants one environment, or ''. `shipped`: names of the packages of our own server."""
    locked = {package.name: package for package in packages}
    for requirement in needs.requirements():
        name = canonicalize_name(requirement.name)
        least = TODAY.get(name)
        pins = any(specifier.operator in ("==", "===", "~=") for specifier in requirement.specifier)
        if least and pins and name in locked and is_newer(locked[name].version, least):
            return f"{requirement} is pinned"
    for package in locked.values():
        if package.name not in shipped | _HARMLESS | _HOSTS and _HOSTS & set(_dependencies(pages, package)):
            return f"{package.name} extends the notebook server"
    return ""


def suspects(packages: Iterable[Package], shipped: frozenset[str], pages: Pages) -> list[tuple[str, str]]:
    """Wheels (project, file name) that may extend the server and whose metadata nobody has asked for yet.

    A whole lock names the server's own packages beside an extension of it; without them there is none.
    """
    found = list(packages)
    if _HOSTS.isdisjoint(package.name for package in found):
        return []
    known = shipped | _HARMLESS | _HOSTS
    unseen = (each for each in found if each.name not in known and each.is_wheel)
    return [(each.name, each.filename) for each in unseen if not metadata_path(pages, each.sha256).exists()]


def _dependencies(pages: Pages, package: Package) -> Iterator[str]:
    """Names that a locked wheel needs, extras aside, as far as the dated index has seen its metadata."""
    try:
        raw = metadata_path(pages, package.sha256).read_bytes()
    except OSError:
        return
    header = HeaderParser().parsestr(repair_metadata(raw).decode())
    for line in header.get_all("Requires-Dist") or []:
        requirement = read_requirement(line)
        if requirement is not None and (requirement.marker is None or "extra" not in str(requirement.marker)):
            yield canonicalize_name(requirement.name)


def metadata_path(pages: Pages, sha256: str) -> Path:
    """Where the dated index keeps the metadata of a file."""
    return pages.folder / "metadata" / sha256[:2] / sha256
