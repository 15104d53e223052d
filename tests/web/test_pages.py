"""The pages: what a stranger's text may do to them (nothing), who is believed, the way without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_hub import BUILT, CACHED, Answer, ScriptedHub, Served, ready

from rebind.errors import RefusedError
from rebind.values import Event, Phase
from rebind.web.pages import plain

Serve = Callable[..., Served]
EVIL = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E%3Cimg%20src=x%20onerror=alert(1)%3E"
RAW = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Tags(HTMLParser):
    """Collects the tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def check(answer: Answer) -> None:
    """No tag of a stranger's, no inline handler, each script with the nonce of the policy, nothing from elsewhere."""
    policy = answer.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert "unsafe" not in policy
    for tag, attributes in Tags(answer.text).tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert attributes.get("src") != "x"
        if tag in ("script", "link") and attributes.get("rel") != "icon":
            assert attributes["nonce"] == nonce
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert not value.startswith(("javascript:", "data:"))
            if tag != "a":
                assert "://" not in value, "a third-party request"


@pytest.mark.parametrize(
    "path",
    ["/", "/about", "/nothing", f"/v2/git/{EVIL}/{EVIL}", f"/v2/{EVIL}/x", f"/v2/git/x/HEAD?labpath={EVIL}&asof={EVIL}",
     f"/v2/git/x/HEAD?urlpath=//{EVIL}", f"/?address={EVIL}&ref={EVIL}&path={EVIL}&provider={EVIL}&kind={EVIL}",
     f"/?address=https://x/{EVIL}", f"/{EVIL}"],
)  # fmt: skip
def test_a_strangers_text_stays_text(serve: Serve, path: str) -> None:
    answer = serve(banner=RAW, about=RAW).ask(path)
    check(answer)
    assert "<script>alert" not in answer.text
    assert "<img src=x" not in answer.text
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_nonce_is_fresh(serve: Serve) -> None:
    served = serve()
    assert len({served.ask("/").headers["content-security-policy"] for _ in range(3)}) == 3


def test_page_config_cannot_be_left(serve: Serve) -> None:
    answer = serve(about="</script><script>alert(1)</script>").ask("/")
    assert "</script><script>alert" not in answer.text


def test_log_lines_of_the_page_without_scripts(serve: Serve) -> None:
    script = [Event(Phase.BUILDING, f"\x1b[31m{RAW}\x1b[0m\n"), Event(Phase.BUILDING, "1%\r50%\r100%\n"), None]
    served = serve(ScriptedHub(script=script))
    page = without_scripts(served, "/v2/git/x/HEAD")
    check(page)
    assert "&lt;script&gt;alert(1)" in page.text
    assert "\x1b" not in page.text
    assert "100%" in page.text
    assert "50%" not in page.text


def without_scripts(served: Served, path: str) -> Answer:
    page = served.ask(path)
    refresh = next(a["content"] for t, a in Tags(page.text).tags if t == "meta" and a.get("http-equiv") == "refresh")
    answer = served.ask(path.partition("?")[0] + refresh.partition("url=")[2])
    assert answer.status == 303
    assert len(served.hub.asked) == 1
    return served.ask(answer.headers["location"])


def test_without_scripts_to_the_session(serve: Serve) -> None:
    served = serve(ScriptedHub(script=[*CACHED[:2], ready("http://hub.example/user/x-1/")]))
    answer = without_scripts(served, "/v2/git/x/HEAD?labpath=a%20b.ipynb&asof=2020-01-01")
    assert answer.status == 303
    assert answer.headers["location"] == "http://hub.example/user/x-1/doc/tree/a%20b.ipynb?token=T0KEN"
    assert served.hub.asked[0]["as_of"] == "2020-01-01"


def test_without_scripts_to_an_error(serve: Serve) -> None:
    served = serve(ScriptedHub(script=[*BUILT[:3], Event(Phase.FAILED, "postBuild ended with code 3.\n")]))
    page = without_scripts(served, "/v2/git/x/HEAD")
    assert "postBuild ended with code 3." in page.text
    assert "http-equiv" not in page.text
    assert 'href="/v2/git/x/HEAD"' in page.text


