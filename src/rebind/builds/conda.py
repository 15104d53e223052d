"""Conda packages of a lock -> an environment: unpacked once into the store, hard links where the prefix is not in the
file, copies with our prefix where it is; then what the `pip:` list adds, then conda's own records.

Scripts of packages (`post-link`) are not run: pixi and micromamba with safe settings do not run them either.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rebind.builds import compiler, conda_records, kernelspec, scripts
from rebind.builds.assemble import assemble
from rebind.builds.conda_unpack import BadPackage, CondaContents, dump, unpack_conda, with_prefix
from rebind.builds.downloads import Downloads
from rebind.builds.store import Making, Say, Store, room
from rebind.builds.tree import Tree
from rebind.builds.wheels import COMPILED_TOGETHER, JOB_TIMEOUT, Wheels, compilable
from rebind.builds.workers import Pool, WorkerDiedError
from rebind.errors import BuildError
from rebind.values import APP_BASE, CONDA_DIR, NB_PREFIX, NPM_DIR, CondaPackage, Interpreter, LockedPlan, Package

FORMAT = 1  # raised when the same package would give other files
THREADS = 8


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A conda package in the store."""

    package: CondaPackage
    key: str
    path: Path
    contents: CondaContents


@dataclass(frozen=True, slots=True)
class Means:
    """What an installation works with. `helper` compiles: an interpreter of this machine of the same minor version,
    since conda's own is a stranger's program that only a sandbox may run; None: nothing is compiled."""

    store: Store
    downloads: Downloads
    stop: threading.Event
    helper: Interpreter | None
    wheels: Wheels


def conda_python(version: str) -> Interpreter:
    """Conda's Python in the environment; it is nowhere else."""
    minor = ".".join(version.split(".")[:2])
    return Interpreter(version, Path(NB_PREFIX), Path(NB_PREFIX, "bin", f"python{minor}"))


def fill_conda(locked: LockedPlan, means: Means, work: Path, say: Say) -> None:
    """`work`/srv, as sessions see it. Raises BuildError, NetworkError, DiskError."""
    tree = Tree(work, means.store.owner)
    for directory in (APP_BASE, f"{CONDA_DIR}/bin", f"{NPM_DIR}/bin", f"{NPM_DIR}/lib", NB_PREFIX):
        tree.make(directory[1:])
    tree.write(f"{NPM_DIR[1:]}/npmrc", f"prefix={NPM_DIR}\n".encode())
    conda_records.write_tools(tree)
    python = conda_python(locked.python)
    prefix = Tree(work / NB_PREFIX[1:], means.store.owner)
    with means.store.in_use():
        packages = prepare(locked.conda, python, means, say)
        say(f"Installing {len(packages)} conda packages and {len(locked.packages)} of PyPI")
        for package in packages:
            _link_files(package, prefix, python)
        keys = [package.key for package in packages]
        if locked.packages:
            made = means.wheels.prepare(locked.packages, means.helper or python, say)
            assemble(made, python, python.inside, NB_PREFIX, prefix, say, with_python=False)
            keys += [wheel.key for wheel in made]
        kernelspec.install(prefix, python, NB_PREFIX)
        for package in packages:
            conda_records.write_record(prefix, package.package, package.contents, package.path)
        _link_links(packages, prefix, say)
    (work / "wheels").write_text("".join(f"{key}\n" for key in keys))  # for `clean`


# Into the store


def _key(package: CondaPackage, python: Interpreter) -> str:
    facts = f"conda-{FORMAT}-{package.sha256}"
    return f"{hashlib.sha256(facts.encode()).hexdigest()}-cp{python.minor.replace('.', '')}"


def prepare(packages: Sequence[CondaPackage], python: Interpreter, means: Means, say: Say) -> list[Unpacked]:
    """All packages unpacked in the store, in the same order. Raises BuildError, NetworkError, DiskError."""
    helper = means.helper
    compilers = Pool([str(helper.executable), "-s", "-S", "-B", compiler.__file__]) if helper else None

    def one(package: CondaPackage) -> Unpacked:
        key = _key(package, python)
        found = means.store.find("wheels", key)
        return _load(package, key, found) if found else _make(package, key, python, means, compilers, say)

    try:
        with ThreadPoolExecutor(THREADS) as threads:
            jobs = [threads.submit(one, package) for package in packages]
            try:
                return [job.result() for job in jobs]
            except BaseException:
                means.stop.set()
                for job in jobs:
                    job.cancel()
                raise
    finally:
        if compilers:
            compilers.close()


