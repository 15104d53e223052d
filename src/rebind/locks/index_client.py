"""Questions to the dated index, through the egress proxy like everybody's."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from rebind.errors import NetworkError
from rebind.locks.labels import TODAY

_LARGEST = 16 * 1024 * 1024
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Notes:
    """What the index had to say of the pages it gave out under one date: project -> sentence."""

    stale: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    untimed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexClient:
    """`url` is the constant address of the dated index, `proxy_url` the egress proxy that knows it."""

    url: str
    proxy_url: str

    def notes(self, label: str, since: float) -> Notes:
        """What there is to tell of a date since a moment. Raises NetworkError."""
        answer = self._ask("GET", f"/{label}/notes?since={since}", None)
        return Notes(*(_sentences(answer.get(kind)) for kind in ("stale", "failed", "untimed")))

    def changed(self, names: Iterable[str], after: float, until: float) -> bool | None:
        """Whether a file of any of the projects was uploaded in (after, until]; None if that cannot be known now."""
        body = json.dumps({"names": list(names), "after": after, "until": until})
        answer = self._ask("POST", "/changed", body)
        if answer.get("changed"):
            return True
        return None if answer.get("unknown") else False

    def unknown(self, names: Iterable[str], when: float) -> frozenset[str]:
        """Brings the pages of projects up to a date; those whose upstream does not answer. Raises NetworkError."""
        answer = self._ask("POST", "/changed", json.dumps({"names": list(names), "after": when, "until": when}))
        unknown = answer.get("unknown")
        return frozenset(map(str, unknown)) if isinstance(unknown, list) else frozenset()

    def see_metadata(self, files: Iterable[tuple[str, str]]) -> None:
        """Lets the index fetch the metadata of wheels (project, file name), as far as it can."""

        def see(file: tuple[str, str]) -> None:
            with suppress(OSError, http.client.HTTPException):
                self._send("GET", f"/{TODAY}/files/{file[0]}/{quote(file[1])}.metadata", None)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(see, files))

    def _ask(self, method: str, path: str, body: str | None) -> Mapping[str, object]:
        try:
            status, data = self._send(method, path, body)
            answer = json.loads(data) if status == 200 else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NetworkError(f"the dated index does not answer: {error}", remedy="Start again.") from None
        if not isinstance(answer, dict):
            raise NetworkError(f"the dated index answers with {status}", remedy="Start again.")
        return answer

    def _send(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        proxy = urlsplit(self.proxy_url)
        connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=120)
        try:
            connection.request(method, self.url + path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read(_LARGEST)
        finally:
            connection.close()


def _sentences(value: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else {}
