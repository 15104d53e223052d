"""Makes links and badges from what people paste. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

from rebind.errors import AddressError

Display = Mapping[str, Any]

_FORGE_PAGE = re.compile(r"(https?://[^/\s]+/[^\s?#]+?)(?:/-)?/(?:tree|blob)/([^?#\s]+)")
_SHORT = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+")
_ADDRESS = re.compile(r"(?:(?:https?|git|ssh|file)://\S+|[\w.\-]+@[\w.\-]+:\S+|/\S+)", re.IGNORECASE)
_PATH_KINDS = {"lab": "labpath", "file": "filepath", "url": "urlpath"}


@dataclass(frozen=True, slots=True)
class Pasted:
    """The fields of the form."""

    address: str
    ref: str = ""
    path: str = ""
    provider: str = ""
    """An id; '' lets the address decide."""
    kind: str = "lab"
    """How `path` is opened: `lab`, `file` (the classic notebook) or `url` (any path of the server)."""


@dataclass(frozen=True, slots=True)
class Link:
    """A launch link and its badges."""

    url: str
    markdown: str
    html: str
    rst: str


def parse_link(pasted: Pasted, displays: Sequence[Display]) -> tuple[str, str, dict[str, str]]:
    """Provider, raw spec and query of the link for what was pasted. Raises AddressError."""
    address, ref, path = _unfold(pasted.address.strip(), pasted.ref.strip(), pasted.path.strip())
    display, repository = _choose(address, pasted.provider, displays)
    if (display.get("repo") or {}).get("urlEncode"):
        repository = quote(repository, safe="")
    else:
        repository = quote(repository.strip("/"), safe="/:@.~-_+%")
    if (display.get("ref") or {}).get("enabled"):
        chosen = ref or str(display["ref"].get("default") or "HEAD")
        spec = f"{repository}/{quote(chosen, safe='/')}"
    else:
        spec = f"{repository}/"
    query = {_PATH_KINDS.get(pasted.kind, "labpath"): path} if path else {}
    return str(display["id"]), spec, query


def read_spec(raw_spec: str, display: Display | None) -> tuple[str, str]:
    """Repository and ref of a link's spec, as a person reads them; the ref is '' where there is none."""
    enabled = bool(((display or {}).get("ref") or {}).get("enabled"))
    slashes = 1 if ((display or {}).get("repo") or {}).get("urlEncode") else 2
    parts = raw_spec.split("/", slashes)
    if not enabled or len(parts) <= slashes:
        return unquote(raw_spec), ""
    return unquote("/".join(parts[:slashes])), unquote(parts[slashes])


def make_link(base: str, provider: str, spec: str, query: Mapping[str, str], *, badge: str = "") -> Link:
    """`base` is the hub's address, `badge` where the badge image is (the hub's if ''); both end in `/`."""
    url = f"{base}v2/{provider}/{spec}" + (f"?{urlencode(query, quote_via=quote, safe='')}" if query else "")
    image = f"{badge or base}badge_logo.svg"
    shown = url.replace("(", "%28").replace(")", "%29")
    return Link(
        url=url,
        markdown=f"[![Launch with rebind]({image})]({shown})",
        html=f'<a href="{html.escape(url)}"><img src="{html.escape(image)}" alt="Launch with rebind"></a>',
        rst=f".. image:: {image}\n   :target: {url}\n   :alt: Launch with rebind",
    )


def _unfold(address: str, ref: str, path: str) -> tuple[str, str, str]:
    """A web page of a forge names ref and file in its address; one's own fields win."""
    match = _FORGE_PAGE.fullmatch(address)
    if match is None:
        return address, ref, path
    head, _, tail = match[2].partition("/")
    opened = unquote(tail) if "/blob/" in address else ""
    return match[1], ref or unquote(head), path or opened


def _choose(address: str, wanted: str, displays: Sequence[Display]) -> tuple[Display, str]:
    if not address:
        raise AddressError("No address was given.", remedy="Paste the address of a repository.")
    by_id = {str(display["id"]): display for display in displays}
    if wanted:
        if wanted not in by_id:
            raise AddressError(f"No provider found for prefix {wanted!r}.")
        return by_id[wanted], _detected(address, by_id[wanted]) or address
    for display in displays:
        if found := _detected(address, display):
            return display, found
    if "git" not in by_id:
        raise AddressError("This address is of no kind that this hub knows.", remedy="Choose the kind yourself.")
    if _SHORT.fullmatch(address):
        address = f"https://github.com/{address}"
    if not _ADDRESS.fullmatch(address):
        raise AddressError(
            f"{address[:200]!r} is not the address of a repository.",
            remedy="Paste it as it stands in the browser, such as https://github.com/binder-examples/requirements.",
        )
    return by_id["git"], address


def _detected(address: str, display: Display) -> str | None:
    regex = (display.get("detect") or {}).get("regex")
    match = re.match(str(regex).replace("(?<", "(?P<"), address) if regex and len(address) < 2000 else None
    return match["repo"] if match else None