def _load(package: CondaPackage, key: str, place: Path) -> Unpacked:
    return Unpacked(package, key, place, CondaContents(**json.loads((place / "manifest.json").read_bytes())))


def _make(
    package: CondaPackage, key: str, python: Interpreter, means: Means, compilers: Pool | None, say: Say
) -> Unpacked:
    filename = package.url.rpartition("/")[2]
    wanted = Package(package.name, package.version, package.url, package.sha256, filename, package.size)
    file = means.downloads.fetch(wanted, say, means.stop)
    with means.store.making("wheels", key, say, means.stop) as making:
        if making.found:
            return _load(package, key, making.found)
        with room(means.store.path):
            contents = _unpacked(package, file, making, python, means)
            if compilers and contents.noarch_python:
                _compile(contents, making.work, compilers, means, say)
            (making.work / "manifest.json").write_text(dump(contents))
        for warning in contents.warnings:
            say(f"{filename}: {warning}")
        return Unpacked(package, key, making.keep(), contents)


def _unpacked(package: CondaPackage, file: Path, making: Making, python: Interpreter, means: Means) -> CondaContents:
    try:
        contents = unpack_conda(file, making.work, python.minor, means.store.owner)
        if contents.index["name"] != package.name:
            raise BadPackage(f"it is {str(contents.index['name'])[:80]!r}, not {package.name!r}")
    except BadPackage as error:
        raise BuildError(
            f"The conda package {file.name} cannot be installed: {error}.",
            remedy=f"Ask for another version of {package.name}.",
        ) from error
    return contents


def _compile(contents: CondaContents, work: Path, compilers: Pool, means: Means, say: Say) -> None:
    """Adds the .pyc files of a package that is for any Python. What cannot be compiled works all the same."""
    files = list(compilable(contents.files))
    for at in range(0, len(files), COMPILED_TOGETHER):
        job = {
            "root": str(work / "tree"),
            "inside": NB_PREFIX,
            "files": files[at : at + COMPILED_TOGETHER],
            "owner": means.store.owner,
        }
        try:
            made = compilers.ask(job, JOB_TIMEOUT)
        except WorkerDiedError:
            say(f"Some files of {contents.index['name']} could not be compiled")
            return
        for path in made if isinstance(made, list) else []:
            directory, _, name = path.rpartition("/")
            contents.files.setdefault(directory, []).append(name)


# Into the prefix


def _link_files(package: Unpacked, tree: Tree, python: Interpreter) -> None:
    """Hard links, and copies of what has the prefix in it. Of two packages with one file, the last by name wins."""
    for directory, names in package.contents.files.items():
        tree.make(directory)
        source = f"{package.path}/tree/{directory}"
        into = f"{tree.root}/{directory}"
        for name in names:
            _link(f"{source}/{name}", f"{into}/{name}", tree, f"{directory}/{name}")
    for path, placeholder, mode in package.contents.prefixed:
        file = package.path / "prefixed" / path
        try:
            data = with_prefix(file.read_bytes(), placeholder, mode, NB_PREFIX)
        except BadPackage as error:
            raise BuildError(f"{path} of the conda package {package.package.name}: {error}.") from error
        tree.write(path, data, file.stat().st_mode & 0o777)
    for name, module, attribute in package.contents.entry_points:
        tree.write(f"bin/{name}", scripts.entry_point(f"{NB_PREFIX}/bin/python", module, attribute), 0o755)


def _link(source: str, into: str, tree: Tree, path: str) -> None:
    try:
        os.link(source, into, follow_symlinks=False)
    except FileExistsError:
        tree.remove(path.lstrip("/"))
        os.link(source, into, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        file = Path(source)
        tree.write(path.lstrip("/"), file.read_bytes(), file.stat().st_mode & 0o777)


def _link_links(packages: Sequence[Unpacked], tree: Tree, say: Say) -> None:
    """Symbolic links come last: nothing is ever written through one."""
    for package in packages:
        for path, target in sorted(package.contents.links.items()):
            place = tree.root / path
            if place.is_dir() and not place.is_symlink():
                say(f"{package.package.name}: the link {path} was left out, there is a directory of that name")
            elif any(parent.is_symlink() for parent in place.parents if parent.is_relative_to(tree.root)):
                say(f"{package.package.name}: the link {path} was left out, it lies below another link")
            else:
                tree.symlink(path, target)
