"""`pylock.toml`, `pylock.NAME.toml` (PEP 751). Those that rebind wrote hold the whole environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime

from rebind.errors import RecipeError
from rebind.recipes.configdir import within
from rebind.recipes.locked import Locked, local_package
from rebind.recipes.pins import (
    checkout_of,
    file_of,
    marker_of,
    name_of,
    only_known,
    requires_of,
    version_of,
)
from rebind.recipes.toml import Table, read_toml, table, tables, text, texts
from rebind.recipes.tree import Tree
from rebind.recipes.where import Where, shown
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned, PinnedFile, PinnedPackage

FILE = "pylock.toml"
_NAMED = re.compile(r"pylock\.[^.]+\.toml")
_EXACT = re.compile(r"3(?:\.[0-9]{1,2}){1,2}|2\.7(?:\.[0-9]{1,2})?")


def find_pylock(tree: Tree, config_dir: str) -> str | None:
    """The lock to use, or None: `pylock.toml`, else the only `pylock.NAME.toml`. Raises RecipeError if several."""
    path = within(config_dir, FILE)
    if tree.is_file(path):
        return path
    folder = tree.root / config_dir
    found = sorted(each.name for each in folder.iterdir() if _NAMED.fullmatch(each.name)) if folder.is_dir() else []
    if len(found) > 1:
        raise RecipeError(
            f"There are several lock files and none called {FILE}: {', '.join(map(shown, found[:5]))}.",
            remedy=f"Name the one to use {FILE}.",
        )
    path = within(config_dir, found[0]) if found else ""
    return path if path and tree.is_file(path) else None


def read_pylock(tree: Tree, path: str) -> Locked:
    """The lock at `path`. Raises RecipeError if it is damaged or of another format."""
    where = Where(path)
    content = read_toml(tree.text(path) or "", where)
    only_known(text(content, "lock-version", where), ("1",), where)
    ours = table(table(content, "tool", where), "rebind", where)
    reader = _Reader(tree, where)
    for entry in tables(content, "packages", where):
        reader.add(entry)
    return Locked(
        pinned=Pinned(
            path,
            tuple(reader.packages),
            requires_python=requires_of(content.get("requires-python"), where),
            environments=tuple(marker_of(each, where) for each in texts(content, "environments", where)),
            groups=texts(content, "default-groups", where),
            joined=_joined(ours),
        ),
        open=Requirements(local=tuple(reader.local)),
        python=_python(ours),
        date=_date(ours),
    )


def _joined(ours: Table) -> bool | None:
    return ours.get("joined") is True if ours else None


def _python(ours: Table) -> str:
    python = ours.get("python")
    return python if isinstance(python, str) and _EXACT.fullmatch(python) else ""


def _date(ours: Table) -> date | None:
    """Source packages are built, and a postBuild runs, with the packages of the day of the lock."""
    stated = ours.get("date")
    return stated.date() if isinstance(stated, datetime) else None


@dataclass
class _Reader:
    tree: Tree
    where: Where
    packages: list[PinnedPackage] = field(default_factory=list)
    local: list[LocalPackage] = field(default_factory=list)

    def add(self, entry: Table) -> None:
        name = name_of(entry.get("name"), self.where)
        if "directory" in entry or "path" in table(entry, "archive", self.where):
            self._own(entry)
            return
        version = version_of(entry["version"], name, self.where) if "version" in entry else ""
        marker = marker_of(entry.get("marker"), self.where)
        requires = requires_of(entry.get("requires-python"), self.where)
        checkout = self._checkout(entry) if "vcs" in entry else ""
        files = () if checkout else tuple(self._files(entry))
        if not (checkout or files):
            raise self.where.error(f"{name} has no file.", "Make the lock anew with the tool that wrote it.")
        self.packages.append(PinnedPackage(name, version or _version(files), marker, requires, files, (), checkout))

    def _own(self, entry: Table) -> None:
        """A package of the repository: whatever its marker, as with a path in requirements.txt."""
        source = table(entry, "directory", self.where) or table(entry, "archive", self.where)
        found = local_package(source.get("path"), source.get("editable", False), self.tree, self.where)
        self.local.append(found)

    def _checkout(self, entry: Table) -> str:
        vcs = table(entry, "vcs", self.where)
        url = text(vcs, "url", self.where)
        if vcs.get("type") != "git" or not url:
            raise self.where.error(f"{shown(str(vcs.get('type')))} checkouts cannot be installed from.", "Use Git.")
        return checkout_of(url, vcs.get("commit-id"), vcs.get("subdirectory"), self.where)

    def _files(self, entry: Table) -> Iterator[PinnedFile]:
        singles = [table(entry, kind, self.where) for kind in ("sdist", "archive") if kind in entry]
        for row in (*tables(entry, "wheels", self.where), *singles):
            hashes = table(row, "hashes", self.where)
            digest = hashes.get("sha256")
            if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise self.where.error(f"{shown(str(row.get('name') or row.get('url')))} has no sha256 hash.")
            if not row.get("url"):
                raise self.where.error("it takes a file from a folder of the machine that made it.", "Use an index.")
            size, uploaded = row.get("size"), row.get("upload-time")
            found = file_of(row.get("name"), self.where, url=row["url"], sha256=digest, size=size, uploaded=uploaded)
            if found:
                yield found


def _version(files: tuple[PinnedFile, ...]) -> str:
    """PEP 751 lets the version of an archive out; a wheel's name holds it, a source package's does by custom."""
    name = files[0].filename
    if name.endswith(".whl"):
        return name.split("-")[1] if name.count("-") >= 4 else ""
    stem = re.sub(r"\.(?:tar\.(?:gz|bz2|xz)|tgz|zip)$", "", name)
    return stem.rpartition("-")[2] if "-" in stem else ""
