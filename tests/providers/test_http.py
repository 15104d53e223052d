"""The HTTP client: limits, redirects, tokens, the proxy, and servers that do not keep to the rules."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.providers.record_servers import Asked, Reply, Service, as_file, as_json

from rebind.errors import NetworkError, RefusedError, RepositoryError
from rebind.providers.archives import Budget
from rebind.providers.command import Watch
from rebind.providers.http import MAX_REDIRECTS, MAX_TEXT, Http, StatusError, parse_http
from rebind.providers.texts import decoded, printable, shown
from rebind.sandbox.egress import Egress
from rebind.sandbox.policy import EgressPolicy


@contextmanager
def raw_server(answer: bytes | Callable[[socket.socket], None]) -> Iterator[str]:
    """Answers every connection with these bytes, whatever is asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.2)
    ending = threading.Event()

    def serve() -> None:
        while not ending.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            with connection:
                connection.recv(65536)
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        ending.set()
        thread.join()
        listening.close()


@pytest.fixture
def http() -> Iterator[Http]:
    with Http(pause=0.0) as client:
        yield client


def test_connections_are_kept(http: Http, tmp_path: Path) -> None:
    ports = set()

    class Counting(Service):
        def answer(self, asked: Asked) -> Reply:
            return as_file(b"x" * 300_000)

    with Counting() as service:
        for number in range(5):
            http.download(f"{service.url}/x", tmp_path / str(number), Budget().add)
            ports |= {connection.sock.getsockname()[1] for connection in http._idle.values()}
    assert len(ports) == 1


def test_redirects_end(http: Http) -> None:
    with Service() as service:
        service.replies["/loop"] = (302, {"Location": "/loop"}, b"x")
        with pytest.raises(RepositoryError, match="redirects too often"):
            http.get(f"{service.url}/loop")
        assert len(service.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "javascript:1", "http://"]
)
def test_redirects_lead_only_to_the_web(http: Http, target: str) -> None:
    with Service() as service:
        service.replies["/x"] = (302, {"Location": target}, b"")
        with pytest.raises((RepositoryError, RefusedError)):
            http.get(f"{service.url}/x")


def test_tokens_stay_with_their_server() -> None:
    with Service() as other, Service() as service:
        other.replies["/y"] = as_json({})
        service.replies["/x"] = (307, {"Location": f"{other.url}/y"}, b"")
        with Http(tokens={service.url: "token s3cret"}, pause=0.0) as client:
            client.get(f"{service.url}/x")
            client.get(f"{other.url}/y")
            with pytest.raises(StatusError):
                client.get(f"{service.url.replace('127.0.0.1', 'user:pw@127.0.0.1')}/none")
        assert [each.headers.get("authorization") for each in service.asked] == ["token s3cret"] * 2
        assert [each.headers.get("authorization") for each in other.asked] == [None, None]
        assert "s3cret" not in repr(client)


def test_a_login_in_an_address_is_not_sent(http: Http) -> None:
    with Service(replies={"/x": as_json({})}) as service:
        http.get(service.url.replace("127.0.0.1", "u:p@127.0.0.1") + "/x")
        assert "authorization" not in service.asked[0].headers


@pytest.mark.parametrize(
    "url",
    ["http://a b/", "http://x\r\nHost: y/", "http:///x", "http://[::1/", "http://x:99999/", "http://x:0/", "file:///x",
     "http://x/?\ud800", "http://x/?a\r\nb", "https://\ud800/"],
)  # fmt: skip
def test_bad_addresses(url: str) -> None:
    with pytest.raises((RepositoryError, RefusedError)):
        parse_http(url)


def test_a_path_cannot_smuggle_a_request(http: Http) -> None:
    with Service() as service:
        with pytest.raises((StatusError, RepositoryError)):
            http.get(f"{service.url}/a HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET /b")
        assert all("x-evil" not in each.headers for each in service.asked)
        assert "/b" not in service.paths()


