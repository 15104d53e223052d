"""Writes a checkout: a `.git` that works by itself, and the files of one commit."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from rebind.errors import RepositoryError
from rebind.providers.addresses import GitURL
from rebind.providers.cache import growth
from rebind.providers.command import Call, Finished, Git, Watch, too_large
from rebind.providers.failures import explain
from rebind.providers.lfs import OFFLINE, fetch_large, find_pointers, lfs_server
from rebind.values import Event, Phase

_MOST_FILES = 1_000_000
_SMALLEST, _LARGEST = 100, 1024  # bytes of a pointer of Git LFS
_LFS_ATTRIBUTE = re.compile(rb"(?m)^[^#\n]*\sfilter=lfs\b")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a checkout shall be."""

    commit: str
    history: bool
    """With all older commits, else with a history of length 1."""
    branch: str = ""
    """Stand on this branch; '' for a detached HEAD."""
    origin: str = ""
    """The address that git remembers; never holds a secret."""
    url: GitURL | None = None
    """Where files of Git LFS come from."""
    lfs: Path | None = None
    """Where they are kept between launches."""


@dataclass(frozen=True, slots=True)
class Link:
    """A submodule as a tree holds it: a path and a commit."""

    path: str
    commit: str


class BrokenStoreError(Exception):
    """The objects of the commit cannot be read, although they were taken for whole."""


def write_git(git: Git, store: Path, wanted: Wanted, into: Path, watch: Watch) -> None:
    """Makes `into/.git` out of the objects that a store holds. Raises BrokenStoreError."""
    dot_git = into / ".git"
    for name in ("objects/pack", "objects/info", "refs/heads", "refs/tags", "refs/remotes/origin", "info", "hooks"):
        (dot_git / name).mkdir(parents=True)
    tags = _tags(git, store, wanted, watch) if wanted.history else {}
    wish = ["rev-list", "--objects", "--missing=print", "--stdin", *(() if wanted.history else ("--no-walk",))]
    tips = "\n".join([wanted.commit, *tags.values(), ""]).encode()
    listed = _sound(git.run(Call(wish, git_dir=store, stdin=tips, watch=watch)))
    names = [line for line in listed.out.split(b"\n") if line and not line.startswith(b"?")]
    partial = listed.out.startswith(b"?") or b"\n?" in listed.out
    # Deltas are taken over as they are: looking for better ones costs more than they save.
    packed = git.run(
        Call(
            ["pack-objects", "-q", "--window=0", "--delta-base-offset", str(dot_git / "objects" / "pack" / "pack")],
            git_dir=store,
            stdin=b"\n".join([*names, b""]),
            options=("core.fsync=none",),  # a checkout need not outlive a power cut
            watch=replace(watch, report=None),
        )
    )
    pack = dot_git / "objects" / "pack" / f"pack-{_sound(packed).text.strip()}.pack"
    for made in (pack, pack.with_suffix(".idx")):
        made.chmod(0o644)
    if partial:
        pack.with_suffix(".promisor").write_bytes(b"")
    _write_shallow(store, dot_git, wanted, {line[:64].split(b" ")[0] for line in names})
    _write_refs(dot_git, wanted, tags)
    (dot_git / "config").write_text(_config(wanted, partial, git))


def _sound(done: Finished) -> Finished:
    if done.code != 0:
        raise BrokenStoreError(done.error)
    return done


def _write_shallow(store: Path, dot_git: Path, wanted: Wanted, names: set[bytes]) -> None:
    if not wanted.history:
        # A commit without parents is whole as it is; naming it here does no harm.
        (dot_git / "shallow").write_text(f"{wanted.commit}\n")
    elif (store / "shallow").exists():
        cut = [line for line in (store / "shallow").read_bytes().split() if line in names]
        if cut:
            (dot_git / "shallow").write_bytes(b"\n".join([*cut, b""]))


def _tags(git: Git, store: Path, wanted: Wanted, watch: Watch) -> dict[str, str]:
    """The tags within the history: versions are often told by them (`git describe`, setuptools-scm)."""
    packed = (store / "packed-refs").exists() and b" refs/tags/" in (store / "packed-refs").read_bytes()
    if not packed and not any((store / "refs").glob("tags/*")):
        return {}
    wish = ["for-each-ref", f"--merged={wanted.commit}", "--format=%(objectname) %(refname)", "refs/tags"]
    listed = _sound(git.run(Call(wish, git_dir=store, watch=watch)))
    pairs = [line.partition(" ") for line in listed.text.split("\n") if line]
    return {name: tag for tag, _, name in pairs}


def _write_refs(dot_git: Path, wanted: Wanted, tags: dict[str, str]) -> None:
    line = f"{wanted.commit}\n"
    if not wanted.branch:
        (dot_git / "HEAD").write_text(line)
    else:
        (dot_git / "HEAD").write_text(f"ref: refs/heads/{wanted.branch}\n")
        for place in ("heads", "remotes/origin"):
            ref = dot_git / "refs" / place / wanted.branch
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(line)
    if tags:
        lines = [f"{tag} {name}\n" for name, tag in sorted(tags.items())]
        (dot_git / "packed-refs").write_text("".join(lines), errors="surrogateescape")


