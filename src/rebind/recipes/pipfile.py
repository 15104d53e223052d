"""`Pipfile` and `Pipfile.lock` (builder spec 1.10): the one gives requirements, the other pins; pipenv takes no part.

Development packages are installed too, the lock wins over a Pipfile that was changed after it, and paths count from the
directory of the files. Further categories and scripts are left out, as `pipenv install --dev` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from rebind.recipes.locked import Locked, local_package
from rebind.recipes.pins import all_of, checkout_of, is_public, marker_of, name_of, sha256_of, version_of
from rebind.recipes.requirements import is_web_address, parse_dependencies
from rebind.recipes.toml import Table, read_json, read_toml, table, tables, text, texts
from rebind.recipes.tree import Tree
from rebind.recipes.versions import check_version
from rebind.recipes.where import Where, shown
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned, PinnedPackage

FILE, LOCK = "Pipfile", "Pipfile.lock"
_MARKERS = (
    *("os_name", "sys_platform", "platform_machine", "platform_python_implementation", "platform_release"),
    *("platform_system", "platform_version", "python_version", "python_full_version"),
    *("implementation_name", "implementation_version"),
)
_OTHER_CHECKOUTS = ("hg", "svn", "bzr")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_EXACT = re.compile(r"={2,3} ?(?P<version>[^=,<>!~ *]+)")


@dataclass(frozen=True, slots=True)
class Pipfile:
    """A Pipfile as requirements."""

    requirements: Requirements
    python: str = ""
    warnings: tuple[str, ...] = ()


def read_pipfile(tree: Tree, path: str) -> Pipfile:
    """The Pipfile at `path`. Raises RecipeError."""
    where = Where(path)
    content = read_toml(tree.text(path) or "", where)
    lines: list[str] = []
    local: list[LocalPackage] = []
    for name, value in {**table(content, "dev-packages", where), **table(content, "packages", where)}.items():
        entry = {"version": value} if isinstance(value, str) else value
        if not isinstance(entry, dict):
            raise where.error(f"{shown(name)} has neither a version nor a table.")
        own = _own(name, entry, tree, where)
        if own:
            local.append(own)
        else:
            lines.append(_line(name, entry, where))
    found, warnings = parse_dependencies(lines, tree, path)
    options = _sources(list(tables(content, "source", where)), where)
    options += ["--pre"] if table(content, "pipenv", where).get("allow_prereleases") is True else []
    requirements = Requirements(found.lines, (), tuple(options), (*found.local, *local))
    return Pipfile(requirements, _python(table(content, "requires", where), where), warnings)


def read_pipfile_lock(tree: Tree, path: str) -> Locked:
    """The Pipfile.lock at `path`. Raises RecipeError if it is damaged or of another format."""
    where = Where(path)
    content = read_json(tree.text(path) or "", where)
    meta = table(content, "_meta", where)
    if meta.get("pipfile-spec") not in (None, 6):
        raise where.error(f"pipfile-spec {shown(str(meta['pipfile-spec']))} is not known.", "Run `pipenv lock`.")
    sources = list(tables(meta, "sources", where))
    reader = _Lock(tree, where, {str(row.get("name")): text(row, "url", where) for row in sources})
    for category in ("default", "develop"):
        for name, entry in table(content, category, where).items():
            if not isinstance(entry, dict):
                raise where.error(f"{shown(name)} is not a table.", "Run `pipenv lock`.")
            reader.add(name, entry)
    lines, warnings = parse_dependencies(reader.lines, tree, path)
    options = tuple(_sources(sources, where)) if reader.lines else ()
    return Locked(
        pinned=Pinned(path, tuple(reader.packages.values())),
        open=Requirements(lines.lines, (), options, (*lines.local, *reader.local), tuple(reader.hashes.items())),
        python=_python(table(meta, "requires", where), where),
        warnings=warnings,
    )


def _python(requires: Table, where: Where) -> str:
    """The full version before the short one; `*` and nothing ask for none."""
    for key in ("python_full_version", "python_version"):
        version = text(requires, key, where).strip()
        if version and version != "*":
            return check_version(version, where)
    return ""


def _sources(sources: list[Table], where: Where) -> list[str]:
    """Options for indexes other than the public one."""
    options: list[str] = []
    for source in sources:
        url = text(source, "url", where)
        if "$" in url or not is_web_address(url):
            raise where.error(f"the source {shown(url)} is not a web address.", "Write it out, without variables.")
        if is_public(url):
            options += ["--extra-index-url https://pypi.org/simple"] if options else []
            continue
        options.append(f"{'--extra-index-url' if source is not sources[0] else '--index-url'} {url}")
        if source.get("verify_ssl") is False:
            options.append(f"--trusted-host {urlsplit(url).hostname}")
    return options


def _own(name: str, entry: Table, tree: Tree, where: Where) -> LocalPackage | None:
    """A package of the repository: `path = ".."`, or `file` with a path."""
    path = entry.get("path")
    file = entry.get("file")
    if path is None and isinstance(file, str) and "://" not in file:
        path = file
    if path is None:
        return None
    found = local_package(path, entry.get("editable", False), tree, where)
    extras = tuple(name_of(extra, where) for extra in texts(entry, "extras", where))
    return LocalPackage(found.path, found.editable, extras)


def _line(name: str, entry: Table, where: Where) -> str:
    """A requirement (PEP 508)."""
    wanted = name_of(name, where)
    extras = ",".join(name_of(extra, where) for extra in texts(entry, "extras", where))
    start = f"{wanted}[{extras}]" if extras else wanted
    marker = _marker(entry, where)
    end = f" ; {marker}" if marker else ""
    address = _address(entry, where)
    if address:
        return f"{start} @ {address}{end}"
    version = text(entry, "version", where).strip()
    if version in ("", "*"):
        return start + end
    return f"{start}{version if version[0] in '=<>!~' else f'=={version}'}{end}"


def _address(entry: Table, where: Where) -> str:
    for kind in _OTHER_CHECKOUTS:
        if kind in entry:
            raise where.error(f"{kind} addresses cannot be installed from.", "Use https or Git.")
    if "git" in entry:
        url, ref = text(entry, "git", where), text(entry, "ref", where)
        folder = text(entry, "subdirectory", where)
        full = url if url.startswith("git+") else f"git+{url}"
        return full + (f"@{ref}" if ref else "") + (f"#subdirectory={folder}" if folder else "")
    return text(entry, "file", where) or text(entry, "url", where)


def _marker(entry: Table, where: Where) -> str:
    """`markers`, and the short form, a key for each variable: `sys_platform = "== 'win32'"`."""
    found = [marker_of(entry.get("markers"), where)]
    for variable in _MARKERS:
        if variable in entry:
            found.append(marker_of(f"{variable} {text(entry, variable, where)}", where))
    return all_of(*found)


@dataclass
class _Lock:
    """Collects the entries of a lock."""

    tree: Tree
    where: Where
    sources: Mapping[str, str]
    packages: dict[str, PinnedPackage] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    hashes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    local: list[LocalPackage] = field(default_factory=list)

    def add(self, key: str, entry: Table) -> None:
        """The first category counts for a package that two of them name."""
        own = _own(key, entry, self.tree, self.where)
        if own:
            self.local.append(own)
            return
        name = name_of(key, self.where)
        if name in self.packages or name in self.hashes:
            return
        stated = texts(entry, "hashes", self.where)
        hashes = tuple(digest for each in stated if (digest := sha256_of(each, self.where)))
        if stated and not hashes:
            raise self.where.error(f"{name} has no sha256 hash.", "Run `pipenv lock`.")
        marker = _marker(entry, self.where)
        if "git" in entry:
            url, ref, folder = text(entry, "git", self.where), entry.get("ref"), entry.get("subdirectory")
            checkout = checkout_of(url, ref, folder, self.where)
            self.packages[name] = PinnedPackage(name, "", marker, checkout=checkout)
        elif _address(entry, self.where) or not is_public(self.sources.get(text(entry, "index", self.where), "")):
            self._elsewhere(name, entry, hashes)
        else:
            self.packages[name] = PinnedPackage(name, self._version(name, entry), marker, hashes=hashes)

    def _elsewhere(self, name: str, entry: Table, hashes: tuple[str, ...]) -> None:
        """What the dated index does not have: the resolver finds the file, which must have one of the hashes."""
        if not _address(entry, self.where):
            self._version(name, entry)
        self.lines.append(_line(name, entry, self.where))
        if hashes:
            self.hashes[canonicalize_name(name)] = hashes

    def _version(self, name: str, entry: Table) -> str:
        found = _EXACT.fullmatch(text(entry, "version", self.where).strip())
        if not found:
            what = f"{name} is not fixed to one version but is {shown(str(entry.get('version')))}."
            raise self.where.error(what, "Run `pipenv lock`.")
        return version_of(found["version"], name, self.where)
