"""Forges: short links to repositories that git fetches. What they share, and those that are no more than that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from rebind.errors import AddressError
from rebind.providers.forges import read_page
from rebind.providers.git import GitProvider
from rebind.providers.refs import check_ref
from rebind.providers.texts import CONTROL, printable
from rebind.values import Commit, Report, Spec

_NAME = re.compile(r"[A-Za-z0-9_.~][A-Za-z0-9_.~-]{0,199}", re.ASCII)


class ForgeProvider:
    """Links `owner/name/ref`. Repository, files, cache and identity are those of the provider `git`."""

    name: str
    title: ClassVar[str]
    display: ClassVar[dict[str, Any] | None] = None
    hosts: ClassVar[frozenset[str]] = frozenset()
    """Other names of the server."""
    tree = "tree"

    def __init__(self, *, git: GitProvider, base_url: str) -> None:
        self.git = git
        self.base_url = base_url.rstrip("/")

    def detect(self, address: str) -> Spec | None:
        """A page of the forge, by http(s); ssh addresses are left to `git`, as they need a key."""
        page = read_page(address)
        if page is None or page.url.protocol not in ("http", "https"):
            return None
        if page.url.server.removeprefix("www.") not in (urlsplit(self.base_url).netloc, *self.hosts):
            return None
        project = self.project(unquote(page.url.path).strip("/").split("/"))
        return Spec(self.name, self.clone_url(project), page.ref) if project else None

    def project(self, names: Sequence[str]) -> str:
        """The project of a page's path; '' if it shows none."""
        return "/".join([*names[:-1], bare(names[-1])]) if len(names) == 2 and good(names) else ""

    def clone_url(self, project: str) -> str:
        return f"{self.base_url}/{project}"

    def parse(self, raw_spec: str) -> Spec:
        """`owner/name/ref`, split at the first two slashes; the ref may hold more of them, or be percent-encoded."""
        owner, _, rest = raw_spec.strip("/").partition("/")
        name, _, ref = rest.partition("/")
        return self.spec([text(owner), text(name)], text(ref), raw_spec)

    def spec(self, names: Sequence[str], ref: str, raw_spec: str) -> Spec:
        """Raises AddressError."""
        if not good(names):
            raise AddressError(
                f"{printable(raw_spec)!r} names no repository of {self.title}.",
                remedy=f"Write it like {self.name}/owner/name/HEAD.",
            )
        return Spec(self.name, self.clone_url("/".join([*names[:-1], bare(names[-1])])), check_ref(ref))

    def resolve(self, spec: Spec) -> Commit:
        """See `rebind.providers.Provider.resolve`."""
        return self.linked(self.git.resolve(spec))

    def linked(self, commit: Commit) -> Commit:
        """The commit with its link and page."""
        project = self.project_of(commit.spec)
        link, page = f"{self.link_of(project)}/{commit.id}", f"{self.base_url}/{project}/{self.tree}/{commit.id}"
        return replace(commit, link=link, page=page)

    def link_of(self, project: str) -> str:
        return quote(project, safe="/~")

    def project_of(self, spec: Spec) -> str:
        return spec.repository.removeprefix(f"{self.base_url}/").strip("/")

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """As `git` does it."""
        self.git.fetch(commit, into, report)


class BitbucketProvider(ForgeProvider):
    """`bitbucket/workspace/name/ref`, at bitbucket.org."""

    name = "bitbucket"
    title = "Bitbucket"
    tree = "src"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Bitbucket",
        "id": "bitbucket",
        "spec": {"validateRegex": "[^/]+/[^/]+/.+"},
        "detect": {"regex": r"^(?:https?://)?(?:www\.)?bitbucket\.org/(?<repo>[^/\s?#]+/[^/\s?#]+?)(?:\.git)?/?$"},
        "repo": {
            "label": "Bitbucket repository",
            "placeholder": "https://bitbucket.org/owner/name",
            "urlEncode": False,
        },
        "ref": {"enabled": True, "default": "HEAD"},
    }

    def __init__(self, *, git: GitProvider, base_url: str = "https://bitbucket.org") -> None:
        super().__init__(git=git, base_url=base_url)


class HuggingFaceProvider(ForgeProvider):
    """`hf/owner/name/ref`, `hf/datasets/owner/name/ref` and `hf/spaces/owner/name/ref`, at huggingface.co."""

    name = "hf"
    title = "Hugging Face"
    hosts: ClassVar[frozenset[str]] = frozenset({"hf.co"})
    kinds = ("datasets", "spaces")
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "Hugging Face",
        "id": "hf",
        "spec": {"validateRegex": "[^/]+/[^/]+/.+"},
        "detect": {
            "regex": r"^(?:https?://)?(?:huggingface\.co|hf\.co)/(?<repo>(?:(?:datasets|spaces)/)?[^/\s?#]+/[^/\s?#]+)/?$"
        },
        "repo": {"label": "Hugging Face repository", "placeholder": "example: spaces/owner/name", "urlEncode": False},
        "ref": {"enabled": True, "default": "HEAD"},
    }

    def __init__(self, *, git: GitProvider, base_url: str = "https://huggingface.co") -> None:
        super().__init__(git=git, base_url=base_url)

    def detect(self, address: str) -> Spec | None:
        """A repository's page, or one below it that shows a ref."""
        found = address.strip().removeprefix("https://").removeprefix("http://").partition("?")[0].partition("#")[0]
        host, _, path = found.partition("/")
        if host.lower() not in (urlsplit(self.base_url).netloc, *self.hosts) or CONTROL.search(path):
            return None
        names = [unquote(name) for name in path.split("/") if name]
        count = self._count(names)
        if len(names) < count or not good(names[:count]):
            return None
        shown = names[count + 1 :] if names[count : count + 1] in (["tree"], ["blob"], ["resolve"], ["raw"]) else []
        ref = None if not shown else shown[0] if len(shown) == 1 else f"{'/'.join(shown)}/"
        return Spec(self.name, self.clone_url("/".join([*names[: count - 1], bare(names[count - 1])])), ref)

    def parse(self, raw_spec: str) -> Spec:
        parts = raw_spec.strip("/").split("/")
        count = self._count(parts)
        return self.spec([text(part) for part in parts[:count]], text("/".join(parts[count:])), raw_spec)

    def _count(self, names: Sequence[str]) -> int:
        return 3 if names[:1] and names[0] in self.kinds else 2


def good(names: Sequence[str]) -> bool:
    """Whether these may be names of an owner and a repository."""
    return len(names) > 1 and all(_NAME.fullmatch(name) and name.strip(".") for name in names)


def bare(name: str) -> str:
    """The name without `.git`."""
    return name.removesuffix(".git") or name


def text(part: str) -> str:
    """A part of a link, decoded. AddressError."""
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise AddressError(f"The link {part[:200]!r} is not UTF-8.", remedy="Encode it as UTF-8.") from None
