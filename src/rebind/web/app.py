"""The web application of a hub, and the list of its routes (launch-api 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rebind.web import HubFront, WebSettings, pictures
from rebind.web.assets import asset
from rebind.web.build import Build
from rebind.web.launches import router
from rebind.web.pages import Pages
from rebind.web.secure import RawPath, Secure

ROBOTS = "User-agent: *\nDisallow: /v2/\nDisallow: /build/\nDisallow: /launch/\nDisallow: /user/\nDisallow: /api/\n"


def create_app(hub: HubFront, settings: WebSettings | None = None) -> FastAPI:
    """The application. Nothing is started; serve it with uvicorn on a Unix socket behind the proxy."""
    settings = settings or WebSettings()
    app = FastAPI(
        title="rebind", version=settings.version or "0", docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json", redirect_slashes=False,
    )  # fmt: skip
    pages = Pages(hub, settings)
    app.router.routes.extend(_pages(pages) + _pictures())
    app.router.routes.extend(_launch_api(hub, settings))
    app.include_router(router(hub, settings))
    app.add_exception_handler(HTTPException, pages.not_found)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Secure, settings=settings)
    app.add_middleware(RawPath, base_url=settings.base_url)
    return app


def _pages(pages: Pages) -> list[Route]:
    return [
        Route("/", pages.index),
        Route("/v2/{provider}/{spec:path}", pages.launch),
        Route("/launch/{id}", pages.watch),
        Route("/about", pages.about),
        Route("/repo/{user}/{repo}", pages.repo),
        Route("/repo/{user}/{repo}/{path:path}", pages.repo),
        Route("/static/{name}", asset),
        Route("/robots.txt", _robots),
    ]


def _pictures() -> list[Route]:
    return [
        Route("/badge.svg", pictures.plain_badge),
        Route("/assets/images/badge.svg", pictures.plain_badge),
        Route("/badge_logo.svg", pictures.logo_badge),
        Route("/favicon.ico", pictures.favicon),
        Route("/favicon_{state}.ico", pictures.favicon),
        Route("/logo_social.png", pictures.social),
    ]


def _launch_api(hub: HubFront, settings: WebSettings) -> list[Route]:
    return [
        Route("/build/{provider}/{spec:path}", Build(hub, settings).__call__),
        Route("/health", _health(hub)),
        Route("/versions", _answers(lambda: dict(hub.versions()))),
        Route("/api/repoproviders", _answers(lambda: [dict(display) for display in hub.providers()])),
        Route("/_config", _answers(lambda: _old_config(hub))),
    ]


def _answers(make: Callable[[], object]) -> Callable[[Request], object]:
    async def answer(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(make))

    return answer


def _health(hub: HubFront) -> Callable[[Request], object]:
    async def health(request: Request) -> Response:
        report = await run_in_threadpool(hub.health)
        return JSONResponse(dict(report), 200 if healthy(report) else 503)

    return health


def healthy(report: Mapping[str, object]) -> bool:
    """Whether every check is ok that counts (launch-api 1.8)."""
    checks = report.get("checks", [])
    assert isinstance(checks, list)
    return all(check.get("ok") or check.get("_ignore_failure") for check in checks)


def _old_config(hub: HubFront) -> dict[str, dict[str, object]]:
    """What deployments before the front end's rewrite answered."""
    found = {}
    for display in hub.providers():
        ref = display.get("ref") or {}
        found[str(display["id"])] = {
            "text": display["repo"]["label"],
            "tag_text": "Git ref (branch, tag, or commit)",
            "ref_prop_disabled": not ref.get("enabled"),
            "label_prop_disabled": not ref.get("enabled"),
        }
    return found


async def _robots(request: Request) -> Response:
    return PlainTextResponse(ROBOTS)


async def _invalid(request: Request, error: Exception) -> Response:
    """A request that our own API does not understand: where and why, without echoing it."""
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors()]
    return JSONResponse({"status": 422, "message": "; ".join(problems)}, 422)
