"""The upstream index: pages and metadata, each fetched once and kept on disk."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from rebind.locks.pages import File, Page, Pages, make_page, parse_json
from rebind.locks.upstream_html import parse_html
from rebind.locks.wheel_header import wheel_metadata
from rebind.locks.whole import write_whole

FRESH = 600.0
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.3"
_LARGEST_PAGE = 64 * 1024 * 1024
_LARGEST_METADATA = 4 * 1024 * 1024
_IN_MEMORY = 400
_MOST_LOCKS = 4096
_ATTEMPTS = 3
_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10, sock_read=20)


class UpstreamError(Exception):
    """The upstream did not answer; the text says which host and how."""


class Upstream:
    """Answers with what is on disk while it is fresh enough for the date, else asks. Used on one event loop."""

    def __init__(self, pages: Pages, url: str) -> None:
        self._pages = pages
        self._url = url.rstrip("/") + "/"
        self._host = urlsplit(url).hostname or url
        self._memory: OrderedDict[str, Page] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        # trust_env: the machine's own proxy, if it has one, is how its index is reached
        connector = aiohttp.TCPConnector(limit=24)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, trust_env=True)

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def page(self, name: str, when: float) -> tuple[Page, str]:
        """The page, good for `when`; and why it is older than it should be, or ''. Raises UpstreamError."""
        async with self._lock(name):
            known = await self._known(name)
            if known is not None and (known.final_for(when) or time.time() - known.fetched < FRESH):
                return known, ""
            try:
                page = await self._fetch_page(name, known)
            except UpstreamError as error:
                if known is None or known.missing:
                    raise
                return known, str(error)
            self._remember(page)
            if not page.missing:  # names are a stranger's: what does not exist takes no room on disk
                await asyncio.to_thread(self._pages.write, page)
            return page, ""

    def _lock(self, key: str) -> asyncio.Lock:
        """One request at a time for one thing."""
        if len(self._locks) > _MOST_LOCKS:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(key, asyncio.Lock())

    async def _known(self, name: str) -> Page | None:
        page = self._memory.get(name)
        if page is None:
            page = await asyncio.to_thread(self._pages.read, name)
            if page is not None:
                self._remember(page)
        else:
            self._memory.move_to_end(name)
        return page

    def _remember(self, page: Page) -> None:
        self._memory[page.name] = page
        self._memory.move_to_end(page.name)
        while len(self._memory) > _IN_MEMORY:
            self._memory.popitem(last=False)

    async def _fetch_page(self, name: str, known: Page | None) -> Page:
        headers = {"Accept": _ACCEPT}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        url, asked = f"{self._url}{name}/", time.time()
        status, answer, data = await self._get(url, headers, _LARGEST_PAGE)
        if status == 304 and known is not None:
            return replace(known, fetched=asked)
        if status == 404:
            return make_page(name, asked, "", (), missing=True)
        if status != 200:
            raise UpstreamError(f"{self._host} answered {status} for {name}")
        parse = parse_json if "json" in answer.get("Content-Type", "") else parse_html
        try:
            files = await asyncio.to_thread(parse, name, url, data)
        except ValueError as error:
            raise UpstreamError(f"{self._host} answered for {name} with a page that cannot be read ({error})") from None
        return await asyncio.to_thread(make_page, name, asked, answer.get("ETag", ""), files)

    async def metadata(self, project: str, file: File) -> bytes | None:
        """METADATA of a wheel as upstream has it; None if it has none. Raises UpstreamError."""
        path = self.metadata_path(file)
        async with self._lock(file.url):
            try:
                return await asyncio.to_thread(path.read_bytes)
            except FileNotFoundError:
                pass
            status, _, data = await self._get(f"{file.url}.metadata", {}, _LARGEST_METADATA)
            if status in (403, 404, 410):
                found = await self._from_wheel(project, file)
            elif status == 200:
                found = data
            else:
                raise UpstreamError(f"{urlsplit(file.url).hostname} answered {status} for {file.name}.metadata")
            if found is not None:
                await asyncio.to_thread(write_whole, path, found)
        return found

    def metadata_path(self, file: File) -> Path:
        key = file.sha256 or hashlib.sha256(file.url.encode()).hexdigest()
        return self._pages.folder / "metadata" / key[:2] / key

    async def _from_wheel(self, project: str, file: File) -> bytes | None:
        size = file.size if file.size is not None else await self._size(file)
        if size is None:
            return None

        async def fetch(start: int, end: int) -> bytes:
            headers = {"Range": f"bytes={start}-{end - 1}"}
            status, _, data = await self._get(file.url, headers, max(end - start, _LARGEST_PAGE))
            if status not in (200, 206):
                raise UpstreamError(f"{urlsplit(file.url).hostname} answered {status} for {file.name}")
            return data[start:end] if status == 200 else data[: end - start]

        return await wheel_metadata(project, size, fetch)

    async def _size(self, file: File) -> int | None:
        status, answer, _ = await self._get(file.url, {"Range": "bytes=0-0"}, _LARGEST_PAGE)
        total = answer.get("Content-Range", "").rpartition("/")[2]
        return int(total) if status == 206 and total.isdigit() else None

    async def _get(self, url: str, headers: dict[str, str], largest: int) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; asks again when the connection or the server fails."""
        assert self._session is not None, "start() comes first"
        reason = ""
        for attempt in range(_ATTEMPTS):
            await asyncio.sleep(0.3 * attempt)
            try:
                async with self._session.get(url, headers=headers) as response:
                    if response.status < 500 and response.status != 429:
                        return response.status, _plain(response), await _body(response, largest)
                    reason = f"answered {response.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"did not answer ({_short(error)})"
        raise UpstreamError(f"{urlsplit(url).hostname} {reason}")


def _plain(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.title().replace("Etag", "ETag"): value for name, value in response.headers.items()}


async def _body(response: aiohttp.ClientResponse, largest: int) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_chunked(1 << 18):
        data += piece
        if len(data) > largest:
            raise aiohttp.ClientPayloadError(f"more than {largest} bytes")
    return bytes(data)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).split("\n")[0][:200]
