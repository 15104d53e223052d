"""DOIs: how they are written, and where they lead."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from rebind.errors import RepositoryError
from rebind.providers.http import Http
from rebind.providers.texts import CONTROL, printable

DOI_URL = "https://doi.org"

_DOI = re.compile(
    r"(?:doi:\s*|(?:https?://)?(?:www\.)?(?:dx\.)?doi\.org/)?(10\.\d{4,9}(?:\.\d+)*/[^\s?#]+)(?:[?#].*)?", re.IGNORECASE
)


def read_doi(text: str) -> str | None:
    """The bare DOI (`10.5281/zenodo.3242074`) of any of its spellings; None if the text is none."""
    match = _DOI.fullmatch(text.strip()) if len(text) < 1000 else None
    doi = unquote(match[1]).rstrip("/") if match else ""
    return doi if doi and not CONTROL.search(doi) and " " not in doi and ".." not in doi.split("/") else None


def target(http: Http, doi: str, doi_url: str = DOI_URL) -> str:
    """Where a DOI leads, asked of the handle service. RepositoryError if there is no such DOI; NetworkError."""
    missing = f"There is no DOI {printable(doi)}."
    answer = http.json(f"{doi_url}/api/handles/{quote(doi, safe='/')}", missing=missing)
    values = answer.get("values") if isinstance(answer, dict) else None
    for value in values if isinstance(values, list) else []:
        if isinstance(value, dict) and value.get("type") == "URL":
            data = value.get("data")
            url = data.get("value") if isinstance(data, dict) else None
            if isinstance(url, str) and url:
                return url.strip()
    raise RepositoryError(f"The DOI {printable(doi)} leads nowhere.", remedy="Give the address of the data set itself.")
