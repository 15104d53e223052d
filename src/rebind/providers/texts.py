"""Texts from outside: decoded strictly, and made fit to be shown."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from rebind.errors import AddressError

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def decoded(raw_spec: str) -> str:
    """A link's spec without its percent-encoding and trailing slashes. Raises AddressError."""
    try:
        text = unquote(raw_spec.rstrip("/"), errors="strict").strip()
    except UnicodeDecodeError:
        raise AddressError(f"The link {raw_spec[:200]!r} is not UTF-8.", remedy="Encode it as UTF-8.") from None
    if not text or len(text) > 4096 or CONTROL.search(text):
        raise AddressError(f"The link {raw_spec[:200]!r} cannot be one of a repository.")
    return text


def printable(text: str) -> str:
    """A stranger's text for one line of a log: no control characters, no surrogates, not endless."""
    return CONTROL.sub("?", text).encode(errors="replace").decode()[:300]


def shown(url: str) -> str:
    """The URL as it may stand in a log: without login, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return printable(url)
    return printable(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
