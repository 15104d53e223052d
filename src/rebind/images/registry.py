"""Images in a registry (OCI distribution-spec 1.1): what it has is not sent again, and the tag is written last.

An upload that breaks off is taken up where the registry stands, or begun again. Whatever dies when: the tag names a
whole image, the old one or the new.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from rebind.errors import BuildError, NetworkError, RebindError, RefusedError, RepositoryError
from rebind.images.blobs import Blobs
from rebind.images.client import Answer, Asked, Client
from rebind.images.credentials import Credentials
from rebind.images.layout import INDEX, MANIFEST, choose
from rebind.images.names import ImageName
from rebind.images.tar import Packed

THREADS = 3
PATIENCE = 60.0
"""Seconds without any progress after which a registry is given up."""
CHUNK = 16 << 20
_ACCEPTED = (
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    digest: str
    sent: int
    """Bytes of blobs."""
    blobs: int
    """How many of them."""


class Registry:
    """One registry. `plain`: hosts (and ports) that may be spoken to over http; those of this machine always may."""

    def __init__(
        self, host: str, credentials: Credentials | None, *, plain: frozenset[str] = frozenset(), timeout: float = 60.0
    ) -> None:
        self._host, self._credentials, self._plain, self._timeout = host, credentials, plain, timeout
        self._tokens: dict[str, str] = {}
        self._patience = PATIENCE

    def _client(self) -> Client:
        return Client(self._host, self._credentials, plain=self._plain, timeout=self._timeout, tokens=self._tokens)

    def digest(self, name: ImageName) -> str | None:
        """The digest that a name stands for; None if it is not there. Raises NetworkError, RefusedError."""
        client = self._client()
        try:
            asked = Asked("HEAD", _manifest_url(name), _accept(), scope=_scope(name.path, "pull"))
            answer = client.ask(asked)
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise _unhappy(self._host, "telling of the image", answer)
            return answer.headers.get("docker-content-digest", "")
        finally:
            client.close()

    def push(
        self,
        name: ImageName,
        manifest: Packed,
        parts: list[Packed],
        blobs: Blobs,
        *,
        mounts: dict[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Pushed:
        """Sends what the registry does not have, then the manifest under the tag.

        `mounts`: digest -> a repository of the same registry that has the blob. Raises NetworkError, RefusedError.
        """
        unique = list({part.digest: part for part in parts}.values())
        sources = mounts or {}
        push = _Push(name, blobs, sources, say, self._patience)
        local = threading.local()
        clients: list[Client] = []

        def send(part: Packed) -> int:
            if not hasattr(local, "client"):
                local.client = self._client()
                clients.append(local.client)
            return push.blob(local.client, part)

        try:
            with ThreadPoolExecutor(THREADS) as threads:
                # The first alone: it fetches the token that the others use.
                sent = [send(unique[0])] if unique else []
                sent += threads.map(send, unique[1:])
            client = self._client()
            clients.append(client)
            push.manifest(client, manifest)
        finally:
            for client in clients:
                client.close()
        return Pushed(manifest.digest, sum(sent), sum(1 for each in sent if each))

    def pull(self, name: ImageName, blobs: Blobs) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Configuration and layer descriptors of an image for this machine, its layers into the blobs.

        Raises RepositoryError, NetworkError, RefusedError, BuildError.
        """
        client = self._client()
        try:
            manifest = self._manifest(client, name, name.reference)
            while "manifests" in manifest:
                manifest = self._manifest(client, name, choose(manifest["manifests"])["digest"])
            for layer in [*manifest["layers"], manifest["config"]]:
                if not blobs.has(layer["digest"], layer["size"]):
                    self._fetch(client, name, layer, blobs)
            config: dict[str, Any] = json.loads(blobs.file(manifest["config"]["digest"]).read_bytes())
            return config, manifest["layers"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RepositoryError(f"{name} is not an image that can be understood.") from error
        finally:
            client.close()

    def _manifest(self, client: Client, name: ImageName, reference: str) -> dict[str, Any]:
        url = f"/v2/{name.path}/manifests/{quote(reference, safe=':')}"
        answer = client.ask(Asked("GET", url, _accept(), scope=_scope(name.path, "pull")))
        if answer.status == 404:
            raise RepositoryError(f"There is no image {name} in the registry.", remedy="Correct its name.")
        if answer.status != 200:
            raise _unhappy(self._host, f"giving {name}", answer)
        if reference.startswith("sha256:") and f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != reference:
            raise BuildError(f"The registry gave another manifest than {reference} for {name}.")
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def _fetch(self, client: Client, name: ImageName, layer: dict[str, Any], blobs: Blobs) -> None:
        digest, size = str(layer["digest"]), int(layer["size"])
        if not _DIGEST.fullmatch(digest):
            raise RepositoryError(f"{name} names a blob {digest!r}, which is not a digest.")
        asked = Asked("GET", f"/v2/{name.path}/blobs/{digest}", scope=_scope(name.path, "pull"))
        answer = client.ask(asked, into=lambda pieces: blobs.receive(digest, size, pieces))
        if answer.status != 200:
            raise _unhappy(self._host, f"giving a layer of {name}", answer)


class _Push:
    def __init__(
        self, name: ImageName, blobs: Blobs, mounts: dict[str, str], say: Callable[[str], None], patience: float
    ) -> None:
        self.name, self.blobs, self.mounts, self.say, self.patience = name, blobs, mounts, say, patience
        self.scope = _scope(name.path, "pull,push")

    def blob(self, client: Client, part: Packed) -> int:
        """Sends one blob if it is not there; the bytes sent."""
        patience = _Patience(self.patience, self.say)
        while True:
            try:
                if self._there(client, part):
                    return 0
                location = self._begin(client, part)
                if location is None:
                    return 0
                self.say(f"Pushing {part.digest[7:19]} ({part.size / 1e6:.1f} MB)")
                self._upload(client, part, location, patience)
                return part.size
            except _AgainError as error:
                patience.wait(error)
            except NetworkError as error:
                patience.wait(error)

    def _there(self, client: Client, part: Packed) -> bool:
        answer = client.ask(Asked("HEAD", f"/v2/{self.name.path}/blobs/{part.digest}", scope=self.scope))
        if answer.status in (401, 403):
            raise _unhappy(self.name.registry, f"pushing to {self.name.path}", answer)
        return answer.status == 200

    def _begin(self, client: Client, part: Packed) -> str | None:
        """Where to upload to; None if the registry took the blob from another repository."""
        source = self.mounts.get(part.digest)
        query = f"?{urlencode({'mount': part.digest, 'from': source})}" if source else ""
        answer = client.ask(Asked("POST", f"/v2/{self.name.path}/blobs/uploads/{query}", scope=self.scope))
        if answer.status == 201:
            return None
        if answer.status != 202 or not answer.headers.get("location"):
            raise _unhappy(self.name.registry, f"pushing to {self.name.path}", answer)
        return answer.location()

    def _upload(self, client: Client, part: Packed, location: str, patience: _Patience) -> None:
        """In chunks, each followed by an answer, so that a break costs one chunk."""
        at = 0
        if part.size <= CHUNK:
            self._finish(client, part, location, 0)
            return
        while at < part.size:
            end = min(at + CHUNK, part.size)
            try:
                answer = client.ask(self._chunk(part, location, at, end))
                if answer.status not in (202, 416):
                    raise _unhappy(self.name.registry, "taking a layer", answer)
                location, at = self._standing(answer, location, at if answer.status == 416 else end)
                patience.progress()
            except NetworkError as error:
                patience.wait(error)
                location, at = self._ask_standing(client, location, patience)
        self._finish(client, part, location, at)

    def _chunk(self, part: Packed, location: str, at: int, end: int) -> Asked:
        headers = (("Content-Type", "application/octet-stream"), ("Content-Range", f"{at}-{end - 1}"))
        return Asked("PATCH", location, headers, lambda: self._bytes(part, at, end), end - at, self.scope)

    def _bytes(self, part: Packed, at: int, end: int) -> Iterator[bytes]:
        if at == 0 and end == part.size:
            yield from self.blobs.open_checked(part)
            return
        with open(self.blobs.file(part.digest), "rb") as stream:
            stream.seek(at)
            while at < end:
                piece = stream.read(min(end - at, 1 << 20))
                if not piece:
                    raise BuildError(f"The layer {part.digest} was cut off on the disk.", remedy="Build again.")
                at += len(piece)
                yield piece

    def _standing(self, answer: Answer, location: str, expected: int) -> tuple[str, int]:
        """Where to go on, and from which byte."""
        stated = re.fullmatch(r"(?:bytes=)?0-([0-9]+)", answer.headers.get("range", ""))
        at = int(stated[1]) + 1 if stated else expected
        return (answer.location() if answer.headers.get("location") else location), at

    def _ask_standing(self, client: Client, location: str, patience: _Patience) -> tuple[str, int]:
        while True:
            try:
                answer = client.ask(Asked("GET", location, scope=self.scope))
            except NetworkError as error:
                patience.wait(error)
                continue
            if answer.status == 204:
                stated = answer.headers.get("range", "")
                # `0-0` also stands for nothing at all in some registries: the byte is sent again and 416 tells.
                found, at = self._standing(answer, location, 0)
                return found, 0 if stated in ("0-0", "") else at
            raise _AgainError("The upload is not known to the registry any more.")

    def _finish(self, client: Client, part: Packed, location: str, at: int) -> None:
        url = f"{location}{'&' if '?' in location else '?'}digest={quote(part.digest, safe='')}"
        headers = (("Content-Type", "application/octet-stream"),)
        length = part.size - at
        asked = Asked("PUT", url, headers, lambda: self._bytes(part, at, part.size), length, self.scope)
        answer = client.ask(asked)
        if answer.status in (404, 416):
            raise _AgainError("The upload is not known to the registry any more.")
        if answer.status == 400 and b"DIGEST_INVALID" in answer.body:
            self.blobs.forget(part.digest)
        if answer.status != 201:
            raise _unhappy(self.name.registry, "taking a layer", answer)

    def manifest(self, client: Client, manifest: Packed) -> None:
        """The tag, last of all."""
        content = self.blobs.file(manifest.digest).read_bytes()
        patience = _Patience(self.patience, self.say)
        headers = (("Content-Type", MANIFEST),)
        reference = self.name.tag if not self.name.digest else manifest.digest
        url = f"/v2/{self.name.path}/manifests/{quote(reference, safe=':')}"
        while True:
            try:
                answer = client.ask(Asked("PUT", url, headers, lambda: iter([content]), len(content), self.scope))
                if answer.status == 201:
                    return
                raise _unhappy(self.name.registry, f"taking {self.name}", answer)
            except (NetworkError, _AgainError) as error:
                patience.wait(error)


class _AgainError(RebindError):
    """To be tried again from the start of the blob."""


class _Patience:
    """Waits between attempts, longer each time; gives up after a while without progress."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self._seconds, self._say = seconds, say
        self.progress()

    def progress(self) -> None:
        self._pause = 0.2
        self._last = time.monotonic()

    def wait(self, error: RebindError) -> None:
        """Raises the error when it has gone on too long."""
        if isinstance(error, RefusedError) or time.monotonic() - self._last + self._pause > self._seconds:
            raise error if not isinstance(error, _AgainError) else NetworkError(str(error)) from error
        self._say(f"{error} Trying again")
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, 5.0)


def _scope(path: str, what: str) -> str:
    return f"repository:{path}:{what}"


def _accept() -> tuple[tuple[str, str], ...]:
    return (("Accept", ", ".join(_ACCEPTED)),)


def _manifest_url(name: ImageName) -> str:
    return f"/v2/{name.path}/manifests/{quote(name.reference, safe=':')}"


def _unhappy(registry: str, doing: str, answer: Answer) -> RebindError:
    text = answer.body[:2000].decode(errors="replace")
    if answer.status in (401, 403):
        return RefusedError(
            f"The registry {registry} does not allow {doing}.",
            remedy="Set DOCKER_CONFIG or CONTAINER_ENGINE_REGISTRY_CREDENTIALS to credentials that may.",
            detail=text,
        )
    if answer.status == 429 or answer.status >= 500:
        return NetworkError(f"The registry {registry} answered {answer.status} when {doing}.", detail=text)
    return RepositoryError(f"The registry {registry} answered {answer.status} when {doing}.", detail=text)