def test_without_scripts_a_refusal(serve: Serve) -> None:
    answer = serve(ScriptedHub(refuse=RefusedError("Banned."))).ask("/v2/git/x/HEAD?nojs=1")
    assert answer.status == 400
    assert "not allowed to launch" in answer.text


@pytest.mark.parametrize("wish", ["https://other.example/", "//other.example", "../other/"])
def test_the_page_without_scripts_does_not_leave(serve: Serve, wish: str) -> None:
    served = serve(ScriptedHub(script=CACHED))
    id = json.loads(served.ask("/api/v1/launches", method="POST", body=b'{"provider": "git", "spec": "x"}').body)["id"]
    answer = served.ask(f"/launch/{id}?urlpath={wish}")
    assert answer.headers["location"] == "http://hub.example/user/ada-lab-1/?token=T0KEN"


@pytest.mark.parametrize("path", ["/build/git/x/HEAD", "/v2/git/x/HEAD?nojs=1"])
def test_asking_for_the_head_starts_nothing(serve: Serve, path: str) -> None:
    served = serve()
    assert served.ask(path, "Accept: text/event-stream", method="HEAD").status == 200
    assert served.hub.asked == []


def test_the_form_without_scripts(serve: Serve) -> None:
    page = serve().ask("/?address=https%3A%2F%2Fexample.org%2Fa.git&ref=v1&path=n.ipynb&kind=lab")
    assert 'href="http://hub.example/v2/git/https%3A%2F%2Fexample.org%2Fa.git/v1?labpath=n.ipynb"' in page.text


def test_forwarded_headers_count_on_the_socket_only(serve: Serve) -> None:
    lies = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: hub.example.org")
    served = serve()
    served.ask("/build/git/x/HEAD", "Accept: text/event-stream", *lies)
    assert served.hub.asked[0]["origin"] == "https://hub.example.org/"
    assert served.hub.asked[0]["client"] == "203.0.113.7"
    served = serve(port=True)
    served.ask("/build/git/x/HEAD", "Accept: text/event-stream", "Host: localhost:1", *lies[:1], *lies[2:])
    assert served.hub.asked[0]["origin"] == "http://localhost:1/"


@pytest.mark.parametrize("host", ["evil.example/user/x", "a b", "<script>", "x@y", ""])
def test_a_strange_host_is_not_repeated(serve: Serve, host: str) -> None:
    served = serve()
    served.ask("/build/git/x/HEAD", "Accept: text/event-stream", f"Host: {host}")
    assert served.hub.asked == [] or served.hub.asked[0]["origin"] == "http://localhost/"


def test_public_url(serve: Serve) -> None:
    served = serve(public_url="https://binder.example.org")
    served.ask("/build/git/x/HEAD", "Accept: text/event-stream")
    assert served.hub.asked[0]["origin"] == "https://binder.example.org/"


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "....//x", "/etc/passwd", "x\\..\\app.py", ""]
)
def test_static_files_cannot_be_left(serve: Serve, name: str) -> None:
    assert serve().ask(f"/static/{name}").status in (400, 404)


def test_every_script_and_picture_of_a_page_is_there(serve: Serve) -> None:
    served = serve()
    for path in ("/", "/v2/git/x/HEAD", "/about"):
        for tag, attributes in Tags(served.ask(path).text).tags:
            name = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
            if name:
                assert served.ask(name).status == 200, name


def test_plain() -> None:
    assert plain("a\x1b[1;31mb\x1b[0m\r\n1%\r2%\r\nx\x07\x1b]y\n") == "ab\n2%\nxy\n"


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.sampled_from(["/", "/v2/", "/build/", "/v2/git/", "/build/git/", "/repo/", "/static/", "/launch/",
                     "/api/v1/launches/", "/?address=", "/v2/git/x?urlpath=", "/v2/git/x?nojs=1&labpath=",
                     "/api/v1/link?address=",
                     "/favicon_"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
    | st.binary(max_size=12).map(lambda b: "".join(f"%{x:02X}" for x in b)),
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "DELETE"]),
)  # fmt: skip
def test_no_path_is_a_server_error(fuzzed: Served, start: str, rest: str, method: str) -> None:
    answer = fuzzed.ask(start + rest, "Accept: text/event-stream", method=method)
    assert answer.status < 500


@pytest.fixture
def fuzzed(serve: Serve) -> Served:
    return serve(ScriptedHub(script=CACHED))
