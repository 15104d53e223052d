"""What the dated index answers. Imported at the first question: a command that asks none does not pay for it.

`/<DATE>/simple/<project>/`        page of a project, JSON (PEP 691) or HTML (PEP 503) by Accept
`/<DATE>/files/<project>/<file>`   sent on to the file's true address; `<file>.metadata` is answered here (PEP 658)
`/<DATE>/wheels-only/...`          the same, but no source package is handed out, so that no client can build one
`/<DATE>/notes?since=`             what a reader should know of answers given under that date
`POST /changed`                    of which projects were files uploaded between two dates

DATE is a UTC time such as `2018-01-01T00:00:00Z`, or `today`.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import UTC, datetime

from aiohttp import web
from aiohttp.typedefs import Handler

from rebind.locks.labels import TODAY
from rebind.locks.pages import UNTIMED, Page, Pages, project_name
from rebind.locks.render import JSON, to_html, to_json, wants_json
from rebind.locks.repair import repair_metadata
from rebind.locks.upstream import FRESH, Upstream, UpstreamError

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
_KEPT_NOTES = 256
_MOST_NAMES = 5000


def _when(label: str) -> float:
    """Seconds since 1970 up to which files are shown. Raises HTTPNotFound."""
    if label == TODAY:
        return UNTIMED
    if not _DATE.match(label):
        raise web.HTTPNotFound(text="the path starts with no date")
    try:
        return datetime.fromisoformat(label).timestamp()
    except ValueError:
        raise web.HTTPNotFound(text="the path starts with no date") from None


async def serve(listener: socket.socket, pages: Pages, url: str, end: Awaitable[object]) -> None:
    """Answers on a listening socket for the index `url` until `end`."""
    upstream = Upstream(pages, url)
    runner = web.AppRunner(Answers(upstream).application(), access_log=None)
    await runner.setup()
    try:
        await upstream.start()
        await web.SockSite(runner, listener).start()
        await end
    finally:
        await runner.cleanup()
        await upstream.stop()


class Answers:
    """The handlers, and the notes they leave."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._notes: OrderedDict[str, dict[str, dict[str, tuple[float, str]]]] = OrderedDict()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 20, middlewares=[_unwritable])
        for gate in ("", "/wheels-only"):
            application.router.add_get(f"/{{date}}{gate}/simple/{{project}}/", self._simple)
            application.router.add_get(f"/{{date}}{gate}/simple/{{project}}", self._slash)
        application.router.add_get("/{date}/files/{project}/{file}", self._file)
        application.router.add_get("/{date}/wheels-only/files/{project}/{file}", self._wheel)
        application.router.add_get("/{date}/notes", self._say)
        application.router.add_post("/changed", self._changed)
        return application

    async def _slash(self, request: web.Request) -> web.StreamResponse:
        name = _project(request.match_info["project"])
        raise web.HTTPMovedPermanently(f"{name}/")  # relative, so the date and the gate stay

    async def _simple(self, request: web.Request) -> web.StreamResponse:
        label, name = request.match_info["date"], _project(request.match_info["project"])
        when = _when(label)
        page = await self._page(name, when, label)
        count = len(page.files) if when == UNTIMED else page.count(when)
        if page.times[-1:] == (UNTIMED,) and when != UNTIMED:
            count = min(count, page.times.index(UNTIMED))
            self._note(label, "untimed", name, "files without an upload time are hidden")
        if count == 0:
            raise web.HTTPNotFound(text=f"no file of {name} had been uploaded by {label}")
        as_json = wants_json(request.headers.get("Accept", ""))
        body = (to_json if as_json else to_html)(page, count, yanked=when == UNTIMED)
        settled = page.final_for(min(when, time.time()))
        headers = {"Cache-Control": f"max-age={31536000 if settled else int(FRESH)}", "Vary": "Accept"}
        kind = JSON if as_json else "text/html"
        return web.Response(body=body, content_type=kind, charset=None if as_json else "utf-8", headers=headers)

    async def _wheel(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        if not name.removesuffix(".metadata").endswith(".whl"):
            raise web.HTTPForbidden(text=f"{name} is a source package, and nothing is built here")
        return await self._file(request)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        label, project = request.match_info["date"], _project(request.match_info["project"])
        filename = request.match_info["file"]
        when = _when(label)
        page = await self._page(project, when, label)
        file = page.find(filename.removesuffix(".metadata"))
        if file is None:
            raise web.HTTPNotFound(text="no such file")
        if not filename.endswith(".metadata"):
            raise web.HTTPFound(file.url)
        try:
            raw = await self._upstream.metadata(project, file) if file.is_wheel else None
        except UpstreamError as error:
            raise self._unavailable(label, project, error) from None
        if raw is None:
            raise web.HTTPNotFound(text="no metadata")
        headers = {"Cache-Control": "max-age=31536000, immutable"}
        return web.Response(body=repair_metadata(raw), content_type="text/plain", charset="utf-8", headers=headers)

    async def _page(self, name: str, when: float, label: str) -> Page:
        try:
            page, stale = await self._upstream.page(name, when)
        except UpstreamError as error:
            raise self._unavailable(label, name, error) from None
        if stale:
            seen = datetime.fromtimestamp(page.fetched, UTC).strftime("%Y-%m-%d %H:%M UTC")
            self._note(label, "stale", name, f"{stale}; the index of {seen} was used")
        return page

    def _unavailable(self, label: str, name: str, error: UpstreamError) -> web.HTTPException:
        self._note(label, "failed", name, str(error))
        return web.HTTPBadGateway(text=str(error))

    def _note(self, label: str, kind: str, name: str, text: str) -> None:
        self._notes.setdefault(label, {}).setdefault(kind, {})[name] = time.time(), text
        while len(self._notes) > _KEPT_NOTES:
            self._notes.popitem(last=False)

    async def _say(self, request: web.Request) -> web.StreamResponse:
        """Notes since a moment. Reading takes nothing away: sandboxes can ask here too."""
        try:
            since = float(request.query.get("since", "0"))
        except ValueError:
            raise web.HTTPBadRequest(text="since is no number") from None
        kinds = self._notes.get(request.match_info["date"], {})
        told = {
            kind: {name: text for name, (moment, text) in found.items() if moment >= since}
            for kind, found in kinds.items()
        }
        return web.json_response({kind: found for kind, found in told.items() if found})

    async def _changed(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = await request.json()
            names = [name for name in map(project_name, map(str, asked["names"][:_MOST_NAMES])) if name]
            after, until = float(asked["after"]), float(asked["until"])
        except (ValueError, KeyError, TypeError):
            raise web.HTTPBadRequest(text="wanted: names, after, until") from None
        answers = await asyncio.gather(*(self._changes(name, after, until) for name in names))
        unknown = [name for name, answer in zip(names, answers, strict=True) if answer is None]
        changed = [name for name, answer in zip(names, answers, strict=True) if answer]
        return web.Response(body=json.dumps({"changed": changed, "unknown": unknown}), content_type="application/json")

    async def _changes(self, name: str, after: float, until: float) -> bool | None:
        """None when the upstream does not answer and what is here is older than the question."""
        try:
            page, stale = await self._upstream.page(name, until)
        except UpstreamError:
            return None
        if page.changed(after, until):
            return True
        return None if stale else False


@web.middleware
async def _unwritable(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What cannot be kept is not answered, in one line instead of a traceback for each page."""
    try:
        return await handler(request)
    except OSError as error:
        raise web.HTTPInsufficientStorage(text=str(error)) from None


def _project(text: str) -> str:
    name = project_name(text)
    if name is None:
        raise web.HTTPNotFound(text="that is no name of a project")
    return name
