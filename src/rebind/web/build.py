"""`GET /build/<provider>/<spec>`: BinderHub's endpoint that builds and launches (launch-api 1.5, 1.10)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from rebind.errors import FullError, RebindError, RefusedError
from rebind.values import Event
from rebind.web import HubFront, WebSettings
from rebind.web.stream import data, failed, one, respond
from rebind.web.visitor import visitor


class Build:
    """The endpoint."""

    def __init__(self, hub: HubFront, settings: WebSettings) -> None:
        self._hub = hub
        self._settings = settings

    async def __call__(self, request: Request) -> Response:
        if request.method == "HEAD":  # asking what is there must not start it
            return Response(media_type="text/event-stream")
        return respond(await self._events(request), self._settings, data)

    async def _events(self, request: Request) -> AsyncIterator[tuple[int, Event]]:
        if not accepts_events(request.headers.get("accept", "")):
            return one(failed("Missing Accept header: text/event-stream", 400))
        provider, raw_spec = split(request.scope["path"])
        if request.query_params.get("build_only", "").lower() == "true":
            return one(failed("Building but not launching is not permitted on this hub.", 400))
        try:
            launch = await start(self._hub, self._settings, request, provider, raw_spec, None)
        except RebindError as error:
            return one(refusal(error, raw_spec))
        return self._hub.events(launch)


def split(path: str) -> tuple[str, str]:
    """Provider and spec of `/build/<provider>/<spec>` or `/v2/...`, still percent-encoded."""
    _, _, provider, spec = [*path.split("/", 3), "", "", ""][:4]
    return provider, spec.rstrip("/")


async def start(
    hub: HubFront, settings: WebSettings, request: Request, provider: str, raw_spec: str, as_of: str | None
) -> str:
    """Creates the launch for a request. Raises RebindError, with the words of launch-api 1.10."""
    known = await run_in_threadpool(hub.providers)
    if provider not in {str(display["id"]) for display in known}:
        raise RebindError(f"No provider found for prefix {provider[:80]}")
    who = visitor(request, settings)
    return await run_in_threadpool(
        hub.create_launch, provider, raw_spec, origin=who.origin, client=who.client, as_of=as_of
    )


def refusal(error: RebindError, raw_spec: str) -> Event:
    """The one event of a launch that was not created."""
    if isinstance(error, RefusedError):
        return failed(f"Sorry, {raw_spec} is not allowed to launch. {error.text()}")
    if isinstance(error, FullError):
        return failed("Too many users on this BinderHub! Try again soon.")
    return failed(error.text())


def accepts_events(accept: str) -> bool:
    """Whether `text/event-stream` is named with a weight above zero (RFC 9110 section 12.5.1; launch-api Q4)."""
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        if kind != "text/event-stream":
            continue
        weights = [p[2:] for p in parameters if p.startswith("q=")]
        return not weights or weights[0].rstrip("0") not in ("", ".", "0.")
    return False
