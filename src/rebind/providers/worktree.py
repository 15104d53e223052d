"""A git repository on this machine, read without trusting its configuration.

Its objects are borrowed by a directory of our own (`alternates`), so none of its settings, hooks or filters is in
force: git on this machine never runs what the repository says.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rebind.errors import AddressError, RepositoryError
from rebind.providers.addresses import GitURL, parse_url
from rebind.providers.command import Call, Git, Watch
from rebind.providers.failures import explain
from rebind.providers.refs import Advertised, read_advertised


class State(Enum):
    """How the files of a work tree stand to its HEAD."""

    CLEAN = "exactly the commit"
    IGNORED = "the commit and files that it ignores"
    CHANGED = "changed since the commit"


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """Where the parts of a repository lie."""

    root: Path
    """What was named: a work tree or a bare repository."""
    git_dir: Path
    """Holds HEAD and the index."""
    common: Path
    """Holds the objects and the configuration: another place for a linked work tree."""
    bare: bool


def find_repository(root: Path) -> LocalRepository | None:
    """The repository at (never above) a directory; None for a plain folder.

    A `.git` that is a link, or a file naming a place that does not name this folder in turn, is not followed: it could
    make somebody else's repository a part of this one.
    """
    dot = root / ".git"
    if dot.is_symlink():
        return None
    if dot.is_dir():
        return LocalRepository(root, dot, dot, False) if _is_git_dir(dot) else None
    if dot.is_file():
        return _linked(root, dot)
    return LocalRepository(root, root, root, True) if _is_git_dir(root) else None


def _is_git_dir(path: Path) -> bool:
    parts = (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
    return parts and not (path / "commondir").exists()


def _linked(root: Path, dot: Path) -> LocalRepository | None:
    text = _read(dot)
    if not text.startswith("gitdir: "):
        return None
    git_dir = (root / text.removeprefix("gitdir: ").strip()).resolve()
    if (git_dir / "commondir").is_file():  # `git worktree`
        back = Path(_read(git_dir / "gitdir").strip())
        common = (git_dir / _read(git_dir / "commondir").strip()).resolve()
        agrees = back == Path(".git") or (git_dir / back).resolve() == dot.resolve()
        return LocalRepository(root, git_dir, common, False) if agrees and _is_git_dir(common) else None
    # A submodule: its directory states the work tree.
    stated = re.search(r"(?m)^\s*worktree\s*=\s*(.+?)\s*$", _read(git_dir / "config"))
    agrees = bool(stated) and stated is not None and (git_dir / stated[1].strip('"')).resolve() == root.resolve()
    return LocalRepository(root, git_dir, git_dir, False) if agrees and _is_git_dir(git_dir) else None


def _read(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        if path.stat().st_size < 1 << 20:
            return path.read_text()
    return ""


def advertised(git: Git, repository: LocalRepository, watch: Watch) -> Advertised:
    """All names that the repository has."""
    url = parse_url(str(repository.root))
    done = git.run(Call(["ls-remote", "--symref", "--", str(repository.root)], url=url, watch=watch))
    if done.code != 0:
        raise explain(str(repository.root), done.error)
    return read_advertised(done.text)


def origin(git: Git, repository: LocalRepository) -> GitURL | None:
    """Where the repository was cloned from, without a password; None if it is not said or not a good address."""
    config = str(repository.common / "config")
    done = git.run(Call(["config", "--file", config, "--no-includes", "--get", "remote.origin.url"]))
    text = done.text.strip()
    if text.startswith(("http://", "https://")):  # clones by automatic services often hold a token here
        text = re.sub(r"^(https?://)[^/@]*@", r"\1", text)
    try:
        return parse_url(text) if done.code == 0 and text else None
    except AddressError:
        return None


@contextmanager
def borrowed(
    repository: LocalRepository, scratch: Path, commit: str, names: Advertised | None = None
) -> Iterator[Path]:
    """A git directory of our own with the repository's objects, its HEAD on `commit`; with `names` its tags too."""
    scratch.mkdir(parents=True, exist_ok=True)
    store = Path(tempfile.mkdtemp(prefix="borrowed-", dir=scratch))
    try:
        for name in ("objects/info", "objects/pack", "refs"):
            (store / name).mkdir(parents=True)
        objects = str((repository.common / "objects").resolve())
        if "\n" in objects:
            raise RepositoryError(f"The path {objects!r} holds a line break.", remedy="Rename the folder.")
        quoted = '"' + objects.replace("\\", "\\\\").replace('"', '\\"') + '"'
        (store / "objects" / "info" / "alternates").write_text(f"{quoted}\n")
        sha256 = "[extensions]\n\tobjectFormat = sha256\n" if len(commit) == 64 else ""
        (store / "config").write_text(f"[core]\n\trepositoryformatversion = 1\n\tbare = true\n{sha256}")
        (store / "HEAD").write_text(f"{commit}\n")
        with suppress(OSError):
            shutil.copyfile(repository.common / "shallow", store / "shallow")
        tags = sorted(name for name in names.ids if name.startswith("refs/tags/")) if names else []
        if names and tags:
            lines = [f"{names.tags.get(name, names.ids[name])} {name}\n" for name in tags]
            (store / "packed-refs").write_text("".join(lines), errors="surrogateescape")
        yield store
    finally:
        shutil.rmtree(store, ignore_errors=True)


def state(git: Git, repository: LocalRepository, store: Path, watch: Watch, scratch: Path) -> State:
    """How the files of the work tree stand to the commit that `store` has for HEAD. Its submodules count."""
    # The index is data, not settings: with its notes about the files git need not read them all again.
    for index in [repository.git_dir / "index", *repository.git_dir.glob("sharedindex.*")]:
        with suppress(OSError):
            # With its time: files changed in the very moment of its writing are told by that alone (racy git).
            shutil.copy2(index, store / index.name)
    with suppress(OSError):
        (store / "info").mkdir(exist_ok=True)
        shutil.copyfile(repository.common / "info" / "exclude", store / "info" / "exclude")
    arguments = ["status", "--porcelain", "-z", "--no-renames", "--ignored", "--ignore-submodules=all"]
    call = Call(arguments, git_dir=store, work_tree=repository.root, options=("core.bare=false",), watch=watch)
    done = git.run(call)
    if done.code != 0:
        raise explain(str(repository.root), done.error)
    kinds = {entry[:2] for entry in done.text.split("\0") if entry}
    if kinds - {"!!"}:
        return State.CHANGED
    inner = _submodules(git, repository, store, watch, scratch)
    return inner if inner is not State.CLEAN else State.IGNORED if kinds else State.CLEAN


def _submodules(git: Git, repository: LocalRepository, store: Path, watch: Watch, scratch: Path) -> State:
    if not (repository.root / ".gitmodules").is_file():
        return State.CLEAN
    listed = git.run(Call(["ls-tree", "-r", "-z", "--full-tree", "HEAD"], git_dir=store, watch=watch))
    found = State.CLEAN
    for entry in listed.out.split(b"\0"):
        facts, _, path = entry.partition(b"\t")
        if not facts.startswith(b"160000 "):
            continue
        # Whatever is not exactly the submodule's commit is not what the commit names: an absent one too.
        inner = find_repository(repository.root / os.fsdecode(path))
        wanted = facts.split()[2].decode()
        if inner is None or advertised(git, inner, watch).ids.get("HEAD") != wanted:
            return State.CHANGED
        with borrowed(inner, scratch, wanted) as store_of_inner:
            each = state(git, inner, store_of_inner, watch, scratch)
        if each is State.CHANGED:
            return each
        found = each if each is State.IGNORED else found
    return found
