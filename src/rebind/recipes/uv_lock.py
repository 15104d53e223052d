"""`uv.lock`: a graph of packages for all platforms and Pythons, started at the project itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

from packaging.utils import canonicalize_name

from rebind.recipes.configdir import within
from rebind.recipes.locked import Locked, local_package
from rebind.recipes.pins import (
    any_of,
    checkout_of,
    file_of,
    marker_of,
    name_of,
    only_known,
    reached,
    requires_of,
    sha256_of,
    version_of,
)
from rebind.recipes.toml import Table, read_toml, table, tables, text, texts
from rebind.recipes.tree import Tree
from rebind.recipes.where import Where
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned, PinnedDependency, PinnedFile, PinnedPackage

FILE = "uv.lock"
_OWN = ("virtual", "editable", "directory", "path")
_REMEDY = "Make the lock anew with `uv lock`."


def read_uv_lock(tree: Tree, path: str) -> Locked:
    """The lock at `path`, from its project's own dependencies and default groups. Raises RecipeError."""
    where = Where(path)
    content = read_toml(tree.text(path) or "", where)
    only_known(str(content.get("version", "")), ("1",), where)
    reader = _Reader(tree, where, _wanted_groups(tree, path))
    for entry in tables(content, "package", where):
        reader.add(entry)
    members = table(content, "manifest", where)
    roots = reader.roots_of(texts(members, "members", where))
    groups = table(members, "dependency-groups", where)
    roots += [edge for group in reader.chosen(groups) for edge in reader.edges(groups, group)]
    wanted = reached(reader.packages, roots)
    return Locked(
        pinned=Pinned(
            path,
            tuple(reader.packages),
            tuple(roots),
            requires_python=requires_of(content.get("requires-python"), where),
            environments=tuple(marker_of(each, where) for each in texts(content, "supported-markers", where)),
        ),
        open=Requirements(local=tuple(package for name, package in reader.local.items() if name in wanted)),
        direct=tuple(edge.name for package in reader.packages if package.own for edge in package.dependencies),
    )


def _wanted_groups(tree: Tree, path: str) -> tuple[str, ...] | None:
    """uv's default groups: `dev`, unless the project says otherwise; None for all of them."""
    project = within(path.rpartition("/")[0], "pyproject.toml")
    where = Where(project)
    content = read_toml(tree.text(project) or "", where)
    uv = table(table(content, "tool", where), "uv", where)
    if uv.get("default-groups") == "all":
        return None
    return texts(uv, "default-groups", where) if "default-groups" in uv else ("dev",)


@dataclass
class _Reader:
    tree: Tree
    where: Where
    groups: tuple[str, ...] | None
    packages: list[PinnedPackage] = field(default_factory=list)
    local: dict[str, LocalPackage] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    """Name -> where in the repository it is."""

    def add(self, entry: Table) -> None:
        name = name_of(entry.get("name"), self.where)
        source = table(entry, "source", self.where)
        kind = next((kind for kind in _OWN if kind in source), "")
        version = version_of(entry.get("version"), name, self.where) if "version" in entry else ""
        markers = texts(entry, "resolution-markers", self.where)
        package = PinnedPackage(
            name,
            version,
            marker=any_of(marker_of(each, self.where) for each in markers),
            own=bool(kind),
            dependencies=tuple(self.edges(entry, "dependencies")),
            extras=tuple(self._extras(entry)),
        )
        if kind:
            self._own(name, kind, source)
            if self.own[name] == ".":  # the groups of other members count only for themselves
                groups = table(entry, "dev-dependencies", self.where)
                dev = [edge for group in self.chosen(groups) for edge in self.edges(groups, group)]
                package = replace(package, dependencies=(*package.dependencies, *dev))
        elif "git" in source:
            package = replace(package, checkout=self._checkout(source))
        else:
            package = replace(package, files=tuple(self._files(entry, source)))
            if not package.files:
                raise self.where.error(f"{name} has no file.", _REMEDY)
        self.packages.append(package)

    def _own(self, name: str, kind: str, source: Table) -> None:
        self.own[name] = text(source, kind, self.where)
        if kind != "virtual":
            self.local[name] = local_package(source[kind], kind == "editable", self.tree, self.where)

    def roots_of(self, members: tuple[str, ...]) -> list[PinnedDependency]:
        """The project beside the lock; in a workspace whose root is no project, all members."""
        here = [name for name, path in self.own.items() if path == "."]
        names = here or [canonicalize_name(member) for member in members] or list(self.own)
        return [PinnedDependency(name) for name in names]

    def chosen(self, groups: Table) -> Iterator[str]:
        """Those of a project's dependency groups that are installed."""
        return (group for group in groups if self.groups is None or group in self.groups)

    def _extras(self, entry: Table) -> Iterator[tuple[str, tuple[PinnedDependency, ...]]]:
        optional = table(entry, "optional-dependencies", self.where)
        for extra in optional:
            yield name_of(extra, self.where), tuple(self.edges(optional, extra))

    def edges(self, entry: Table, key: str) -> Iterator[PinnedDependency]:
        for edge in tables(entry, key, self.where):
            name = name_of(edge.get("name"), self.where)
            extras = tuple(sorted(name_of(each, self.where) for each in texts(edge, "extra", self.where)))
            version = (version_of(edge["version"], name, self.where),) if "version" in edge else ()
            yield PinnedDependency(name, version, marker_of(edge.get("marker"), self.where), extras)

    def _checkout(self, source: Table) -> str:
        """`https://host/path?rev=main&subdirectory=x#<commit>`."""
        url = text(source, "git", self.where)
        address, _, commit = url.partition("#")
        address, _, query = address.partition("?")
        facts = parse_qs(query)
        return checkout_of(address, commit, "".join(facts.get("subdirectory", ())), self.where)

    def _files(self, entry: Table, source: Table) -> Iterator[PinnedFile]:
        rows = list(tables(entry, "wheels", self.where))
        rows += [table(entry, "sdist", self.where)] if "sdist" in entry else []
        for row in rows:
            url = row.get("url") or source.get("url")
            if not url:
                raise self.where.error("it takes a file from a folder of the machine that made it.", "Use an index.")
            sha256 = sha256_of(row.get("hash"), self.where)
            size, uploaded = row.get("size"), row.get("upload-time")
            found = file_of("", self.where, url=url, sha256=sha256, size=size, uploaded=uploaded)
            if found:
                yield found
