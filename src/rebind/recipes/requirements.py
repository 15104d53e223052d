"""`requirements.txt`: every line with its nested files inlined (pip's requirements file format, builder spec 1.6)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from rebind.recipes.lines import DROPPED, FLAGS, HASHES, Option, logical_lines, split_line
from rebind.recipes.references import Reference, inside_path, refer
from rebind.recipes.tree import LIMIT, Tree
from rebind.recipes.where import Where, shown
from rebind.values import LocalPackage, Requirements

_DEPTH = 20
_MOST_LINES = 20_000
_MOST_WARNINGS = 20
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|:all:|:none:")
_NAMED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?=\s*(?:[\[<>=!~;@ ]|$))")
_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_HASH = re.compile(r"sha256:[0-9a-f]{64}|(?:sha384|sha512):[0-9a-f]{96,128}|md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")


def read_requirements(tree: Tree, path: str) -> tuple[Requirements, tuple[str, ...]]:
    """The requirements of the file at `path`, and warnings; empty if there is no such file.

    `-r` and `-c` count from the including file and stay inside the repository; paths of packages count from the root,
    because pip runs there. `--hash` values go along: a package's file must have one of them. Raises RecipeError.
    """
    reader = _Reader(tree)
    if tree.is_file(path):
        reader.inline(tree.find(path) or path, constraint=False)
    return reader.requirements(), reader.warnings()


def parse_dependencies(texts: Iterable[str], tree: Tree, file: str) -> tuple[Requirements, tuple[str, ...]]:
    """Like `read_requirements`, for a list of PEP 508 requirements that stands in `file`."""
    reader = _Reader(tree)
    for text in texts:
        reader.add(text, Where(file), constraint=False)
    return reader.requirements(), reader.warnings()


@dataclass
class _Reader:
    """Collects what the lines of a file and of its nested files say."""

    tree: Tree
    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    options: dict[str, None] = field(default_factory=dict)
    local: dict[str, LocalPackage] = field(default_factory=dict)
    hashes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _warnings: dict[str, None] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _done: set[tuple[str, bool]] = field(default_factory=set)
    _count: int = 0
    _size: int = 0

    def requirements(self) -> Requirements:
        return Requirements(
            tuple(self.lines),
            tuple(self.constraints),
            tuple(self.options),
            tuple(self.local.values()),
            tuple(self.hashes.items()),
        )

    def warnings(self) -> tuple[str, ...]:
        found = tuple(self._warnings)
        more = len(found) - _MOST_WARNINGS
        return (*found[:_MOST_WARNINGS], f"There are {more} more warnings like these.") if more > 0 else found

    def inline(self, path: str, constraint: bool) -> None:
        """Read one file; a file that two others include is read once, or the work would double with each level."""
        if (path, constraint) in self._done:
            return
        self._done.add((path, constraint))
        self._open.append(path)
        text = self.tree.text(path) or ""
        self._size += len(text)
        if self._size > LIMIT:
            raise Where(path).error(f"requirements and their nested files are larger than {LIMIT // 1024**2} MiB.")
        for number, line in logical_lines(text):
            where = Where(path, number)
            self._count += 1
            if self._count > _MOST_LINES:
                raise where.error(f"there are more than {_MOST_LINES} requirements.")
            self._line(line, where, constraint)
        self._open.pop()

    def _line(self, line: str, where: Where, constraint: bool) -> None:
        text, options = split_line(line, where)
        if text:
            self.add(text, where, constraint)
        stated = [option.value for option in options if option.name == "--hash"]
        if stated:
            self._hashes(text, stated, where)
        for option in options:
            if option.name in HASHES:
                continue
            if option.name in DROPPED:
                self._warn(f"{where}: the option {option.name} has no effect.")
            elif text:
                raise where.error(f"the option {option.name} cannot stand behind a requirement.")
            else:
                self._option(option, where, constraint)

    def add(self, text: str, where: Where, constraint: bool) -> None:
        found = refer(text, self.tree, where)
        self._keep(found, where, constraint)

    def _keep(self, found: Reference, where: Where, constraint: bool) -> None:
        if constraint and not found.named:
            raise where.error("a constraint must be a package's name with a version.", "Move it to the requirements.")
        self._warn(found.warning)
        if found.local:
            self._keep_local(found.local)
        elif found.line:
            (self.constraints if constraint else self.lines).append(found.line)

    def _keep_local(self, package: LocalPackage) -> None:
        """One package named twice is installed once, with the extras of both."""
        before = self.local.get(package.path, package)
        extras = tuple(dict.fromkeys(before.extras + package.extras))
        self.local[package.path] = LocalPackage(package.path, before.editable or package.editable, extras)

    def _option(self, option: Option, where: Where, constraint: bool) -> None:
        if option.name in ("--requirement", "--constraint"):
            self._nested(option, where)
        elif option.name == "--editable":
            self._editable(option.value, where, constraint)
        elif option.name in FLAGS:
            self._global(option.name)
        elif option.name == "--find-links":
            self._find_links(option.value, where)
        elif option.name in ("--no-binary", "--only-binary"):
            for name in option.value.split(","):
                self._checked(option.name, name.strip(), _PACKAGE.fullmatch(name.strip()), where)
        elif option.name == "--trusted-host":
            self._checked(option.name, option.value, _HOST.fullmatch(option.value), where)
        else:
            self._checked(option.name, option.value, is_web_address(option.value), where)

    def _nested(self, option: Option, where: Where) -> None:
        # As in pip, `-r` inside a constraints file gives requirements.
        if "://" in option.value or option.value.startswith("file:"):
            remedy = "Copy the file into the repository and name it by its path."
            raise where.error(f"{shown(option.value)} is an address; only files of the repository are read.", remedy)
        path = inside_path(option.value, self.tree, where, base=posixpath.dirname(where.file))
        if path in self._open:
            raise where.error(f"{shown(option.value)} includes itself.", "Take out one of the -r or -c lines.")
        if len(self._open) >= _DEPTH:
            raise where.error(f"files are nested more than {_DEPTH} deep.")
        if not self.tree.is_file(path):
            raise where.error(f"{shown(option.value)} is a directory.")
        self.inline(path, constraint=option.name == "--constraint")

    def _editable(self, text: str, where: Where, constraint: bool) -> None:
        found = refer(text, self.tree, where)
        if found.local:
            found = replace(found, local=replace(found.local, editable=True))
        elif found.line and not re.search(r"(?:^|@ )git\+", found.line):
            raise where.error(f"-e takes a path or a git+ address, not {shown(text)}.", "Leave out the -e.")
        self._keep(replace(found, named=False), where, constraint)

    def _find_links(self, value: str, where: Where) -> None:
        if is_web_address(value):
            self._global("--find-links", value)
            return
        if "://" in value or value.startswith(("file:", "-")) or "${" in value:
            raise where.error(f"--find-links takes a web address or a path of the repository, not {shown(value)}.")
        absolute = value.startswith(("/", "~"))
        bases = ("",) if absolute else (posixpath.dirname(where.file), "")
        base = next((base for base in bases if absolute or self.tree.find(posixpath.join(base, value))), None)
        if base is None:
            self._warn(f"{where}: {shown(value)} is not there, so no packages are looked for in it.")
        else:
            self._global("--find-links", inside_path(value, self.tree, where, base=base))

    def _checked(self, name: str, value: str, good: object, where: Where) -> None:
        if not good:
            raise where.error(f"{shown(value)} is not a value for {name}.")
        self._global(name, value)

    def _global(self, name: str, value: str = "") -> None:
        self.options[f"{name} {value}".strip()] = None

    def _hashes(self, text: str, stated: list[str], where: Where) -> None:
        """pip's hash mode. As there, a file must have one of the hashes; those of several lines add up."""
        found = _NAMED.match(text)
        if found is None:
            self._warn(f"{where}: the hashes of {shown(text)} are not compared, as no package is named.")
            return
        digests = [match[1] for value in stated if (match := _SHA256.fullmatch(value))]
        wrong = next((value for value in stated if not _HASH.fullmatch(value)), None)
        if wrong:
            raise where.error(f"{shown(wrong)} is not a hash.", "Write it like sha256:0123... (64 digits).")
        if not digests:
            raise where.error(f"{found[0]} has only hashes of other kinds than sha256.", "`pip hash` writes sha256.")
        name = canonicalize_name(found[0])
        self.hashes[name] = tuple(dict.fromkeys((*self.hashes.get(name, ()), *digests)))

    def _warn(self, warning: str) -> None:
        if warning:
            self._warnings[warning] = None


def is_web_address(text: str) -> bool:
    """Whether `text` is an http or https URL with a host, without blanks and variables."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    clean = text.isprintable() and " " not in text and "${" not in text
    return clean and parts.scheme in ("http", "https") and bool(host) and not host.startswith("-")
