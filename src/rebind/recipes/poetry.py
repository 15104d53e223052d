"""`poetry.lock`. Since format 2.1 packages have markers and groups; before, the graph starts at pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from rebind.errors import RecipeError
from rebind.recipes.configdir import within
from rebind.recipes.locked import Locked, local_package
from rebind.recipes.pins import (
    all_of,
    any_of,
    checkout_of,
    edges_of,
    file_of,
    is_public,
    marker_of,
    name_of,
    only_known,
    sha256_of,
    version_of,
    web_address,
)
from rebind.recipes.poetry_versions import alternatives, fitting, python_marker
from rebind.recipes.requirements import is_web_address
from rebind.recipes.toml import Table, read_toml, table, tables, text, texts
from rebind.recipes.tree import Tree
from rebind.recipes.where import Where, shown
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned, PinnedDependency, PinnedFile, PinnedPackage

FILE = "poetry.lock"
_REMEDY = "Make the lock anew with `poetry lock`."


def read_poetry_lock(tree: Tree, path: str) -> Locked:
    """The lock at `path`, with all groups that are not optional. Raises RecipeError."""
    where = Where(path)
    content = read_toml(tree.text(path) or "", where)
    metadata = table(content, "metadata", where)
    version = text(metadata, "lock-version", where) or "1.0"
    only_known(version, ("1", "2"), where)
    project = _Project.read(tree, within(path.rpartition("/")[0], "pyproject.toml"))
    flat = version not in ("1.0", "1.1", "2.0")
    entries = list(tables(content, "package", where))
    reader = _Reader(tree, where, project, flat, table(metadata, "files", where), _versions(entries, where))
    for entry in entries:
        reader.add(entry)
    pythons = alternatives(text(metadata, "python-versions", where))
    return Locked(
        pinned=Pinned(
            path,
            tuple(reader.packages),
            None if flat else tuple(reader.roots()),
            requires_python=pythons[0] if len(pythons) == 1 else "",
            environments=(python_marker(text(metadata, "python-versions", where)),) if len(pythons) > 1 else (),
        ),
        open=Requirements(
            tuple(reader.lines), (), tuple(reader.options), tuple(reader.local), tuple(reader.hashes.items())
        ),
        direct=tuple(name for name, _ in project.dependencies),
    )


def _versions(entries: list[Table], where: Where) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name = name_of(entry.get("name"), where)
        found[name] = (*found.get(name, ()), version_of(entry.get("version"), name, where))
    return found


@dataclass(frozen=True, slots=True)
class _Project:
    """What `[tool.poetry]` of the project says: its dependencies, and which groups are optional."""

    where: Where
    dependencies: tuple[tuple[str, object], ...] = ()
    optional: frozenset[str] = frozenset()

    @classmethod
    def read(cls, tree: Tree, path: str) -> _Project:
        where = Where(path)
        poetry = table(table(read_toml(tree.text(path) or "", where), "tool", where), "poetry", where)
        groups = table(poetry, "group", where)
        found = [*table(poetry, "dependencies", where).items(), *table(poetry, "dev-dependencies", where).items()]
        optional = set()
        for name in groups:
            group = table(groups, name, where)
            if group.get("optional") is True:
                optional.add(name)
            else:
                found += table(group, "dependencies", where).items()
        named = [(name_of(name, where), value) for name, value in found if name.lower() != "python"]
        return cls(where, tuple(named), frozenset(optional))


@dataclass
class _Reader:
    tree: Tree
    where: Where
    project: _Project
    flat: bool
    files: Table
    versions: Mapping[str, tuple[str, ...]]
    packages: list[PinnedPackage] = field(default_factory=list)
    local: list[LocalPackage] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    options: dict[str, None] = field(default_factory=dict)
    hashes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, entry: Table) -> None:
        name = name_of(entry.get("name"), self.where)
        version = version_of(entry.get("version"), name, self.where)
        marker = self._marker(entry)
        if marker is None:
            return
        source = table(entry, "source", self.where)
        kind, url = text(source, "type", self.where), text(source, "url", self.where)
        facts: dict[str, object] = {}
        if kind in ("directory", "file"):
            self.local.append(local_package(url, entry.get("develop", False) is True, self.tree, self.where))
        elif kind == "git":
            commit, folder = source.get("resolved_reference"), source.get("subdirectory")
            facts["checkout"] = checkout_of(url, commit, folder, self.where)
        elif kind == "legacy" and not is_public(url):
            self._elsewhere(name, version, marker, url, entry)
        elif kind in ("", "pypi", "legacy", "url"):
            facts["files"] = tuple(self._files(name, entry, url if kind == "url" else ""))
        else:
            raise self.where.error(f"{name} is taken from {shown(kind)}, which cannot be installed from.")
        graph = {} if self.flat else {"dependencies": tuple(self._edges(entry)), "extras": tuple(self._extras(entry))}
        own = not facts
        if own and self.flat:
            return
        self.packages.append(PinnedPackage(name, version, marker, own=own, **facts, **graph))  # type: ignore[arg-type]

    def _marker(self, entry: Table) -> str | None:
        """When the package counts; None for never."""
        if not self.flat:
            return python_marker(text(entry, "python-versions", self.where))
        stated = entry.get("markers", "")
        if entry.get("optional") is True and not stated:
            return None
        groups = [group for group in texts(entry, "groups", self.where) if group not in self.project.optional]
        if "groups" in entry and not groups:
            return None
        if isinstance(stated, dict):
            return any_of(marker_of(stated.get(group, ""), self.where) for group in groups)
        return marker_of(stated, self.where)

    def _files(self, name: str, entry: Table, url: str) -> Iterator[PinnedFile]:
        """Names and hashes; addresses only for a package that is given by one."""
        for row in self._rows(name, entry):
            sha256 = sha256_of(row.get("hash"), self.where)
            if not sha256:
                raise self.where.error(f"{name} has a file without a sha256 hash.", _REMEDY)
            found = file_of(row.get("file"), self.where, url=web_address(url, self.where) if url else "", sha256=sha256)
            if found:
                yield found

    def _rows(self, name: str, entry: Table) -> list[Table]:
        """The files stand with the package, before format 2.0 in a table of their own."""
        if "files" in entry:
            rows = list(tables(entry, "files", self.where))
        else:
            key = next((key for key in self.files if canonicalize_name(key) == name), "")
            rows = list(tables(self.files, key, self.where)) if key else []
        if not rows:
            raise self.where.error(f"{name} has no file.", _REMEDY)
        return rows

    def _elsewhere(self, name: str, version: str, marker: str, url: str, entry: Table) -> None:
        """Another index than the public one: the resolver finds the file, which must have one of the hashes."""
        if "$" in url or not is_web_address(url):
            raise self.where.error(f"the source {shown(url)} is not a web address.")
        self.options[f"--extra-index-url {url}"] = None
        self.lines.append(f"{name}=={version}" + (f" ; {marker}" if marker else ""))
        self.hashes[name] = tuple(file.sha256 for file in self._files(name, entry, ""))

    def roots(self) -> Iterator[PinnedDependency]:
        """The project's dependencies; without a project, what nothing else in the lock depends on."""
        if self.project.dependencies:
            for name, value in self.project.dependencies:
                yield from self._edge(name, value, self.project.where)
            return
        needed = {edge.name for package in self.packages for edge in package.dependencies}
        yield from (PinnedDependency(package.name) for package in self.packages if package.name not in needed)

    def _edges(self, entry: Table) -> Iterator[PinnedDependency]:
        for name, value in table(entry, "dependencies", self.where).items():
            yield from self._edge(name_of(name, self.where), value, self.where)

    def _edge(self, name: str, value: object, where: Where) -> Iterator[PinnedDependency]:
        """`"^1"`, `{version = "^1", markers = "..."}`, or a list of these; optional ones are left to the extras."""
        for one in value if isinstance(value, list) else [value]:
            wanted = {"version": one} if isinstance(one, str) else one
            if not isinstance(wanted, dict):
                raise where.error(f"{name} has neither a version nor a table.", _REMEDY)
            if wanted.get("optional") is True:
                continue
            known = self.versions.get(name, ())
            versions = fitting(known, text(wanted, "version", where)) if len(known) > 1 else ()
            platform = text(wanted, "platform", where)
            marker = all_of(
                marker_of(wanted.get("markers"), where),
                python_marker(text(wanted, "python", where)),
                marker_of(f"sys_platform == '{platform}'", where) if platform else "",
            )
            extras = tuple(sorted(name_of(extra, where) for extra in texts(wanted, "extras", where)))
            yield PinnedDependency(name, versions, marker, extras)

    def _extras(self, entry: Table) -> Iterator[tuple[str, tuple[PinnedDependency, ...]]]:
        extras = table(entry, "extras", self.where)
        for extra in extras:
            yield canonicalize_name(extra), tuple(self._lenient(texts(extras, extra, self.where)))

    def _lenient(self, lines: tuple[str, ...]) -> Iterator[PinnedDependency]:
        """Extras name conditions in many spellings; what counts is the name, if the lock has it."""
        for line in lines:
            try:
                edges = list(edges_of([line], self.where))
            except RecipeError:
                edges = [PinnedDependency(canonicalize_name(line.split()[0]))] if line.split() else []
            yield from (edge for edge in edges if edge.name in self.versions)