def _config(wanted: Wanted, partial: bool, git: Git) -> str:
    sha256 = len(wanted.commit) == 64
    lines = ["[core]", f"\trepositoryformatversion = {1 if partial or sha256 else 0}", "\tfilemode = true"]
    lines += ["\tbare = false", "\tlogallrefupdates = true"]
    if partial or sha256:
        lines.append("[extensions]")
    lines += ["\tpartialClone = origin"] if partial else []
    lines += ["\tobjectFormat = sha256"] if sha256 else []
    if wanted.origin or partial:
        lines += ['[remote "origin"]', f"\turl = {quoted(wanted.origin)}"]
        lines.append("\tfetch = +refs/heads/*:refs/remotes/origin/*")
        lines += ["\tpromisor = true", "\tpartialclonefilter = blob:none"] if partial else []
    if wanted.branch and wanted.origin:
        lines += [f"[branch {quoted(wanted.branch)}]", "\tremote = origin"]
        lines.append(f"\tmerge = {quoted('refs/heads/' + wanted.branch)}")
    return "\n".join([*lines, ""])


def quoted(text: str) -> str:
    """A value or the name of a section in git's configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Tree:
    """What must be known of a commit's files before they are written."""

    links: tuple[Link, ...]
    lfs_config: bool
    """It has an `.lfsconfig`."""
    small: tuple[str, ...]
    """Blobs that may be pointers of Git LFS; none if there are no attributes that would make them such."""


def tree(git: Git, into: Path, wanted: Wanted, watch: Watch) -> Tree:
    """Reads the tree of the commit. RepositoryError if its files are too many.

    A few small objects can name more files than any disk holds, so they are counted before they are written.
    """
    wish = ["ls-tree", "-r", "-l", "-z", "--full-tree", wanted.commit]
    listed = git.run(Call(wish, git_dir=into / ".git", watch=watch))
    if listed.code != 0:
        raise BrokenStoreError(listed.error)
    links, small, total, attributes, lfs_config = [], [], 0, False, False
    entries = listed.out.split(b"\0")
    for entry in entries:
        facts, _, path = entry.partition(b"\t")
        words = facts.split()
        if words[:1] == [b"160000"]:
            links.append(Link(os.fsdecode(path), words[2].decode()))
        elif len(words) == 4 and words[3].isdigit():
            size = int(words[3])
            total += size
            if _SMALLEST <= size <= _LARGEST:
                small.append(words[2].decode())
        attributes = attributes or path == b".gitattributes" or path.endswith(b"/.gitattributes")
        lfs_config = lfs_config or path == b".lfsconfig"
    limit = git.access.max_bytes
    if (limit and total > limit) or len(entries) > _MOST_FILES:
        raise too_large(watch.named, limit or total)
    return Tree(tuple(links), lfs_config, tuple(small) if attributes else ())


def write_files(git: Git, into: Path, wanted: Wanted, watch: Watch, files: Tree) -> None:
    """Writes the files of the commit beside `into/.git`. Raises RepositoryError; hooks are never run."""
    options = _lfs(git, into, wanted, watch, files)
    if wanted.lfs:
        watch = replace(watch, size=growth(wanted.lfs, "**/*"), max_bytes=git.access.max_bytes)
    done = git.run(
        Call(
            ["read-tree", "--reset", "-u", wanted.commit],
            git_dir=into / ".git",
            work_tree=into,
            url=wanted.url,
            options=options,
            watch=watch,
        )
    )
    if done.code == 0:
        watch.check()
        _say_lfs(git, into, watch)
        return
    if "lfs" in done.error.lower():
        raise RepositoryError(
            f"The files that {watch.named} keeps in Git LFS could not be fetched.",
            remedy="Their server may be private, or its quota used up: see what it says above.",
            detail="\n".join(done.error.splitlines()[-6:]),
        )
    raise explain(watch.named, done.error)


def refresh(git: Git, into: Path, wanted: Wanted, watch: Watch) -> bool:
    """Makes the index for files that are there already. Whether they are those of the commit."""
    quiet = replace(watch, report=None)
    place = Call(["read-tree", wanted.commit], git_dir=into / ".git", work_tree=into, watch=quiet)
    git.run(place)
    status = ["status", "--porcelain", "--ignored", "--ignore-submodules=all"]
    # With the lock, so that it notes down what it found and git in the session need not read every file again.
    done = git.run(replace(place, arguments=status, variables={"GIT_OPTIONAL_LOCKS": "1"}))
    _say_lfs(git, into, watch)
    return done.code == 0 and not done.out


def _lfs(git: Git, into: Path, wanted: Wanted, watch: Watch, files: Tree) -> tuple[str, ...]:
    """Makes ready what git-lfs will ask for, and gives its settings."""
    if wanted.url is None or not files.small or not git.access.has_lfs():
        return (f"lfs.url={OFFLINE}",)
    server = lfs_server(git, into / ".git", wanted.commit, wanted.url, files.lfs_config)
    if git.access.proxy_url and wanted.lfs:
        large = find_pointers(git, into / ".git", files.small, watch)
        fetch_large(git.access, server, large, wanted.lfs, replace(watch, max_bytes=git.access.max_bytes))
        server = OFFLINE
    kept = (f"lfs.storage={wanted.lfs}",) if wanted.lfs else ()
    few = ("lfs.transfer.maxretries=2", "lfs.transfer.maxretrydelay=1", "lfs.concurrenttransfers=4")
    # Stated here the address beats the repository's `.lfsconfig`, which could name a file of this machine.
    return (f"lfs.url={server}", *kept, *few)


def _say_lfs(git: Git, into: Path, watch: Watch) -> None:
    path = into / ".gitattributes"
    if path.is_symlink() or not path.is_file() or not _LFS_ATTRIBUTE.search(path.read_bytes()):
        return
    if not git.access.has_lfs():
        text = "Warning: git-lfs is not installed here, so the files kept in Git LFS are only pointers.\n"
        if watch.report is not None:
            watch.report(Event(Phase.FETCHING, text))
        return
    with open(into / ".git" / "config", "a") as config:  # without it git in the session would see changed files
        config.write('[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n')
        config.write("\tprocess = git-lfs filter-process\n\trequired = true\n")
