"""Rows of the launch API that BinderHub's clients rely on, against the real application under a real uvicorn."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree
from collections.abc import Callable

import pytest
from scripted_hub import CACHED, Answer, ScriptedHub, Served, ready

from rebind.errors import AddressError, FullError, RefusedError
from rebind.values import Event, Phase

Serve = Callable[..., Served]
SSE = "Accept: text/event-stream"
SPEC = "https%3A%2F%2Fexample.org%2Flab.git/HEAD"


def events(answer: Answer) -> list[dict[str, object]]:
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines), "only data lines, no event, id or retry fields"
    return [json.loads(line[6:]) for line in lines]


def build(served: Served, spec: str = SPEC, *headers: str, provider: str = "git", query: str = "") -> list[dict]:
    return events(served.ask(f"/build/{provider}/{spec}{query}", *(headers or (SSE,))))


def page_config(answer: Answer) -> dict[str, object]:
    head = answer.text.partition("</head>")[0]
    first = re.search(r"<script[^>]*>(.*?)</script>", head, re.DOTALL)
    assert first is not None
    return json.loads(first[1].partition("window.pageConfig = ")[2].rstrip().rstrip(";"))


# 1.1 routes


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/", 200, "text/html"),
        ("/v2/git/x/HEAD", 200, "text/html"),
        ("/v2/zenodo/10.5281/zenodo.1/", 200, "text/html"),
        ("/health", 200, "application/json"),
        ("/versions", 200, "application/json"),
        ("/api/repoproviders", 200, "application/json"),
        ("/_config", 200, "application/json"),
        ("/about", 200, "text/html"),
        ("/badge.svg", 200, "image/svg+xml"),
        ("/badge_logo.svg", 200, "image/svg+xml"),
        ("/assets/images/badge.svg", 200, "image/svg+xml"),
        ("/logo_social.png", 200, "image/png"),
        ("/favicon_fail.ico", 200, "image/x-icon"),
        ("/favicon_success.ico", 200, "image/x-icon"),
        ("/favicon_building.ico", 200, "image/x-icon"),
        ("/static/rebind.css", 200, "text/css"),
        ("/nothing/here", 404, "text/html"),
        ("/api/nothing", 404, "application/json"),
    ],
)
def test_1_1_route(serve: Serve, path: str, status: int, kind: str) -> None:
    answer = serve().ask(path)
    assert answer.status == status
    assert answer.headers["content-type"].startswith(kind)


def test_1_1_page_config(serve: Serve) -> None:
    served = serve(about="About <us>.", banner="<b>Hello</b>")
    config = page_config(served.ask("/"))
    assert {"baseUrl", "badgeBaseUrl", "logoUrl", "logoWidth", "repoProviders", "aboutMessage", "bannerHtml"} <= set(
        config
    )
    assert config["binderVersion"] == "1.2.3"
    assert config["baseUrl"] == "/"
    assert config["aboutMessage"] == "About <us>."
    assert "buildToken" not in config
    assert "buildToken" in page_config(served.ask("/v2/git/x/HEAD"))


def test_1_1_social_title_of_a_launch_page(serve: Serve) -> None:
    text = serve().ask("/v2/gh/ada/lab/HEAD").text
    assert '<meta property="og:title" content="GitHub: ada/lab/HEAD">' in text


def test_1_1_repo_redirect(serve: Serve) -> None:
    served = serve()
    answer = served.ask("/repo/ada/lab")
    assert (answer.status, answer.headers["location"]) == (302, "/v2/gh/ada/lab/master")
    answer = served.ask("/repo/ada/lab/dir/x%20y.ipynb")
    assert answer.headers["location"] == "/v2/gh/ada/lab/master?urlpath=%2Fdir%2Fx%20y.ipynb"


def test_1_1_static_files_have_an_etag_of_their_content(serve: Serve) -> None:
    served = serve()
    etag = served.ask("/static/rebind.css").headers["etag"]
    assert served.ask("/static/rebind.css", f"If-None-Match: {etag}").status == 304


def test_1_1_base_url(serve: Serve) -> None:
    served = serve(base_url="/services/binder/")
    assert served.ask("/").status == 404
    page = served.ask("/services/binder/")
    assert page_config(page)["baseUrl"] == "/services/binder/"
    assert 'href="/services/binder/static/rebind.css"' in page.text
    assert events(served.ask(f"/services/binder/build/git/{SPEC}", SSE))[-1]["phase"] == "ready"
    assert served.hub.asked[0]["origin"] == "http://hub.example/services/binder/"


# 1.2 query parameters; test_destination.py has the whole table


@pytest.mark.parametrize(
    ("query", "before"),
    [
        ("", ""),
        ("?urlpath=rstudio", "rstudio"),
        ("?urlpath=%2Flab%2Ftree%2Fa%20b.ipynb", "lab/tree/a%20b.ipynb"),
        ("?labpath=dir/x%20y.ipynb/", "doc/tree/dir/x%20y.ipynb"),
        ("?filepath=n.ipynb&unknown=1", "tree/n.ipynb"),
        ("?urlpath=git-pull%3Frepo%3DR%26urlpath%3Dlab%2Ftree%2Fr", "git-pull?repo=R&amp;urlpath=lab%2Ftree%2Fr"),
    ],
)
def test_1_2_destination_of_the_page(serve: Serve, query: str, before: str) -> None:
    text = serve().ask(f"/v2/git/x/HEAD{query}").text
    assert f'data-before="{before}"' in text


def test_1_2_q2_an_absolute_urlpath_is_refused(serve: Serve) -> None:
    answer = serve().ask("/v2/git/x/HEAD?urlpath=https%3A%2F%2Fother.example%2F")
    assert answer.status == 400
    assert "data-before" not in answer.text


def test_1_2_build_only_is_refused(serve: Serve) -> None:
    (event,) = build(serve(), query="?build_only=TRUE")
    assert event["phase"] == "failed"
    assert event["status_code"] == 400
    assert "Building but not launching is not permitted" in str(event["message"])


# 1.3 specs


@pytest.mark.parametrize(
    ("path", "provider", "spec"),
    [
        ("git/https%3A%2F%2Fexample.org%2Fa/feature%2Fx", "git", "https%3A%2F%2Fexample.org%2Fa/feature%2Fx"),
        ("gh/u/r/feature/x", "gh", "u/r/feature/x"),
        ("gh/u/r/feature%2Fx", "gh", "u/r/feature%2Fx"),
        ("zenodo/10.5281/zenodo.1/", "zenodo", "10.5281/zenodo.1"),
        ("gh/u/r/HEAD///", "gh", "u/r/HEAD"),
        ("gh/u/r/a%0Ab%20c", "gh", "u/r/a%0Ab%20c"),
        ("gh/u/r/%E4%BD%A0%FF", "gh", "u/r/%E4%BD%A0%FF"),
        ("git/http://raw/x/HEAD", "git", "http://raw/x/HEAD"),
    ],
)
def test_1_3_the_spec_is_raw(serve: Serve, path: str, provider: str, spec: str) -> None:
    served = serve()
    events(served.ask(f"/build/{path}", SSE))
    assert (served.hub.asked[0]["provider"], served.hub.asked[0]["spec"]) == (provider, spec)


def test_1_3_display_configs(serve: Serve) -> None:
    displays = json.loads(serve().ask("/api/repoproviders").body)
    assert [display["id"] for display in displays] == ["git", "gh", "zenodo"]
    assert set(displays[0]) >= {"displayName", "id", "spec", "repo", "ref"}


# 1.5 event stream


def test_1_5_headers(serve: Serve) -> None:
    answer = serve().ask(f"/build/git/{SPEC}", SSE)
    assert answer.headers["cache-control"] == "no-cache"
    assert "cache-control" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == "*"


def test_1_5_order_of_a_new_image(serve: Serve) -> None:
    phases = [event["phase"] for event in build(serve())]
    assert phases == ["waiting", "fetching", "building", "built", "launching", "ready"]


def test_1_5_order_of_a_cached_image(serve: Serve) -> None:
    found = build(serve(ScriptedHub(script=CACHED)))
    assert [event["phase"] for event in found] == ["built", "launching", "ready"]
    assert found[0]["imageName"] == "rebind/abc:1"


def test_1_5_fields_of_ready(serve: Serve) -> None:
    last = build(serve())[-1]
    assert set(last) == {
        "phase", "message", "url", "token", "image", "repo_url", "binder_ref_url", "binder_launch_host",
        "binder_request", "binder_persistent_request", "binder_client_ip",
    }  # fmt: skip
    assert all(isinstance(value, str) for value in last.values())
    assert str(last["url"]).endswith("/")


def test_1_5_one_line_an_event_whatever_the_message(serve: Serve) -> None:
    evil = "a\r\nb\n\ndata: {}\n\nevent: x\u2028\u0085\x00\x1b[31m \ud83d"
    served = serve(ScriptedHub(script=[Event(Phase.BUILDING, evil), *CACHED]))
    found = build(served)
    assert len(found) == 4
    assert found[0]["message"] == evil


def test_1_5_events_come_as_they_happen_with_keepalives_between(serve: Serve) -> None:
    served = serve(ScriptedHub(script=[CACHED[0], None]), keepalive=0.05)
    answer = served.stream(f"/build/git/{SPEC}", SSE, until=lambda data: data.count(b":keepalive\n\n") >= 2)
    assert b'"phase": "built"' in answer.body


def test_1_5_the_stream_stays_open_after_the_end(serve: Serve) -> None:
    served = serve(ScriptedHub(script=CACHED), linger=60.0, keepalive=0.05)
    with served.connect() as connection:
        connection.sendall(f"GET /build/git/{SPEC} HTTP/1.1\r\nHost: h\r\n{SSE}\r\n\r\n".encode())
        data = b""
        while data.partition(b'"ready"')[2].count(b":keepalive") < 3:
            piece = connection.recv(65536)
            assert piece, "closed at once: the browser would come back and launch again"
            data += piece


def test_1_5_closing_stops_the_watcher_and_not_the_launch(serve: Serve) -> None:
    hub = ScriptedHub(script=[CACHED[0], None])
    served = serve(hub)
    served.stream(f"/build/git/{SPEC}", SSE, until=lambda data: b"built" in data)
    for _ in range(500):
        if hub.watching == 0:
            break
        served.ask("/health")
    assert hub.watching == 0
    assert hub.cancelled == []


@pytest.mark.parametrize(
    "accept",
    [
        "text/event-stream",
        "text/event-stream, */*",
        "*/*, text/event-stream;q=0.5",
        "TEXT/Event-Stream ; charset=utf-8",
    ],
)
def test_1_5_q4_accept_is_parsed(serve: Serve, accept: str) -> None:
    assert build(serve(), SPEC, f"Accept: {accept}")[-1]["phase"] == "ready"


@pytest.mark.parametrize(
    "headers", [("X-No: accept",), ("Accept: text/html",), ("Accept: */*",), ("Accept: text/event-stream;q=0",)]
)
def test_1_10_missing_accept(serve: Serve, headers: tuple[str, ...]) -> None:
    served = serve()
    (event,) = build(served, SPEC, *headers)
    assert event == {"phase": "failed", "message": "Missing Accept header: text/event-stream\n", "status_code": 400}
    assert served.hub.asked == []


# 1.7 CORS


def test_1_7_preflight(serve: Serve) -> None:
    answer = serve().ask(f"/build/git/{SPEC}", "Origin: https://book.example", method="OPTIONS")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = answer.headers["access-control-allow-headers"]
    for name in ("authorization", "cache-control", "x-xsrftoken", "content-type", "last-event-id"):
        assert name in allowed


def test_1_7_cors_off_leaves_versions_open(serve: Serve) -> None:
    served = serve(cors_allow_origin="")
    assert "access-control-allow-origin" not in served.ask("/health").headers
    assert served.ask("/versions").headers["access-control-allow-origin"] == "*"


def test_1_7_q9_errors_have_cors_headers(serve: Serve) -> None:
    served = serve()
    for path in ("/api/nothing", "/api/v1/launches/nobody", "/nothing"):
        assert served.ask(path).headers["access-control-allow-origin"] == "*"


def test_1_7_one_origin(serve: Serve) -> None:
    answer = serve(cors_allow_origin="https://book.example").ask("/health")
    assert answer.headers["access-control-allow-origin"] == "https://book.example"
    assert "Origin" in answer.headers["vary"]


# 1.8


def test_1_8_health(serve: Serve) -> None:
    hub = ScriptedHub()
    hub.checks.append({"service": "Pod quota", "ok": False, "quota": 1, "_ignore_failure": True})
    served = serve(hub)
    assert served.ask("/health").status == 200
    assert served.ask("/health", method="HEAD").status == 200
    hub.checks.append({"service": "Docker registry", "ok": False})
    answer = served.ask("/health")
    assert answer.status == 503
    assert json.loads(answer.body)["checks"][0] == {"service": "JupyterHub API", "ok": True}


def test_1_8_versions(serve: Serve) -> None:
    assert "binderhub" in json.loads(serve().ask("/versions").body)


# 1.10 errors


def test_1_10_unknown_prefix(serve: Serve) -> None:
    (event,) = build(serve(), provider="xx")
    assert event == {"phase": "failed", "message": "No provider found for prefix xx\n"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RefusedError("This repository is banned."), "not allowed to launch"),
        (
            AddressError('Spec is not of the form "user/repo/ref", provided: "x".'),
            'Spec is not of the form "user/repo/ref"',
        ),
        (FullError("full"), "Too many users on this BinderHub!"),
    ],
)
def test_1_10_one_failed_event(serve: Serve, error: Exception, words: str) -> None:
    (event,) = build(serve(ScriptedHub(refuse=error)))
    assert event["phase"] == "failed"
    assert words in str(event["message"])
    assert "status_code" not in event


# 2.7 badges


@pytest.mark.parametrize("path", ["/badge.svg", "/badge_logo.svg", "/assets/images/badge.svg"])
def test_2_7_badges(serve: Serve, path: str) -> None:
    answer = serve().ask(path)
    assert answer.headers["content-type"] == "image/svg+xml"
    assert "max-age" in answer.headers["cache-control"]
    assert "set-cookie" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    root = xml.etree.ElementTree.fromstring(answer.text)
    assert root.attrib["aria-label"] == "launch rebind"


def test_2_7_first_generation_and_nbviewer_links(serve: Serve) -> None:
    served = serve()
    for path in ("/v2/gh/org/repo/main?filepath=dir/file.ipynb", "/v2/gist/ada/0a1b/master?filepath=x.ipynb"):
        assert served.ask(path).status == 200


def test_2_1_the_ready_url_is_where_the_token_is_for(serve: Serve) -> None:
    served = serve(ScriptedHub(script=[ready("https://hub.example/user/x-1/")]))
    assert build(served)[-1]["url"] == "https://hub.example/user/x-1/"
