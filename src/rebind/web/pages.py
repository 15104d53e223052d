"""The pages for people: start page, launch page, about, not found."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from rebind.errors import AddressError, RebindError
from rebind.values import Event, Phase
from rebind.web import HubFront, WebSettings
from rebind.web.build import refusal, split, start
from rebind.web.destination import Destination, destination
from rebind.web.links import Link, Pasted, make_link, parse_link, read_spec
from rebind.web.secure import nonce_of
from rebind.web.visitor import visitor

_TEMPLATES = Path(__file__).parent / "templates"
_QUIET = 0.4  # seconds without an event after which the page without scripts is sent
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def plain(text: str) -> str:
    """A log line without terminal escapes; a line that was overwritten with `\\r` shows its last state."""
    lines = _ESCAPES.sub("", text.replace("\r\n", "\n")).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


class Pages:
    """Renders the templates. Everything of a stranger is escaped by Jinja; scripts get it as data attributes."""

    def __init__(self, hub: HubFront, settings: WebSettings) -> None:
        self._hub = hub
        self._settings = settings
        self._jinja = Environment(
            loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(default=True), trim_blocks=True
        )

    async def _page(self, request: Request, name: str, status: int = 200, **values: object) -> Response:
        settings, who = self._settings, visitor(request, self._settings)
        displays = await run_in_threadpool(self._hub.providers)
        config = {
            "baseUrl": settings.base_url,
            "badgeBaseUrl": settings.badge_base_url or who.origin,
            "logoUrl": f"{settings.base_url}static/logo.svg",
            "logoWidth": "48px",
            "repoProviders": [dict(display) for display in displays],
            "aboutMessage": settings.about,
            "bannerHtml": self._jinja.filters["e"](settings.banner),
            "binderVersion": settings.version,
        } | dict(values.pop("config", None) or {})  # type: ignore[call-overload]
        text = self._jinja.get_template(name).render(
            config=config, nonce=nonce_of(request), base=settings.base_url, origin=who.origin,
            settings=settings, displays=displays, **values,
        )  # fmt: skip
        return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})

    async def index(self, request: Request) -> Response:
        """The form. Without scripts it comes back with `?address=` and shows the link."""
        query = request.query_params
        address, ref, path, provider = (query.get(name, "")[:2000] for name in ("address", "ref", "path", "provider"))
        pasted = Pasted(address, ref, path, provider, query.get("kind", "lab"))
        link: Link | None = None
        error = ""
        if pasted.address:
            displays = await run_in_threadpool(self._hub.providers)
            try:
                base = self._settings.badge_base_url or visitor(request, self._settings).origin
                link = make_link(base, *parse_link(pasted, displays))
            except RebindError as problem:
                error = problem.text()
        return await self._page(request, "index.html", pasted=pasted, link=link, error=error)

    async def launch(self, request: Request) -> Response:
        """`/v2/<provider>/<spec>`: the scripts of the page start the launch; without them it is started here."""
        provider, raw_spec = split(request.scope["path"])
        display = await self._display(provider)
        title = f"{display['displayName'] if display else unquote(provider)}: {unquote(raw_spec)}"
        try:
            where = destination(request.query_params)
            if request.query_params.get("nojs") == "1" and request.method == "GET":
                return await self._start_plainly(request, provider, raw_spec)
        except RebindError as error:
            problem = refusal(error, raw_spec).message
            return await self._page(request, "stopped.html", 400, title=title, error=problem, config={"buildToken": ""})
        return await self._page(
            request, "launch.html", title=title, provider=provider, spec=raw_spec, where=where,
            shown=read_spec(raw_spec, display), as_of=request.query_params.get("asof", ""),
            plain_url=_plain_url(request), config={"buildToken": ""},
        )  # fmt: skip

    async def _display(self, provider: str) -> Mapping[str, Any] | None:
        displays = await run_in_threadpool(self._hub.providers)
        return next((display for display in displays if display["id"] == provider), None)

    async def _start_plainly(self, request: Request, provider: str, raw_spec: str) -> Response:
        as_of = request.query_params.get("asof") or None
        id = await start(self._hub, self._settings, request, provider, raw_spec, as_of)
        query = urlencode(_wishes(request.query_params))
        return RedirectResponse(f"{self._settings.base_url}launch/{id}?{query}", 303)

    async def watch(self, request: Request) -> Response:
        """`/launch/<id>`: the log so far, loaded anew every few seconds; then the way to the session."""
        id = str(request.path_params["id"])
        try:
            summary = await run_in_threadpool(self._hub.launch, id)
        except AddressError:
            raise HTTPException(404) from None
        events = await self._recorded(id)
        last = events[-1] if events else None
        if last is not None and last.phase is Phase.READY:
            return RedirectResponse(_session_url(last, _where(request.query_params)), 303)
        log = plain("".join(event.message for event in events)).splitlines()[-self._settings.log_lines :]
        return await self._page(
            request, "watch.html", title=unquote(summary.link), log="\n".join(log), back=summary.link,
            failed=last is not None and last.phase is Phase.FAILED, phase=str(last.phase) if last else "waiting",
        )  # fmt: skip

    async def _recorded(self, id: str) -> list[Event]:
        found: list[Event] = []
        events = self._hub.events(id)
        try:
            async with asyncio.timeout(10):
                while True:
                    _, event = await asyncio.wait_for(anext(events), _QUIET)
                    found.append(event)
        except (TimeoutError, StopAsyncIteration):
            return found

    async def about(self, request: Request) -> Response:
        paragraphs = [text.strip() for text in self._settings.about.split("\n\n") if text.strip()]
        return await self._page(request, "about.html", paragraphs=paragraphs)

    async def repo(self, request: Request) -> Response:
        """`/repo/<user>/<repo>[/<path>]`, links of the first generation."""
        user, repo, path = request.path_params["user"], request.path_params["repo"], request.path_params.get("path", "")
        query = f"?urlpath={quote('/' + unquote(path), safe='')}" if path else ""
        return RedirectResponse(f"{self._settings.base_url}v2/gh/{user}/{repo}/master{query}", 302)

    async def not_found(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        headers = dict(getattr(error, "headers", None) or {})
        if request.scope["path"].startswith("/api/") or status != 404:
            detail = str(getattr(error, "detail", "")) or "There is nothing here."
            return JSONResponse({"status": status, "message": detail}, status, headers=headers)
        return await self._page(request, "missing.html", 404)


def _wishes(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name] for name in ("labpath", "filepath", "urlpath") if query.get(name)}


def _plain_url(request: Request) -> str:
    query = request.url.query
    return f"?{query}&nojs=1" if query else "?nojs=1"


def _where(query: Mapping[str, str]) -> Destination:
    try:
        return destination(query)
    except RebindError:
        return Destination()


def _session_url(ready: Event, where: Destination) -> str:
    facts = dict(ready.extra)
    return where.url(str(facts["url"]), str(facts["token"]))
