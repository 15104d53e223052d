"""The provider `local`: a plain folder, a git checkout or a bare repository of this machine."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from rebind.errors import AddressError, RefNotFoundError, RefusedError, RepositoryError
from rebind.providers.addresses import GitURL, parse_url
from rebind.providers.cache import commit_date, find_commit, moment
from rebind.providers.checkout import BrokenStoreError, Wanted, refresh, tree, write_files, write_git
from rebind.providers.command import Git, Watch
from rebind.providers.folder import read_folder
from rebind.providers.git import GitProvider
from rebind.providers.refs import Advertised, Choice, by_prefix, check_ref, choose, hex_part, is_default, not_found
from rebind.providers.submodules import fetch_submodules
from rebind.providers.worktree import (
    LocalRepository,
    State,
    advertised,
    borrowed,
    find_repository,
    origin,
    state,
)
from rebind.values import Commit, Event, Phase, Report, Spec

__all__ = ["LocalProvider"]

CONTENT = "sha256-"


class LocalProvider:
    """Directories of this machine.

    A git checkout without a ref is taken as its files are: named by its commit while they are exactly that, else by
    a digest of the content. With a ref (`HEAD` too), or from a bare repository, only what was committed is taken.
    """

    name = "local"

    def __init__(
        self,
        *,
        cache: Path,
        allow_local: bool = True,
        proxy_url: str | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.cache = cache
        self.allow_local = allow_local
        # For submodules, which may be anywhere.
        self.remote = GitProvider(
            cache=cache, allow_local=allow_local, proxy_url=proxy_url, timeout=timeout, max_bytes=max_bytes
        )
        self.git: Git = self.remote.git

    def detect(self, address: str) -> Spec | None:
        """An existing directory. A file is none."""
        with suppress(OSError, ValueError):
            if address and self.allow_local and Path(address).is_dir():
                return Spec(self.name, str(Path(address).absolute()))
        return None

    def parse(self, raw_spec: str) -> Spec:
        """`enc(/absolute/path)/ref`."""
        path, _, ref = raw_spec.rstrip("/").partition("/")
        try:
            path, ref = unquote(path, errors="strict"), unquote(ref, errors="strict")
        except UnicodeDecodeError:
            raise AddressError(f"The link {raw_spec!r} is not UTF-8.") from None
        if not path.startswith("/") or "\0" in path or "\n" in path or len(path) > 4096:
            raise AddressError(f"{path!r} is not an absolute path.", remedy="Write it like local/%2Fhome%2Fme%2Fwork.")
        return Spec(self.name, path, check_ref(ref))

    def resolve(self, spec: Spec) -> Commit:
        """See `rebind.providers.Provider.resolve`. Content without a commit is dated today, by its UTC day."""
        root = self._root(spec)
        watch = self._watch(root)
        ref = check_ref(spec.ref.rstrip("/")) if spec.ref else None
        identity = "/".join(["local", *(name for name in str(root.resolve()).split("/") if name)])
        repository = find_repository(root)
        names = advertised(self.git, repository, watch) if repository else Advertised({})
        if repository is None or (not names.ids and is_default(ref) and not repository.bare):
            if not is_default(ref):
                raise RefNotFoundError(f"{root} is not a git repository, so it has no {ref!r}.", remedy="Leave it out.")
            return Commit(spec, self._content(root, watch), _today(), identity)
        commit = self._choose(repository, ref, names, watch).id
        with borrowed(repository, self.cache / "tmp", commit) as store:
            text = commit_date(self.git, store, commit)
            if text is None:
                raise not_found(ref or commit, str(root), names)
            if repository.bare or ref is not None:
                return Commit(spec, commit, moment(text), identity)
            now = state(self.git, repository, store, watch, self.cache / "tmp")
        if now is State.CLEAN:
            return Commit(spec, commit, moment(text), identity)
        # Ignored files are no newer work, so they do not move the date to today.
        when = moment(text) if now is State.IGNORED else _today()
        return Commit(spec, self._content(root, watch), when, identity)

    def _choose(self, repository: LocalRepository, ref: str | None, names: Advertised, watch: Watch) -> Choice:
        if ref is None or is_default(ref):
            if "HEAD" not in names.ids:
                raise RepositoryError(f"{repository.root} is empty: it has no commit.", remedy="Commit something.")
            return Choice(names.ids["HEAD"], names.default)
        if found := choose(ref, names):
            return found
        # In a clone, a branch may be known only as the remote's.
        for name in (f"refs/remotes/{ref}", f"refs/remotes/origin/{ref}"):
            if name in names.ids:
                return Choice(names.ids[name], ref.removeprefix("origin/"))
        short = hex_part(ref)
        commit = by_prefix(short, names) if short else None
        if short and commit is None:
            with borrowed(repository, self.cache / "tmp", next(iter(names.ids.values()), "0" * 40)) as store:
                commit = find_commit(self.git, store, short)
        if commit is None:
            raise not_found(ref, str(repository.root), names)
        return Choice(commit)

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """Copies the files as they are, or writes those of the commit; see the class."""
        root = self._root(commit.spec)
        watch = self._watch(root, report)
        report(Event(Phase.FETCHING, f"Copying {root}\n"))
        into.mkdir()
        try:
            if commit.id.startswith(CONTENT):
                self._copy(commit.id, root, into, watch)
            else:
                self._checkout(commit, root, into, watch)
        except BrokenStoreError as error:
            shutil.rmtree(into, ignore_errors=True)
            raise RepositoryError(
                f"The repository {root} is damaged.", remedy="`git fsck` there says more.", detail=str(error)
            ) from error
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise

    def _copy(self, wanted: str, root: Path, into: Path, watch: Watch) -> None:
        seen = read_folder(root, watch, into)
        if f"{CONTENT}{seen.digest}" != wanted:
            raise RepositoryError(f"{root} was changed while it was read.", remedy="Try again once it is at rest.")
        for nested in ["", *seen.nested]:
            self._copy_git(root / nested, into / nested, watch)

    def _copy_git(self, root: Path, into: Path, watch: Watch) -> bool:
        """Makes the `.git` of a copied work tree. Whether its files are those of its HEAD."""
        repository = find_repository(root)
        names = advertised(self.git, repository, watch) if repository and not repository.bare else Advertised({})
        if repository is None or "HEAD" not in names.ids:
            return False
        head = names.ids["HEAD"]
        url = origin(self.git, repository)
        wanted = Wanted(head, True, names.default, url.text if url else "")
        with borrowed(repository, self.cache / "tmp", head, names) as store:
            write_git(self.git, store, wanted, into, watch)
        return refresh(self.git, into, wanted, watch)

    def _checkout(self, commit: Commit, root: Path, into: Path, watch: Watch) -> None:
        repository = find_repository(root)
        if repository is None:
            raise RepositoryError(f"{root} is no longer a git repository.", remedy="Look what became of it.")
        names = advertised(self.git, repository, watch)
        as_it_is = not commit.spec.ref and not repository.bare and names.ids.get("HEAD") == commit.id
        if as_it_is:
            seen = read_folder(root, watch, into)
            nested = [self._copy_git(root / path, into / path, watch) for path in seen.nested]
            if self._copy_git(root, into, watch) and all(nested):
                return
            # Changed since it was resolved: what was promised is the commit.
            shutil.rmtree(into)
            into.mkdir()
        self._committed(commit, repository, names, into, watch)

    def _committed(
        self, commit: Commit, repository: LocalRepository, names: Advertised, into: Path, watch: Watch
    ) -> None:
        place = parse_url(str(repository.root))
        url = origin(self.git, repository)
        branch = self._branch(commit, repository, names, watch)
        wanted = Wanted(commit.id, True, branch, (url or place).text, place)
        with borrowed(repository, self.cache / "tmp", commit.id, names) as store:
            write_git(self.git, store, wanted, into, watch)
        files = tree(self.git, into, wanted, watch)
        write_files(self.git, into, wanted, watch, files)

        def inner(address: GitURL, inner_commit: str, where: Path, depth: int) -> None:
            self.remote.fetch_submodule(address, inner_commit, where, replace(watch, named=address.text), depth)

        fetch_submodules(self.git, into, commit.id, files.links, url or place, watch, inner, 0)

    def _branch(self, commit: Commit, repository: LocalRepository, names: Advertised, watch: Watch) -> str:
        with suppress(RepositoryError):
            choice = self._choose(repository, commit.spec.ref, names, watch)
            return choice.branch if choice.id == commit.id else ""
        return ""

    def _content(self, root: Path, watch: Watch) -> str:
        return CONTENT + read_folder(root, watch).digest

    def _root(self, spec: Spec) -> Path:
        if not self.allow_local:
            raise RefusedError(
                "Paths of this machine may not be read here.", remedy="Give the address of a repository on the network."
            )
        root = Path(spec.repository)
        if not root.is_absolute() or "\0" in spec.repository:
            raise AddressError(f"{spec.repository!r} is not an absolute path.")
        if not root.is_dir():
            what = "is a file, not a folder" if root.exists() else "does not exist"
            raise RepositoryError(f"{root} {what}.", remedy="Give the path of a folder, or a repository's URL.")
        if not os.access(root, os.R_OK | os.X_OK):
            raise RepositoryError(f"{root} may not be read.", remedy="Give it read permission.")
        return root.resolve()

    def _watch(self, root: Path, report: Report | None = None) -> Watch:
        limit = self.remote.access.timeout
        deadline = time.monotonic() + limit if limit else None
        return Watch(report, deadline, max_bytes=self.remote.access.max_bytes, named=str(root))


def _today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
