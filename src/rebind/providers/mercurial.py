"""The provider `hg`: Mercurial repositories."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from rebind.errors import AddressError, RefNotFoundError, RefusedError, RepositoryError
from rebind.providers.access import Access
from rebind.providers.addresses import GitURL, parse_url
from rebind.providers.cache import growth, moment
from rebind.providers.command import Call, Finished, Program, Watch, program
from rebind.providers.failures import explain
from rebind.providers.texts import printable
from rebind.values import Commit, Report, Spec

HOSTS = frozenset({"foss.heptapod.net", "heptapod.host"})
"""Hosts of Mercurial repositories; those called `hg.` something are as well."""
_REF = re.compile(r"(?!-)[^\x00-\x1f\x7f'\"\\\u2028\u2029]{1,500}")
_NOT_COMMITTED = "f" * 40  # the id that Mercurial gives to changed files
_FULL_ID = re.compile(r"[0-9a-f]{40}")

# Nothing but the repository itself is fetched, and nothing of it is run.
_CONFIG = (
    "ui.interactive=no",
    "ui.clonebundles=no",
    "ui.ssh=false",
    "subrepos.allowed=no",
    "extensions.lfs=!",
    "extensions.largefiles=!",
    "extensions.git=!",
    "phases.publish=no",
    "progress.disable=yes",
)
# Whatever a server redirects to, only http and https are ways out, as they alone go through the proxy.
_GUARD = """import urllib.request
def refuse(*_):
    raise OSError("only http and https are allowed")