def test_answers_without_end(http: Http, tmp_path: Path) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            for _ in range(MAX_TEXT // 100_000 + 50):
                connection.sendall(b"x" * 100_000)
        except OSError:
            pass

    with raw_server(flood) as url:
        with pytest.raises(RepositoryError, match="too long"):
            http.get(url)
        with pytest.raises(RepositoryError, match="larger than"):
            http.download(url, tmp_path / "x", Budget(max_bytes=1000).add)


def test_drops_in_the_ocean_end_at_the_deadline() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            for _ in range(200):
                connection.sendall(b"x")
                time.sleep(0.02)
        except OSError:
            pass

    soon = Watch(deadline=time.monotonic() + 0.3)
    with raw_server(drip) as url, Http(watch=soon) as client, pytest.raises(RepositoryError, match="took longer"):
        client.get(url)


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
)  # fmt: skip
def test_broken_servers(http: Http, answer: bytes, tmp_path: Path) -> None:
    with raw_server(answer) as url:
        with pytest.raises(NetworkError):
            http.get(url)
        with pytest.raises(NetworkError):
            http.download(url, tmp_path / "x", Budget().add)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b"[" * 100_000])
def test_json_that_is_none(http: Http, body: bytes) -> None:
    with Service(replies={"/x": as_file(body)}) as service, pytest.raises(RepositoryError, match="no JSON"):
        http.json(f"{service.url}/x")


def test_what_was_not_asked_for_is_not_unpacked(http: Http) -> None:
    packed = as_file(b"..", Content_Encoding="gzip")
    with Service(replies={"/x": packed}) as service, pytest.raises(RepositoryError, match="encoding"):
        http.get(f"{service.url}/x")


def test_a_second_try_helps(http: Http) -> None:
    class Flaky(Service):
        def answer(self, asked: Asked) -> Reply:
            return as_json({"n": len(self.asked)}) if len(self.asked) == 3 else (503, {}, b"")

    with Flaky() as service:
        assert http.json(f"{service.url}/x") == {"n": 3}


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "There is no such thing"), (403, "does not give out"), (429, "fewer"), (500, "answered 500")],
)
def test_statuses(http: Http, status: int, said: str) -> None:
    with Service(replies={"/x": (status, {}, b"")}) as service, pytest.raises(StatusError, match=said) as caught:
        http.get(f"{service.url}/x?secret=1", missing="There is no such thing.")
    assert caught.value.status == status
    assert "secret" not in caught.value.text()


def test_nobody_there(http: Http) -> None:
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1 cannot be reached: Connection refused"):
        http.get("http://127.0.0.1:9/")
    with pytest.raises(NetworkError, match=r"no-such-host\.invalid cannot be reached: its name is not known"):
        http.get("http://no-such-host.invalid/")


def test_everything_goes_through_the_proxy_which_decides(tmp_path: Path) -> None:
    with Service(replies={"/y": as_json({"y": 1})}) as inner, Service() as outer:
        outer.replies["/in"] = (302, {"Location": f"{inner.url}/y"}, b"")
        outer.replies["/out"] = as_json({"out": 1})
        allowed: Any = frozenset({f"127.0.0.1:{outer.port}"})
        with Egress(EgressPolicy(False, allowed, frozenset({80, 443, inner.port})), tmp_path / "s") as egress:
            with Http(proxy_url=egress.proxy_url, pause=0.0) as client:
                assert client.json(f"{outer.url}/out") == {"out": 1}
                with pytest.raises(RefusedError, match="private"):
                    client.get(f"{outer.url}/in")
                with pytest.raises(RefusedError, match="not be reached from here"):
                    client.get(f"https://127.0.0.1:{inner.port}/y")
                with pytest.raises(NetworkError, match=r"no-such-host\.invalid cannot be reached"):
                    client.get("http://no-such-host.invalid/")
            assert [asked.port for asked in egress.requests if asked.refused] == [inner.port, inner.port]
        assert inner.asked == []


def test_texts() -> None:
    assert shown("https://u:p@x.org/a?token=1#y") == "https://x.org/a"
    assert printable("a\x1b[31m\u202eb\ud800\n") == "a?[31m?b??"
    assert decoded("a%20b/") == "a b"
