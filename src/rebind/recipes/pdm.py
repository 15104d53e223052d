"""`pdm.lock`, as pdm has written it since 2.11 (each package with its marker and groups)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rebind.recipes.configdir import within
from rebind.recipes.locked import Locked, local_package
from rebind.recipes.pins import (
    any_of,
    checkout_of,
    file_of,
    marker_of,
    name_of,
    only_known,
    requires_of,
    sha256_of,
    version_of,
)
from rebind.recipes.toml import Table, read_toml, table, tables, text, texts
from rebind.recipes.tree import Tree
from rebind.recipes.where import Where
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned, PinnedFile, PinnedPackage

FILE = "pdm.lock"


def read_pdm_lock(tree: Tree, path: str) -> Locked:
    """The lock at `path`, with the default group and those for development. Raises RecipeError."""
    where = Where(path)
    content = read_toml(tree.text(path) or "", where)
    metadata = table(content, "metadata", where)
    only_known(text(metadata, "lock_version", where), ("4",), where)
    if "inherit_metadata" not in texts(metadata, "strategy", where):
        remedy = "Make it anew with `pdm lock --strategy inherit_metadata`."
        raise where.error("it does not say on which platforms its packages count.", remedy)
    wanted = {"default", *_development(tree, within(path.rpartition("/")[0], "pyproject.toml"))}
    packages: dict[tuple[str, str], PinnedPackage] = {}
    local: list[LocalPackage] = []
    for entry in tables(content, "package", where):
        if wanted.isdisjoint(texts(entry, "groups", where)):
            continue
        if "path" in entry:
            local.append(local_package(entry["path"], entry.get("editable", False), tree, where))
            continue
        package = _package(entry, where)
        known = packages.get((package.name, package.version))
        if known:  # a package with extras has an entry of its own
            package = replace(known, marker=any_of([known.marker, package.marker]))
        packages[package.name, package.version] = package
    targets = [requires_of(row.get("requires_python"), where) for row in tables(metadata, "targets", where)]
    requires = targets[0] if len(targets) == 1 else ""
    return Locked(
        Pinned(path, tuple(packages.values()), requires_python=requires),
        Requirements(local=tuple(dict.fromkeys(local))),
    )


def _development(tree: Tree, path: str) -> set[str]:
    where = Where(path)
    project = read_toml(tree.text(path) or "", where)
    pdm = table(table(project, "tool", where), "pdm", where)
    return {*table(project, "dependency-groups", where), *table(pdm, "dev-dependencies", where)}


def _package(entry: Table, where: Where) -> PinnedPackage:
    name = name_of(entry.get("name"), where)
    version = version_of(entry.get("version"), name, where)
    marker = marker_of(entry.get("marker"), where)
    if "git" in entry:
        checkout = checkout_of(text(entry, "git", where), entry.get("revision"), entry.get("subdirectory"), where)
        return PinnedPackage(name, version, marker, checkout=checkout)
    files = tuple(_files(entry, where))
    if not files:
        raise where.error(f"{name} has no file.", "Make the lock anew with `pdm lock`.")
    return PinnedPackage(name, version, marker, files=files)


def _files(entry: Table, where: Where) -> Iterator[PinnedFile]:
    for row in tables(entry, "files", where):
        url = row.get("url") or entry.get("url")
        found = file_of(row.get("file"), where, url=url, sha256=sha256_of(row.get("hash"), where))
        if found:
            yield found
