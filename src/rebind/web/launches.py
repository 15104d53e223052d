"""Our own API over launches: start one, read how it is, follow its events and come back to them, end it.

Unlike `/build` it tells starting from watching: a watcher that lost its connection goes on behind the last event it saw
(`Last-Event-ID`, which every EventSource sends by itself), and never starts a second launch.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from rebind.errors import AddressError, FullError, RebindError, RefusedError
from rebind.web import HubFront, LaunchSummary, WebSettings
from rebind.web.build import start
from rebind.web.links import Pasted, make_link, parse_link
from rebind.web.stream import numbered, respond
from rebind.web.visitor import visitor


class Wanted(BaseModel):
    """What to launch."""

    provider: str = Field(max_length=80, examples=["git"])
    spec: str = Field(max_length=8000, description="As in a link `/v2/<provider>/<spec>`, percent-encoded.")
    as_of: str | None = Field(None, max_length=40, description="A date, or `today`; default: the commit's date.")


class Launch(BaseModel):
    """A launch. Whoever knows its id may watch and end it, and gets the session's token."""

    id: str
    link: str
    state: str = Field(description="`queued`, `running`, `ready`, `failed` or `cancelled`.")
    error: str | None
    created: float
    updated: float
    events: str = Field(description="Path of its event stream.")


class Links(BaseModel):
    """A launch link and its badges."""

    provider: str
    spec: str
    url: str
    markdown: str
    html: str
    rst: str


def http_error(error: RebindError) -> HTTPException:
    """The status that fits, with the text for a person."""
    status = 400
    if isinstance(error, RefusedError):
        status = 403
    elif isinstance(error, FullError):
        status = 429
    headers = {"Retry-After": "30"} if status == 429 else None
    return HTTPException(status, error.text(), headers=headers)


def router(hub: HubFront, settings: WebSettings) -> APIRouter:
    """The routes below `/api/v1`."""
    api = APIRouter(prefix="/api/v1")

    def shown(summary: LaunchSummary) -> Launch:
        return Launch(
            id=summary.id, link=summary.link, state=str(summary.state), error=summary.error,
            created=summary.created, updated=summary.updated,
            events=f"{settings.base_url}api/v1/launches/{summary.id}/events",
        )  # fmt: skip

    async def found(id: str) -> LaunchSummary:
        try:
            return await run_in_threadpool(hub.launch, id)
        except AddressError:
            raise HTTPException(404, "There is no such launch.") from None

    @api.post("/launches", status_code=201)
    async def create(wanted: Wanted, request: Request, response: Response) -> Launch:
        """Starts a launch. It goes on whether or not anybody watches."""
        try:
            id = await start(hub, settings, request, wanted.provider, wanted.spec.rstrip("/"), wanted.as_of or None)
        except RebindError as error:
            raise http_error(error) from None
        response.headers["Location"] = f"{settings.base_url}api/v1/launches/{id}"
        return shown(await found(id))

    @api.get("/launches/{id}")
    async def read(id: str) -> Launch:
        """How a launch is."""
        return shown(await found(id))

    @api.get("/launches/{id}/events", response_class=Response)
    async def events(id: str, last_event_id: Annotated[str, Header()] = "", after: int = Query(0, ge=0)) -> Response:
        """The events of a launch as `text/event-stream`, from the first, or behind the one that was seen last."""
        await found(id)
        seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else after
        return respond(hub.events(id, min(seen, 2**31)), settings, numbered)

    @api.delete("/launches/{id}", status_code=204)
    async def cancel(id: str) -> None:
        """Ends a launch, and its session if it has one."""
        await found(id)
        await run_in_threadpool(hub.cancel, id)

    @api.get("/link")
    async def link(
        request: Request,
        address: Annotated[str, Query(max_length=2000)],
        ref: Annotated[str, Query(max_length=500)] = "",
        path: Annotated[str, Query(max_length=2000)] = "",
        provider: Annotated[str, Query(max_length=80)] = "",
        kind: Annotated[str, Query(max_length=10)] = "lab",
    ) -> Links:
        """The launch link for any address that people paste, and badges for it. Looks nothing up."""
        displays = await run_in_threadpool(hub.providers)
        try:
            prefix, spec, query = parse_link(Pasted(address, ref, path, provider, kind), displays)
        except RebindError as error:
            raise http_error(error) from None
        base = settings.badge_base_url or visitor(request, settings).origin
        made = make_link(base, prefix, spec, query)
        return Links(
            provider=prefix, spec=spec, url=made.url, markdown=made.markdown, html=made.html, rst=made.rst
        )  # fmt: skip

    return api
