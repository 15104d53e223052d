"""The provider `git`: any URL that git reads, over http(s), git, ssh and, where that is allowed, file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from rebind.errors import AddressError, RepositoryError
from rebind.providers.access import PROTOCOLS, Access
from rebind.providers.addresses import GitURL, parse_url
from rebind.providers.cache import Cache
from rebind.providers.checkout import BrokenStoreError, Wanted, tree, write_files, write_git
from rebind.providers.command import Git, Watch
from rebind.providers.forges import read_page
from rebind.providers.refs import (
    FULL_ID,
    Advertised,
    Choice,
    by_prefix,
    candidates,
    check_ref,
    choose,
    hex_part,
    is_default,
    names_of,
    not_found,
)
from rebind.providers.submodules import fetch_submodules
from rebind.values import Commit, Report, Spec

__all__ = ["GitProvider"]


class GitProvider:
    """Repositories that git reads over the network.

    `cache`: a directory of its own. `proxy_url`: the HTTP proxy through which everything goes (None: directly).
    `allow_local`: whether `file://` and the person's own ssh keys may be used; never where strangers ask.
    `credentials`: lines `username=`, `password=` and perhaps `host=`; None takes GIT_CREDENTIAL_ENV of the environment.
    Without a `host=` they go to the asked repository's own server, and only if `allow_local`.
    """

    name = "git"
    display: ClassVar[dict[str, Any]] = {
        "displayName": "Git repository",
        "id": "git",
        "spec": {"validateRegex": "[^/]+/.+"},
        "repo": {"label": "Address of a Git repository", "placeholder": "https://example.org/a/b", "urlEncode": True},
        "ref": {"enabled": True, "default": "HEAD"},
    }

    def __init__(
        self,
        *,
        cache: Path,
        proxy_url: str | None = None,
        allow_local: bool = False,
        allowed_protocols: Sequence[str] = PROTOCOLS,
        credentials: str | None = None,
        ssh_key: Path | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.cache = cache
        self.access = Access(
            home=cache / "home",
            allow_local=allow_local,
            proxy_url=proxy_url,
            allowed_protocols=tuple(allowed_protocols),
            credentials=credentials,
            own_ssh=allow_local,
            ssh_key=ssh_key,
            timeout=timeout or None,
            max_bytes=max_bytes or None,
        )
        self.git = Git(self.access)

    def detect(self, address: str) -> Spec | None:
        """A URL, `user@host:path`, `github.com/a/b`, or a page of a forge that shows a branch, tag or commit."""
        page = read_page(address)
        return None if page is None else Spec(self.name, page.url.text, page.ref)

    def parse(self, raw_spec: str) -> Spec:
        """`enc(url)/ref`, both percent-encoded; split at the first slash. A missing ref is no ref."""
        url, _, ref = raw_spec.strip("/").partition("/")
        try:
            address, ref = unquote(url, errors="strict"), unquote(ref, errors="strict")
        except UnicodeDecodeError:
            raise AddressError(f"The link {raw_spec!r} is not UTF-8.", remedy="Encode its address as UTF-8.") from None
        if address.endswith(":"):
            raise AddressError(
                f"The address in the link {raw_spec!r} is not percent-encoded.",
                remedy="Write it like git/https%3A%2F%2Fexample.org%2Fname/HEAD.",
            )
        parsed = parse_url(address)
        if parsed.scp:  # the launch API writes it so
            parsed = replace(parsed, scp=False, path="/" + parsed.path.lstrip("/"))
        return Spec(self.name, parsed.text, check_ref(ref))

    def resolve(self, spec: Spec) -> Commit:
        """Branch, then tag, then commit; see `rebind.providers.Provider.resolve`."""
        url = self.access.check(parse_url(spec.repository))
        cache = Cache(self.cache, url, self.git)
        ref = spec.ref or None
        for candidate in candidates(ref) if ref else []:
            check_ref(candidate)
        watch = self._watch(url)
        choice = self._choose(cache, ref, watch)
        commit, date = choice.id, cache.learn(choice.id, watch)
        spec = replace(spec, ref=choice.ref or spec.ref)
        cache.remember(spec.ref, commit, choice.branch)
        return Commit(spec, commit, date, url.identity)

    def _choose(self, cache: Cache, ref: str | None, watch: Watch) -> Choice:
        if ref is None or is_default(ref):
            advertised = cache.advertised(["HEAD"], watch)
            if "HEAD" not in advertised.ids:
                raise RepositoryError(
                    f"{cache.url.text} is empty: it has no commit.", remedy="Push one, or give --ref."
                )
            return Choice(advertised.ids["HEAD"], advertised.default)
        if FULL_ID.fullmatch(ref.removeprefix("origin/")):
            return Choice(ref.removeprefix("origin/"))
        short = hex_part(ref)
        patterns = [] if short else [name for part in candidates(ref) for name in names_of(part)]
        # `^{}` is the commit that an annotated tag stands for.
        patterns += [f"{name}^{{}}" for name in patterns if "/tags/" in name]
        advertised = cache.advertised([*patterns, "HEAD"] if patterns else [], watch)
        return choose(ref, advertised) or self._short(cache, ref, short, advertised, watch)

    def _short(self, cache: Cache, ref: str, short: str, advertised: Advertised, watch: Watch) -> Choice:
        commit = None
        if FULL_ID.fullmatch(short):
            commit = short
        elif short:
            commit = by_prefix(short, advertised) or cache.lookup(short, watch)
        if commit is None:
            raise not_found(ref, cache.url.text, advertised)
        return Choice(commit, ref=candidates(ref)[-1])

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """Only the wanted commit: alone for no ref and HEAD, with its own history for any other ref."""
        url = self.access.check(parse_url(commit.spec.repository))
        history = not is_default(commit.spec.ref)
        watch = self._watch(url, report)
        into.mkdir()
        try:
            branch = Cache(self.cache, url, self.git).branch(commit.spec.ref, commit.id)
            self._fetch(url, Wanted(commit.id, history, branch), into, watch, 0)
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise

    def _fetch(self, url: GitURL, wanted: Wanted, into: Path, watch: Watch, depth: int) -> None:
        cache = Cache(self.cache, url, self.git)
        origin = replace(url, user="").text if url.protocol in ("http", "https") else url.text
        wanted = replace(wanted, origin=origin, url=url, lfs=cache.path / "lfs")
        try:
            self._take(cache, wanted, into, watch)
        except BrokenStoreError:
            cache.drop(watch)
            _clear(into)
            try:
                self._take(cache, wanted, into, watch)
            except BrokenStoreError as error:
                raise RepositoryError(f"{url.text} could not be read.", detail=str(error)) from error
        files = tree(self.git, into, wanted, watch)
        write_files(self.git, into, wanted, watch, files)

        def inner(address: GitURL, commit: str, place: Path, deeper: int) -> None:
            self.fetch_submodule(address, commit, place, replace(watch, named=address.text), deeper)

        fetch_submodules(self.git, into, wanted.commit, files.links, url, watch, inner, depth)

    def fetch_submodule(self, url: GitURL, commit: str, into: Path, watch: Watch, depth: int) -> None:
        """Writes one commit, without history, into an empty directory; its own submodules too."""
        self._fetch(url, Wanted(commit, False), into, watch, depth)

    def _take(self, cache: Cache, wanted: Wanted, into: Path, watch: Watch) -> None:
        source = cache.obtain(wanted.commit, wanted.history, watch)
        with cache.locked(watch, shared=True):
            write_git(self.git, source.git_dir, wanted, into, watch)
        cache.tidy(source)

    def _watch(self, url: GitURL, report: Report | None = None) -> Watch:
        limit = self.access.timeout
        return Watch(report, time.monotonic() + limit if limit else None, named=url.text)


def _clear(into: Path) -> None:
    shutil.rmtree(into)
    into.mkdir()
