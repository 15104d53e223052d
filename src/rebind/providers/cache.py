"""The kept copy of one remote repository, so that the next launch of it transfers next to nothing.

    <cache>/<key>/   meta/     commits alone (no files): dates, and whether a commit is there
                     history/  all commits of all branches, without files: made only for a short commit id
                     one/      single commits with their files, without history
                     full/     commits with their history; of older commits no file contents, if the server allows it
                     lfs/      files of Git LFS
                     dates/<commit>, names/<hash of a ref>, lock

A ref `refs/rebind/<commit>` in `one` or `full` says that this commit is whole there. It is written by git after the
objects, so a process that dies at any line leaves nothing that is taken for whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rebind.errors import RefNotFoundError, RepositoryError
from rebind.providers.addresses import GitURL
from rebind.providers.command import Call, Finished, Git, Watch
from rebind.providers.failures import explain, is_absent, is_remote, other_way
from rebind.providers.refs import FULL_ID, Advertised, not_found, read_advertised

_EVERYTHING = ("--no-tags", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
# With a history git brings the tags of its commits along, which tell versions. To know them it asks for the names of
# the repository: for all, were there not this pattern, which matches none.
_WITH_TAGS = "+refs/rebind-none/*:refs/none/*"
_MOST_PACKS = 40


@dataclass(frozen=True, slots=True)
class Source:
    """A store that holds a commit whole."""

    git_dir: Path
    history: bool


class Cache:
    """What is kept of one address. All methods are safe against other processes and threads."""

    def __init__(self, root: Path, url: GitURL, git: Git) -> None:
        # By address, not by identity: who may read over ssh is no proof for a stranger that comes over https.
        name = "".join(c if c.isalnum() else "-" for c in url.identity[-40:]).strip("-")
        self.path = root / f"{name}-{hashlib.sha256(url.text.encode()).hexdigest()[:24]}"
        self.url = url
        self.git = git

    # What is known without asking

    def date(self, commit: str) -> datetime | None:
        """The date of a commit that was seen before."""
        with suppress(OSError, ValueError):
            text = (self.path / "dates" / commit).read_text()
            return moment(text) if text.lstrip("-").isdigit() else None
        return None

    def branch(self, ref: str | None, commit: str) -> str:
        """The branch that a ref was when it was resolved to this commit; '' if it was none."""
        with suppress(OSError, ValueError):
            seen, _, branch = self._name(ref).read_text().partition(" ")
            return branch if seen == commit else ""
        return ""

    def remember(self, ref: str | None, commit: str, branch: str) -> None:
        """Keeps which branch a ref was."""
        _write(self._name(ref), f"{commit} {branch}")

    def _name(self, ref: str | None) -> Path:
        return self.path / "names" / hashlib.sha256((ref or "HEAD").encode()).hexdigest()[:32]

    # What the repository says

    def advertised(self, patterns: list[str], watch: Watch) -> Advertised:
        """The names that the repository has now; without patterns all. Raises RepositoryError, RefusedError."""
        call = Call(["ls-remote", "--symref", "--", self.url.text, *patterns], url=self.url, watch=watch)
        done = self.git.run(call)
        if done.code != 0:
            raise explain(self.url.text, done.error)
        return read_advertised(done.text)

    def learn(self, commit: str, watch: Watch) -> datetime:
        """The date of a commit, asked of the repository. Raises RefNotFoundError if it has no such commit."""
        known = self.date(commit)
        if known is not None:
            return known
        with self.locked(watch) as keep:
            for store in (source.git_dir for kind in ("full", "one") if (source := self._has(kind, commit))):
                if date := self._dated(store, commit):
                    return date
            history = self.path / "history"
            if (history / "HEAD").exists() and (date := self._dated(history, commit)):
                return date
            for _ in range(2):
                store = self._introduced(commit, watch, keep)
                if date := self._dated(store, commit):
                    return date
                self._drop(store)  # it was there, but cannot be read
        raise RefNotFoundError(f"{commit} of {self.url.text} is no commit.", remedy="Give a branch or a commit.")

    def _introduced(self, commit: str, watch: Watch, keep: int) -> Path:
        """A store that holds at least the commit itself."""
        for kind in ("full", "one"):
            # Of a repository that was fetched before, the rest is small and wanted next: no second request for it.
            if (self.path / kind / "HEAD").exists():
                return self._obtain(commit, kind == "full", watch, keep).git_dir
        asked = ("--depth=1", "--filter=tree:0", "--no-tags")
        return self._mended("meta", commit, watch, keep, asked, "--filter=tree:0")

    def lookup(self, prefix: str, watch: Watch) -> str | None:
        """The one commit of any branch or tag whose id begins so. RefNotFoundError if several do."""
        with self.locked(watch) as keep:
            store = self._made("history", 40)
            done = self._fetch(store, ("--filter=tree:0", *_EVERYTHING), watch, keep)
            if done.code != 0:
                raise explain(self.url.text, done.error)
            return find_commit(self.git, store, prefix)

    def obtain(self, commit: str, history: bool, watch: Watch) -> Source:
        """Makes the commit whole in the cache, with or without its history, and says where it is.

        Raises RefNotFoundError, RepositoryError, RefusedError, DiskError.
        """
        with self.locked(watch) as keep:
            found = self._has("full", commit) or (None if history else self._has("one", commit))
            if found is None:
                found = self._obtain(commit, history, watch, keep)
            with suppress(OSError):
                os.utime(self.path)
            return found

    def _obtain(self, commit: str, history: bool, watch: Watch, keep: int) -> Source:
        if not history:
            asked = ("--depth=1", "--no-filter", "--no-tags")
            return Source(self._mended("one", commit, watch, keep, asked, "--no-filter"), False)
        rest = ("--filter=blob:none", "--update-shallow")
        store = self._mended("full", commit, watch, keep, (*rest, _WITH_TAGS), *rest, tip=True)
        return Source(store, True)

    # How

    def _mended(
        self, kind: str, commit: str, watch: Watch, keep: int, asked: tuple[str, ...], *rest: str, tip: bool = False
    ) -> Path:
        """Fetches a commit into a store; a store that turns out to be broken is made again from nothing."""
        store = self.path / kind
        watch = replace(watch, size=growth(self.path, "*/objects/pack/*"), max_bytes=self.git.access.max_bytes)
        if (store / "HEAD").exists():
            done = self._bring(store, commit, watch, keep, asked, rest, tip)
            if done is None:
                return store
            if other_way(done.error):
                raise not_found(commit, self.url.text)
            if is_remote(done.error):
                raise explain(self.url.text, done.error)
        fresh = self.path / f"{kind}.new"
        self._drop(fresh)
        _make(fresh, self.url, len(commit))
        done = self._bring(fresh, commit, watch, keep, asked, rest, tip)
        if done is not None:
            self._drop(fresh)
            if other_way(done.error):
                raise not_found(commit, self.url.text)
            raise explain(self.url.text, done.error)
        self._drop(store)
        fresh.rename(store)
        return store

    def _bring(
        self,
        store: Path,
        commit: str,
        watch: Watch,
        keep: int,
        asked: tuple[str, ...],
        rest: tuple[str, ...],
        tip: bool,
    ) -> Finished | None:
        """Fetches the commit by its id; where the server refuses that, everything with a name. None: it is there."""
        wanted = f"+{commit}:refs/rebind/{commit}" if not tip else f"+{commit}:refs/tips/{commit}"
        done = self._fetch(store, (*asked, wanted), watch, keep)
        if done.code != 0:
            if is_absent(done.error) or (is_remote(done.error) and not other_way(done.error)):
                return done
            # A store of single commits believes that they have no parents until it is told otherwise.
            deep = ("--depth=2147483647",) if (store / "shallow").exists() else ()
            done = self._fetch(store, (*rest, *deep, *_EVERYTHING), watch, keep)
            if done.code != 0:
                return done
            if not self._exists(store, commit):
                return Finished(1, b"", f"not our ref {commit}")
        if tip:
            done = self._files(store, commit, watch, keep)
            if done.code != 0:
                return done
        if tip or not _has_ref(store, commit):
            done = self.git.run(Call(["update-ref", f"refs/rebind/{commit}", commit], git_dir=store, keep=(keep,)))
        return None if done.code == 0 else done

    def _fetch(
        self, store: Path, rest: tuple[str, ...], watch: Watch, keep: int, stdin: bytes | None = None
    ) -> Finished:
        _sweep(store)
        arguments = ["fetch", "--quiet", "--progress", "--no-write-fetch-head", "--no-recurse-submodules", "--force"]
        options = [part for part in rest if part.startswith("--")]
        refs = [part for part in rest if not part.startswith("--")]
        call = Call(
            [*arguments, *options, "origin", *refs],
            git_dir=store,
            url=self.url,
            watch=watch,
            keep=(keep,),
            stdin=stdin,
            options=("fetch.negotiationAlgorithm=noop",) if stdin else (),
        )
        return self.git.run(call)

    def _files(self, store: Path, commit: str, watch: Watch, keep: int) -> Finished:
        """The contents of the commit's own files, which `--filter=blob:none` left out, in one request."""
        listed = self.git.run(
            Call(["rev-list", "--objects", "--missing=print", "--no-walk", commit, "--"], git_dir=store, watch=watch)
        )
        missing = [line[1:] for line in listed.text.split("\n") if line.startswith("?")]
        if listed.code != 0 or not missing:
            return listed
        names = "\n".join([*missing, ""]).encode()  # what git itself does when a file of a partial clone is read
        done = self._fetch(store, ("--filter=blob:none", "--no-tags", "--stdin"), watch, keep, names)
        if done.code != 0 and other_way(done.error):
            done = self._fetch(store, ("--refetch", "--no-filter", *_EVERYTHING), watch, keep)
        return done

    def _exists(self, store: Path, commit: str) -> bool:
        return self.git.run(Call(["cat-file", "-e", f"{commit}^{{commit}}"], git_dir=store)).code == 0

    def _has(self, kind: str, commit: str) -> Source | None:
        store = self.path / kind
        return Source(store, kind == "full") if _has_ref(store, commit) else None

    def _dated(self, store: Path, commit: str) -> datetime | None:
        text = commit_date(self.git, store, commit)
        if text is not None:
            _write(self.path / "dates" / commit, text)
        return None if text is None else moment(text)

    def _made(self, kind: str, length: int) -> Path:
        store = self.path / kind
        if not (store / "HEAD").exists():
            self._drop(store)
            _make(store, self.url, length)
        return store

    def drop(self, watch: Watch) -> None:
        """Throws the whole cache away, because something in it turned out to be broken."""
        with self.locked(watch):
            for kind in ("meta", "history", "one", "full"):
                self._drop(self.path / kind)

    def _drop(self, store: Path) -> None:
        if store.exists():
            gone = store.with_name(f"{store.name}.gone-{os.getpid()}-{time.monotonic_ns()}")
            store.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def tidy(self, source: Source) -> None:
        """Joins the packs of many small fetches, which would make every later look-up slower."""
        packs = len(list((source.git_dir / "objects" / "pack").glob("*.pack")))
        if packs > _MOST_PACKS:
            with self.locked(Watch()) as keep:
                self.git.run(Call(["repack", "-a", "-d", "-q"], git_dir=source.git_dir, keep=(keep,)))

    @contextmanager
    def locked(self, watch: Watch, shared: bool = False) -> Iterator[int]:
        """Only one process changes a cache. Waits; a limit of time holds for the waiting too."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _wait(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, watch)
            yield lock
        finally:
            os.close(lock)


def find_commit(git: Git, store: Path, prefix: str) -> str | None:
    """The one commit in a store whose id begins so; None if there is none. RefNotFoundError if several do."""
    done = git.run(Call(["rev-parse", "--verify", f"{prefix}^{{commit}}"], git_dir=store))
    if done.code == 0:
        return done.text.strip()
    if "ambiguous" in done.error:
        raise RefNotFoundError(f"{prefix!r} begins several commits.", remedy="Give more digits of the commit's id.")
    return None


def commit_date(git: Git, store: Path, commit: str) -> str | None:
    """Committer date in seconds since 1970, as text; None if this is no commit."""
    done = git.run(Call(["cat-file", "commit", commit], git_dir=store))
    for line in done.out.split(b"\n\n", 1)[0].split(b"\n") if done.code == 0 else []:
        if line.startswith(b"committer "):
            words = line.rsplit(b"> ", 1)[-1].split()
            return words[0].decode(errors="replace") if words else "0"
    return None


def moment(text: str) -> datetime:
    """The time that a commit states, in UTC."""
    # Anyone can write any number into a commit: keep to what a calendar holds.
    try:
        return datetime.fromtimestamp(min(max(int(text), 0), 253402300799), UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _make(store: Path, url: GitURL, length: int) -> None:
    """An empty bare repository. Written by hand: `git init` costs a process."""
    for name in ("objects/pack", "objects/info", "refs"):
        (store / name).mkdir(parents=True)
    format_ = "\tobjectFormat = sha256\n" if length == 64 else ""
    address = url.text.replace("\\", "\\\\").replace('"', '\\"')
    (store / "config").write_text(
        "[core]\n\trepositoryformatversion = 1\n\tbare = true\n"
        f"[extensions]\n\tpartialClone = origin\n{format_}"
        f'[remote "origin"]\n\turl = "{address}"\n\tpromisor = true\n\tpartialclonefilter = blob:none\n'
    )
    (store / "HEAD").write_text("ref: refs/heads/none\n")


def _has_ref(store: Path, commit: str) -> bool:
    if not FULL_ID.fullmatch(commit):
        raise RepositoryError(f"{commit!r} is not the id of a commit.")
    if (store / "refs" / "rebind" / commit).exists():
        return True
    with suppress(OSError):  # `git repack` and `git pack-refs` may have moved it there
        return f" refs/rebind/{commit}\n" in (store / "packed-refs").read_text()
    return False


def _sweep(store: Path) -> None:
    """Removes what a killed git left: its locks stop every later one. Ours is held, so nobody uses them."""
    for found in [*store.glob("*.lock"), *store.glob("refs/**/*.lock"), *store.glob("objects/pack/tmp_*")]:
        with suppress(OSError):
            found.unlink()


def growth(path: Path, pattern: str) -> Callable[[], int]:
    """A function that says by how many bytes the files of that pattern have grown since now."""

    def size() -> int:
        total = 0
        for found in path.glob(pattern):
            with suppress(OSError):
                total += found.stat().st_size
        return total

    before = size()
    return lambda: size() - before


def _wait(lock: int, how: int, watch: Watch) -> None:
    while True:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            watch.check()
            time.sleep(0.05)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    fresh.write_text(text)
    fresh.replace(path)
