"""The lists of conda channels (`repodata.json`), fetched once and kept for as long as they answer the question."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from rebind.errors import LockError, NetworkError
from rebind.values import Event, Phase, Report

FRESH = 3600.0
LARGEST = 4 << 30
TIMEOUT = 30.0
CHUNK = 1 << 20


class Repodata:
    """`folder` holds the files; `proxy_url`: the way out, None for directly."""

    def __init__(self, folder: Path, proxy_url: str | None) -> None:
        self._folder, self._proxy_url = folder, proxy_url

    def file(self, channel: str, subdir: str, when: datetime, report: Report) -> Path | None:
        """The list of a channel's folder, None if the channel has none of that name.

        A list that was fetched after `when` has all that was published by then. Raises NetworkError, LockError.
        """
        path = self._folder / f"{hashlib.sha256(f'{channel}/{subdir}'.encode()).hexdigest()[:40]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _enough(path, when):
                report(Event(Phase.BUILDING, f"Fetching the list of {channel}/{subdir}\n"))
                self._fetch(channel, subdir, path)
        return path if path.stat().st_size else None

    def _fetch(self, channel: str, subdir: str, path: Path) -> None:
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            for name in ("repodata.json.zst", "repodata.json"):
                if self._take(f"{channel}/{subdir}/{name}", draft):
                    break
            else:
                if subdir != "noarch":
                    draft.write_bytes(b"")  # many channels hold noarch packages alone
                else:
                    raise LockError(f"There is no conda channel at {channel}.", remedy="Correct its name or address.")
            draft.replace(path)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (28, 122):
                raise
            reason = getattr(error, "reason", error)
            raise NetworkError(
                f"The conda channel {channel} does not answer: {reason}.", remedy="Try again when the network is back."
            ) from error
        finally:
            draft.unlink(missing_ok=True)

    def _take(self, url: str, into: Path) -> bool:
        """Whether there is such a file; its plain text is then in `into`."""
        proxies = {"http": self._proxy_url, "https": self._proxy_url} if self._proxy_url else {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
        request = urllib.request.Request(url, headers={"User-Agent": "rebind"})
        try:
            with opener.open(request, timeout=TIMEOUT) as answer, into.open("wb") as stream:
                _copy(answer, stream, compressed=url.endswith(".zst"))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                return False
            raise
        return True


def _copy(answer: IO[bytes], stream: IO[bytes], *, compressed: bool) -> None:
    import zstandard

    source = zstandard.ZstdDecompressor().stream_reader(answer, read_across_frames=True) if compressed else answer
    size = 0
    try:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > LARGEST:
                raise LockError(f"The list of a conda channel is larger than {LARGEST >> 30} GiB.")
            stream.write(chunk)
    except zstandard.ZstdError as error:
        raise OSError(f"its list is damaged ({error})") from error


def _enough(path: Path, when: datetime) -> bool:
    with suppress(OSError):
        fetched = path.stat().st_mtime
        return fetched > when.timestamp() + FRESH or time.time() - fetched < FRESH
    return False