urllib.request.FTPHandler.ftp_open = refuse
urllib.request.FileHandler.file_open = refuse
"""


class Hg(Program):
    """hg, with no configuration but ours."""

    def command(self, call: Call) -> list[str]:
        guard = self.access.home / "guard.py"
        if not guard.exists():
            guard.write_text(_GUARD)
        options = [*_CONFIG, f"extensions.rebindguard={guard}"]
        if self.access.proxy_url:
            options += [f"http_proxy.host={urlsplit(self.access.proxy_url).netloc}", "http_proxy.always=yes"]
        if authorities := os.environ.get("SSL_CERT_FILE"):
            options.append(f"web.cacerts={authorities}")
        return [program("hg", "mercurial"), *(part for option in options for part in ("--config", option))]

    def environment(self, call: Call) -> dict[str, str]:
        kept = {
            "PATH",
            "TMPDIR",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "HOME",
            "LC_ALL",
            "http_proxy",
            "https_proxy",
            "no_proxy",
        }
        variables = {name: text for name, text in self.access.environment(call.url).items() if name in kept}
        own = {"HGRCPATH": "", "HGRCSKIPREPO": "1"}  # no configuration, least of all that of a stranger's repository
        return variables | own | {"HGPLAIN": "1", "HGENCODING": "utf-8", "CHGDISABLE": "1"}


class HgProvider:
    """`hg+https://...`, and http(s) addresses at hosts that are known for Mercurial. Sub-repositories are not fetched.

    `cache`: a directory of its own. `allow_local`: whether `file://` addresses may be read; never where strangers ask.
    A ref is a bookmark, tag, branch, commit or topic.
    """

    name = "hg"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Mercurial repository",
        "id": "hg",
        "spec": {"validateRegex": "[^/]+/.+"},
        "detect": {"regex": r"^(?:hg\+)?(?<repo>https?://(?:hg\.[^/\s]+|foss\.heptapod\.net|heptapod\.host)/\S+?)/?$"},
        "repo": {
            "label": "Address of a Mercurial repository",
            "placeholder": "https://hg.example.org/a",
            "urlEncode": True,
        },
        "ref": {"enabled": True, "default": "default"},
    }

    def __init__(
        self,
        *,
        cache: Path,
        proxy_url: str | None = None,
        allow_local: bool = False,
        timeout: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.cache = cache
        protocols = ("http", "https")
        self.access = Access(
            home=cache / "home",
            allow_local=allow_local,
            proxy_url=proxy_url,
            allowed_protocols=protocols,
            credentials="",
            timeout=timeout or None,
            max_bytes=max_bytes or None,
        )
        self.hg = Hg(self.access)

    def detect(self, address: str) -> Spec | None:
        """`hg+` before a URL; a host of Mercurial; a `file://` address of a directory that holds `.hg`."""
        stated = address.strip()
        plain = stated[3:] if stated.lower().startswith("hg+") else stated
        if not re.match(r"(?:https?|file)://", plain, re.IGNORECASE) or plain.rstrip("/").endswith(".git"):
            if plain != stated:
                raise AddressError(f"{printable(stated)!r} is no address of Mercurial.", remedy="Write hg+https://...")
            return None
        host = plain.partition("://")[2].partition("/")[0].lower()
        if plain == stated and not (host in HOSTS or host.startswith("hg.") or self._is_local(plain)):
            return None
        return Spec(self.name, parse_url(plain.partition("#")[0].rstrip("/")).text)

    def _is_local(self, address: str) -> bool:
        path = unquote(address.removeprefix("file://"))
        return self.access.allow_local and path.startswith("/") and "\0" not in path and Path(path, ".hg").is_dir()

    def parse(self, raw_spec: str) -> Spec:
        """`enc(url)/ref`, both percent-encoded."""
        url, _, ref = raw_spec.strip("/").partition("/")
        try:
            address, ref = unquote(url, errors="strict"), unquote(ref, errors="strict")
        except UnicodeDecodeError:
            raise AddressError(f"The link {raw_spec[:200]!r} is not UTF-8.") from None
        parsed = parse_url(address.removeprefix("hg+"))
        if parsed.protocol not in ("http", "https", "file"):
            raise RefusedError(f"Mercurial repositories are not fetched over {parsed.protocol}.", remedy="Use https.")
        return Spec(self.name, parsed.text, _checked(ref) if ref and ref != "HEAD" else None)

    def resolve(self, spec: Spec) -> Commit:
        """Brings the kept copy up to date and looks the ref up there. See `rebind.providers.Provider.resolve`."""
        url = self.access.check(parse_url(spec.repository))
        ref = _checked(spec.ref) if spec.ref and spec.ref != "HEAD" else None
        watch = self._watch(url)
        with self._copy(url, watch) as copy:
            if not (ref and _FULL_ID.fullmatch(ref) and self._look(copy, ref, watch)):
                self._pull(copy, url, watch)
            for name in [ref] if ref else ["@", "default", "tip"]:
                found = self._look(copy, name, watch)
                if found:
                    break
        if not found:
            raise RefNotFoundError(
                f"{url.text} has no branch, tag, topic or commit {ref or 'default'!r}.",
                remedy="Look whether the name is spelled right and was pushed.",
            )
        id, _, seconds = found.partition(" ")
        identity = "hg/" + url.identity.partition("/")[2]
        link = f"{quote(url.text, safe='')}/{id}"
        return Commit(spec, id, moment(seconds.split()[0]), identity, link, url.text)

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """The commit with its history; `.hg` works by itself."""
        url = self.access.check(parse_url(commit.spec.repository))
        if not _FULL_ID.fullmatch(commit.id):
            raise RepositoryError(f"{commit.id!r} is not the id of a commit.")
        watch = self._watch(url, report)
        try:
            with self._copy(url, watch) as copy:
                if not self._look(copy, commit.id, watch):
                    self._pull(copy, url, watch)
                # --pull: no hard links to the kept copy, whose files must stay as they are.
                asked = ["clone", "--pull", "--rev", commit.id, "--updaterev", commit.id, "--", str(copy), str(into)]
                self._sound(self.hg.run(Call(asked, watch=self._limited(watch, into))), url)
            (into / ".hg" / "hgrc").write_text(f"[paths]\ndefault = {url.text}\n")
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise

    def _pull(self, copy: Path, url: GitURL, watch: Watch) -> None:
        watch = self._limited(watch, copy)
        address = unquote(url.path) if url.is_local else url.text
        if (copy / ".hg" / "requires").exists():
            done = self.hg.run(Call(["--cwd", str(copy), "pull", "--force", "--", address], url=url, watch=watch))
            if done.code == 0:
                return
            raise self._error(done, url)
        fresh = copy.with_name("new")
        shutil.rmtree(fresh, ignore_errors=True)
        asked = ["clone", "--pull", "--noupdate", "--", address, str(fresh)]
        self._sound(self.hg.run(Call(asked, url=url, watch=self._limited(watch, fresh))), url)
        fresh.rename(copy)

    def _look(self, copy: Path, name: str, watch: Watch) -> str:
        """Id and date of a ref, '' if there is none of that name."""
        if not (copy / ".hg" / "requires").exists():
            return ""
        # A topic, which is written in its commits, is known so without the extension that makes them.
        for revset in (f'"{name}"', f'last(extra("topic", "literal:{name}"))'):
            template = "{node} {date|hgdate}\n"
            asked = ["--cwd", str(copy), "log", "--limit", "1", "--template", template, "--rev", revset]
            done = self.hg.run(Call(asked, watch=replace(watch, report=None)))
            if done.code == 0 and _FULL_ID.match(done.text) and not done.text.startswith(_NOT_COMMITTED):
                return done.text.strip()
        return ""

    def _sound(self, done: Finished, url: GitURL) -> None:
        if done.code != 0:
            raise self._error(done, url)

    def _error(self, done: Finished, url: GitURL) -> Exception:
        if "subrepos not enabled" in done.error or "subrepos are not enabled" in done.error:
            return RepositoryError(f"{url.text} holds sub-repositories, which are not fetched.", detail=done.error)
        return explain(url.text, done.error)

    def _limited(self, watch: Watch, path: Path) -> Watch:
        return replace(watch, size=growth(path, "**/*"), max_bytes=self.access.max_bytes)

    def _watch(self, url: GitURL, report: Report | None = None) -> Watch:
        limit = self.access.timeout
        return Watch(report, time.monotonic() + limit if limit else None, named=url.text)

    @contextmanager
    def _copy(self, url: GitURL, watch: Watch) -> Iterator[Path]:
        """Where the kept copy is or is to be. Only one process uses it at a time."""
        place = self.cache / hashlib.sha256(url.text.encode()).hexdigest()[:32]
        place.mkdir(parents=True, exist_ok=True)
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    watch.check()
                    time.sleep(0.05)
            yield place / "copy"
        finally:
            os.close(lock)


def _checked(ref: str) -> str:
    if not _REF.fullmatch(ref):
        raise AddressError(
            f"{printable(ref)!r} cannot be the name of a branch, tag or commit.", remedy="Give one of these names."
        )
    return ref
