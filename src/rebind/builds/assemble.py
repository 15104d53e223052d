"""Unpacked wheels -> the tree of an environment: hard links, and the few files that depend on the place."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rebind.builds import kernelspec, scripts
from rebind.builds.python import install_python
from rebind.builds.store import Say
from rebind.builds.tree import Tree
from rebind.builds.wheels import Wheel
from rebind.errors import BuildError
from rebind.values import Interpreter

Sources = dict[str, list[tuple[Wheel, list[str]]]]
"""Directory -> what each wheel has in it, in the order of the wheels' names."""

THREADS = 2


def assemble(
    wheels: Sequence[Wheel],
    interpreter: Interpreter,
    executable: str,
    prefix: str,
    tree: Tree,
    say: Say,
    *,
    with_python: bool = True,
) -> None:
    """Fills `tree`, whose root will be seen as `prefix`, with wheels for `interpreter`, found there as `executable`.

    Where two wheels bring the same file the last by name wins. Without `with_python` the tree has one.
    Raises BuildError, OSError.
    """
    ordered = sorted(wheels, key=lambda wheel: (wheel.package.name, wheel.key))
    sources = _by_directory(ordered)
    for directory in ("bin", "etc", "include", "share", f"lib/python{interpreter.minor}/site-packages", *sources):
        tree.make(directory)
    conflicts = [path for path in _link_all(sources, tree.root) if not path.endswith(".pyc")]
    if conflicts:
        say(f"{len(conflicts)} files are in more than one package (the last by name was taken): {conflicts[0]}")
    if with_python:
        install_python(tree, interpreter, executable)
    for wheel in ordered:
        _write_scripts(wheel, tree, f"{prefix}/bin/python")
        _write_origin(wheel, tree, interpreter)
    kernelspec.install(tree, interpreter, prefix)


def _by_directory(wheels: Iterable[Wheel]) -> Sources:
    sources: Sources = defaultdict(list)
    for wheel in wheels:
        for directory, names in wheel.contents.files.items():
            sources[directory].append((wheel, names))
    return sources


def _link_all(sources: Sources, root: Path) -> list[str]:
    """A directory is one thread's, so that which file wins does not depend on chance."""
    parts: list[list[str]] = [[] for _ in range(THREADS)]
    sizes = [0] * THREADS
    for directory in sorted(sources, key=lambda directory: -sum(len(names) for _, names in sources[directory])):
        least = sizes.index(min(sizes))
        parts[least].append(directory)
        sizes[least] += sum(len(names) for _, names in sources[directory]) + 3
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(lambda part: [path for name in part for path in _link(name, sources[name], root)], parts)
    return sorted(path for paths in found for path in paths)


def _link(directory: str, wheels: list[tuple[Wheel, list[str]]], root: Path) -> list[str]:
    """One directory of the environment; returns the files that were there already."""
    conflicts = []
    into = _open(root / directory)
    try:
        for wheel, names in wheels:
            source = _open(wheel.path / "tree" / directory)
            try:
                for name in names:
                    try:
                        os.link(name, name, src_dir_fd=source, dst_dir_fd=into, follow_symlinks=False)
                    except FileExistsError:
                        conflicts.append(f"{directory}/{name}")
                        _replace(name, source, into, wheel)
                    except OSError as error:
                        if error.errno != errno.EMLINK:  # ext4 allows 65,000 links to one file
                            raise
                        _copy(name, source, into)
            finally:
                os.close(source)
    finally:
        os.close(into)
    return conflicts


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _replace(name: str, source: int, into: int, wheel: Wheel) -> None:
    try:
        os.unlink(name, dir_fd=into)
    except IsADirectoryError as error:
        raise BuildError(
            f"{wheel.package.filename} has a file {name!r} where another package has a directory."
        ) from error
    os.link(name, name, src_dir_fd=source, dst_dir_fd=into, follow_symlinks=False)


def _copy(name: str, source: int, into: int) -> None:
    inside = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=source)
    with os.fdopen(inside, "rb") as reader:
        facts = os.fstat(inside)
        outside = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, facts.st_mode, dir_fd=into)
        with os.fdopen(outside, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fchmod(outside, facts.st_mode)
            os.fchown(outside, facts.st_uid, facts.st_gid)
            os.utime(outside, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _write_scripts(wheel: Wheel, tree: Tree, python: str) -> None:
    for name, module, attribute in wheel.contents.entry_points:
        tree.write(f"bin/{name}", scripts.entry_point(python, module, attribute), 0o755)
    for name in wheel.contents.scripts:
        shipped = (wheel.path / "scripts" / name).read_bytes()
        tree.write(f"bin/{name}", scripts.with_interpreter(python, shipped), 0o755)


def _write_origin(wheel: Wheel, tree: Tree, interpreter: Interpreter) -> None:
    """`direct_url.json` (PEP 610) for a checkout, and its line in RECORD."""
    url = wheel.package.url
    if not url.startswith("git+") or wheel.package.sha256:
        return
    address, _, commit = url[4:].partition("#")[0].rpartition("@")
    origin = {"url": address, "vcs_info": {"vcs": "git", "commit_id": commit}}
    site = f"lib/python{interpreter.minor}/site-packages"
    (info,) = {
        directory.split("/")[3]
        for directory in wheel.contents.files
        if directory.startswith(site) and directory.endswith(".dist-info")
    }
    record = (wheel.path / "tree" / site / info / "RECORD").read_text()
    tree.write(f"{site}/{info}/direct_url.json", json.dumps(origin).encode())
    tree.write(f"{site}/{info}/RECORD", f"{record}{info}/direct_url.json,,\n".encode())
