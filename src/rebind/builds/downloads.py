"""Files of a lock from their URLs into the store, verified by hash."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import threading
from pathlib import Path
from typing import BinaryIO

from rebind.builds.connections import Broken, Client, Response, shown
from rebind.builds.store import Say, StoppedError, Store, full, room, silent
from rebind.errors import BuildError, NetworkError
from rebind.values import Package

CONNECTIONS = 8
ATTEMPTS = 5
CHUNK = 1 << 18
MAX_SIZE = 8 << 30
SAID_ALONE = 2 << 20  # larger files get a line of their own
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!~-]{0,250}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Downloads:
    """Fetches packages' files; at most CONNECTIONS at a time, whatever the number of threads."""

    def __init__(self, store: Store, proxy_url: str | None = None, *, pause: float = 0.3) -> None:
        self._store = store
        self._client = Client(proxy_url)
        self._pause = pause
        self._turn = threading.BoundedSemaphore(CONNECTIONS)

    def fetch(self, package: Package, say: Say = silent, stop: threading.Event | None = None) -> Path:
        """The package's file. Raises BuildError (hash, size, gone), NetworkError, DiskError, StoppedError."""
        stop = stop or threading.Event()
        if not _SHA256.fullmatch(package.sha256):
            raise BuildError(f"{package.name} has no sha256 in the lock.", remedy="Lock it again.")
        if not _FILENAME.fullmatch(package.filename):
            raise BuildError(f"{package.filename!r} of {package.name} is not a file name.")
        with self._store.making("downloads", package.sha256, say, stop) as making:
            if making.found:
                return _only_file(making.found)
            with self._turn:
                self._download(package, making.work / package.filename, say, stop)
            return making.keep() / package.filename

    def close(self) -> None:
        self._client.close()

    def _download(self, package: Package, into: Path, say: Say, stop: threading.Event) -> None:
        if package.size and package.size > shutil.disk_usage(into.parent).free:
            raise full(into.parent, package.size)
        if package.size and package.size >= SAID_ALONE:
            say(f"Downloading {package.filename} ({package.size / 1e6:.1f} MB)")
        with room(self._store.path, package.size), into.open("wb") as stream:
            digest = _Transfer(self._client, package, stream, self._pause, stop).run()
        if digest != package.sha256:
            raise BuildError(
                f"{package.filename} from {shown(package.url)} is not the file that was locked: its sha256 is {digest},"
                f" expected {package.sha256}.",
                remedy="Try again; if it stays so, the file was changed at its source: lock it again.",
            )


class _Transfer:
    """One file, over as many connections as it takes: what has arrived is not asked for again."""

    def __init__(self, client: Client, package: Package, stream: BinaryIO, pause: float, stop: threading.Event) -> None:
        self.client, self.package, self.stream, self.pause, self.stop = client, package, stream, pause, stop
        self.hash = hashlib.sha256()
        self.got = 0

    def run(self) -> str:
        for attempt in range(ATTEMPTS):
            before = self.got
            try:
                if self._once():
                    return self.hash.hexdigest()
                reason: object = "the connection was cut"
            except Broken as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise  # of our disk, not of the connection
                if "403" in str(error) and "unnel" in str(error):
                    raise self._refused() from error
                reason = error
            self.stop.wait(self.pause * 2**attempt if self.got == before else 0)
        raise NetworkError(
            f"{self.package.filename} could not be downloaded from {shown(self.package.url)}: {reason}.",
            remedy="Check the network connection and try again; what was fetched is kept.",
        )

    def _once(self) -> bool:
        headers = {"Range": f"bytes={self.got}-"} if self.got else {}
        response = self.client.get(self.package.url, headers)
        try:
            if not self._accept(response):
                return False
            return self._read(response)
        finally:
            response.close()

    def _accept(self, response: Response) -> bool:
        if response.status == 206 and self.got:
            return response.header("Content-Range").startswith(f"bytes {self.got}-")
        if response.status == 200:
            self.stream.seek(0)
            self.stream.truncate()
            self.hash, self.got = hashlib.sha256(), 0
            return True
        if response.status in (408, 425, 429) or response.status >= 500:
            raise http_error(response.status)
        if response.status == 403:
            raise self._refused()
        raise BuildError(
            f"{self.package.filename} is not to be had at {shown(self.package.url)} (HTTP {response.status}).",
            remedy="Lock again, so that another file is chosen.",
        )

    def _read(self, response: Response) -> bool:
        expected = None if response.length is None else self.got + response.length
        limit = self.package.size or MAX_SIZE
        while chunk := response.read(CHUNK):
            if self.stop.is_set():
                raise StoppedError("The download was stopped.")
            self.got += len(chunk)
            if self.got > limit:
                raise BuildError(f"{self.package.filename} is larger than the {limit} bytes that it may have.")
            self.hash.update(chunk)
            self.stream.write(chunk)
        return expected is None or self.got >= expected

    def _refused(self) -> BuildError:
        return BuildError(
            f"Fetching {shown(self.package.url)} is refused (HTTP 403).",
            remedy="This installation's rules, or that server's, do not allow the address.",
        )


def http_error(status: int) -> OSError:
    """An answer that is worth another attempt, as a broken connection."""
    return ConnectionError(f"the server answered HTTP {status}")


def _only_file(place: Path) -> Path:
    (found,) = (path for path in place.iterdir() if path.name != "complete")
    return found
