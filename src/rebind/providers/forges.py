"""Web pages of the common forges, and other forms that people paste: which repository and ref they show."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from rebind.errors import AddressError
from rebind.providers.addresses import GitURL, parse_url

FORGES = frozenset({"github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "gist.github.com"})
_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?::\d{1,5})?")
_SHOWN = frozenset({"tree", "blob", "raw", "blame", "edit", "commits", "-"})


@dataclass(frozen=True, slots=True)
class Page:
    """A repository as a web page shows it."""

    url: GitURL
    shown: str = ""
    """Ref and path as the page's address holds them, in one; where the ref ends only the repository knows."""
    whole: bool = True
    """`shown` is a ref to its end."""

    @property
    def ref(self) -> str | None:
        """The ref to ask for. One that ends in `/` may be a ref and a path: the longest ref that exists counts."""
        if not self.shown:
            return None
        first = self.shown.partition("/")[0]
        if self.whole or first == self.shown:
            return self.shown
        return first if re.fullmatch(r"[0-9a-f]{40}|HEAD", first) else f"{self.shown}/"


def read_page(address: str) -> Page | None:
    """Reads any address that a person pastes. None if it is none of a git repository.

    Raises AddressError for one that is, but may never be fetched.
    """
    text = address.strip()
    if "://" not in text and not text.startswith(("/", "-", ".")) and "@" not in text:
        domain, _, rest = text.partition("/")
        known = domain.lower().removeprefix("www.") in FORGES
        if not _DOMAIN.fullmatch(domain) or not rest.strip("/") or not (known or ".git" in rest):
            return None
        text = f"https://{text}"
    elif "://" not in text and not re.match(r"[^/\s:@]+@[^/\s:@]+:(?!//)", text):
        return None
    scheme = text.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return _read_web(text)
    return Page(parse_url(text)) if scheme in _GIT_SCHEMES or "://" not in text else None


def page_path(address: str, ref: str) -> str:
    """The path inside the repository that a pasted page shows, once its ref is known; '' if it shows none."""
    try:
        page = read_page(address)
    except AddressError:
        return ""
    if page is None or page.whole or not page.shown.startswith(f"{ref}/"):
        return ""
    return page.shown[len(ref) + 1 :].strip("/")


_GIT_SCHEMES = frozenset({"ssh", "git", "file", "git+ssh", "ssh+git", "git+https", "git+http"})


def _read_web(text: str) -> Page:
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower().removeprefix("www.")
    except ValueError:
        return Page(parse_url(text))  # which says what is wrong with it
    names = [unquote(name) for name in parts.path.split("/") if name]
    keep, shown, whole = _split(host, names)
    bare = text.partition("#")[0]
    if host in FORGES or keep < len(names):
        bare = bare.partition("?")[0]
    if keep < len(names):
        raw = [name for name in parts.path.split("/") if name][:keep]
        bare = f"{parts.scheme}://{parts.netloc}/{'/'.join(raw)}"
    return Page(parse_url(bare.rstrip("/")), "/".join(shown).strip("/"), whole)


def _split(host: str, names: list[str]) -> tuple[int, list[str], bool]:
    """How many names are the repository's, which are shown of it, and whether those are a ref to their end."""
    if "-" in names[2:-1]:  # GitLab, on any host: group/.../project/-/tree/ref/path
        at = names.index("-", 2)
        return (at, *_shown(names[at + 1 :]))
    if len(names) > 4 and names[2] == "src" and names[3] in ("branch", "tag", "commit"):  # Gitea, Forgejo
        return (2, names[4:], False)
    if host == "gist.github.com":
        return (min(2, len(names)), names[2:3], True)
    if host == "bitbucket.org" and len(names) > 3 and names[2] in ("src", "branch", "commits"):
        return (2, names[3:], names[2] != "src")
    if host in ("github.com", "codeberg.org", "bitbucket.org"):
        return (min(2, len(names)), *_shown(names[2:]))
    if host == "gitlab.com" and len(names) > 3 and names[2] in ("tree", "blob", "raw"):
        return (2, *_shown(names[2:]))
    return (len(names), [], True)


def _shown(names: list[str]) -> tuple[list[str], bool]:
    if len(names) < 2:
        return [], True
    if names[0] in ("commit", "tags"):
        return names[1:], True
    if names[:2] == ["releases", "tag"]:
        return names[2:], True
    if names[0] in ("pull", "pulls") and names[1].isdigit():
        return ["refs", "pull", names[1], "head"], True
    if names[0] == "merge_requests" and names[1].isdigit():
        return ["refs", "merge-requests", names[1], "head"], True
    return (names[1:], False) if names[0] in _SHOWN else ([], True)
