"""Where a visitor goes when the session is ready (launch-api 1.2). Pure.

The answer always lies below the session's own address: a token goes nowhere else. BinderHub follows an absolute
`urlpath` to any site and hands it the token (launch-api Q2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

from rebind.errors import RefusedError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_PATH = "/%:@!$&'()*+,;=~[]|"  # what a browser leaves alone in a path
_FILE = "/:@!$&'()*+,;=~"  # encodeURI's, without the two that end a path


@dataclass(frozen=True, slots=True)
class Destination:
    """A place below a session's address: `before` the token and `after` it."""

    before: str = ""
    after: str = ""

    def url(self, server: str, token: str) -> str:
        """The whole address; `server` is the session's and ends in `/`."""
        joint = "&" if "?" in self.before else "?"
        return f"{server}{self.before}{joint}token={quote(token, safe='')}{self.after}"


def destination(query: Mapping[str, str]) -> Destination:
    """From the (decoded) query of a link; `labpath` wins over `filepath`, that over `urlpath`.

    Raises RefusedError for a `urlpath` that would leave the session.
    """
    for name, place in (("labpath", "doc/tree/"), ("filepath", "tree/")):
        if path := query.get(name):
            return Destination(place + _inside(quote(path.removesuffix("/").lstrip("/"), safe=_FILE), path))
    return _from_urlpath(query.get("urlpath", ""))


def _from_urlpath(urlpath: str) -> Destination:
    text = urlpath.strip().replace("\\", "/")  # as browsers do
    if text.startswith("//") or _SCHEME.match(text.lstrip("/")):
        raise _refused(urlpath)
    rest, hash_mark, fragment = text.lstrip("/").partition("#")
    path, question_mark, query = rest.partition("?")
    before = _inside(quote(path, safe=_PATH), urlpath)
    pairs = parse_qsl(query, keep_blank_values=True) if question_mark else []
    if pairs:
        before += "?" + urlencode(pairs, safe="*")
    return Destination(before, "#" + quote(fragment, safe=_PATH + "?#") if hash_mark else "")


def _inside(path: str, given: str) -> str:
    """The path, if no part of it climbs up, also not after the decodings that browsers and servers may do."""
    once = unquote(path)
    for text in (once, unquote(once)):
        if any(part in (".", "..") for part in re.split(r"[/\\]", text)):
            raise _refused(given)
    return path


def _refused(given: str) -> RefusedError:
    return RefusedError(
        f"The link asks to open {given[:200]!r}, which is not a path inside the session.",
        remedy="Use a path such as lab/tree/notebook.ipynb, without a host and without dots that climb up.",
    )
