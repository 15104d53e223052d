"""Attacks on the proxy with raw sockets: smuggled requests, injected headers, other people's sessions, slow clients."""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import ip_network

import pytest
from conftest_routes import Stage, read_all, read_answer, read_head, says
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_proxy import body_of, status

HEAD = "GET /user/a/ HTTP/1.1\r\nHost: h\r\n"
POST = "POST /user/a/ HTTP/1.1\r\nHost: h\r\n"
SMUGGLED = "GET /user/ab/secret HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("length and coding", f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"),
        ("coding and length", f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{SMUGGLED}"),
        ("two lengths", f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("the same length twice", f"{POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        ("list of lengths", f"{POST}Content-Length: 5, 5\r\n\r\nhello"),
        ("signed length", f"{POST}Content-Length: +5\r\n\r\nhello"),
        ("negative length", f"{POST}Content-Length: -5\r\n\r\nhello"),
        ("hexadecimal length", f"{POST}Content-Length: 0x5\r\n\r\nhello"),
        ("length with underscores", f"{POST}Content-Length: 1_0\r\n\r\nhello"),
        ("empty length", f"{POST}Content-Length: \r\n\r\nhello"),
        ("huge length", f"{POST}Content-Length: {'9' * 30}\r\n\r\nhello"),
        ("unknown coding", f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("two codings", f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("coding twice", f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("coding with a tab before", f"{POST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
        ("quoted coding", f'{POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
        ("coding in HTTP/1.0", "POST /user/a/ HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("space before the colon", f"{POST}Content-Length : 5\r\n\r\nhello"),
        ("folded line", f"{HEAD}X-A: b\r\n folded\r\n\r\n"),
        ("folded coding", f"{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        ("first line folded", "GET /user/a/ HTTP/1.1\r\n Host: h\r\n\r\n"),
        ("bare line feed", "GET /user/a/ HTTP/1.1\nHost: h\n\n"),
        ("bare line feed in a field", f"{HEAD}X-A: b\nX-B: c\r\n\r\n"),
        ("bare carriage return", f"{HEAD}X-A: b\rX-B: c\r\n\r\n"),
        ("NUL", f"{HEAD}X-A: b\0c\r\n\r\n"),
        ("control character", f"{HEAD}X-A: b\x01c\r\n\r\n"),
        ("no colon", f"{HEAD}X-A\r\n\r\n"),
        ("empty name", f"{HEAD}: x\r\n\r\n"),
        ("no host", "GET /user/a/ HTTP/1.1\r\n\r\n"),
        ("two hosts", f"{HEAD}Host: other\r\n\r\n"),
        ("host with a path", "GET /user/a/ HTTP/1.1\r\nHost: h/user/ab/\r\n\r\n"),
        ("host with a user", "GET /user/a/ HTTP/1.1\r\nHost: u@h\r\n\r\n"),
        ("host with a space", "GET /user/a/ HTTP/1.1\r\nHost: h x\r\n\r\n"),
        ("absolute form of another host", "GET http://other/user/a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("absolute form with a user", "GET http://h@other/user/a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("authority form", "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("relative path", "GET user/a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("other scheme", "GET file:///etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("fragment", "GET /user/a/#x HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("space in the path", "GET /user/a/ x HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("unknown method", "GE T /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("HTTP/0.9", "GET /user/a/\r\n\r\n"),
        ("upgrade with a body", f"{POST}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ],
)
def test_refused_and_closed(stage: Stage, name: str, request_: str) -> None:
    answer = stage.raw(request_.encode("latin-1"))
    assert status(answer) in (400, 405, 505), answer
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1, "the rest was taken for another request"
    assert b"secret" not in answer


def test_connect_is_not_offered(stage: Stage) -> None:
    assert status(stage.raw(b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n")) == 405


@pytest.mark.parametrize(
    "body",
    ["5\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "-1\r\n",
     "5\r\nhello!\r\n0\r\n\r\n",
     "5;a\0b\r\nhello\r\n0\r\n\r\n", "\r\n5\r\nhello\r\n", "fffffffffffffffff\r\n", "5\r\nhelloX\r\n", "g\r\n",
     "0\r\nbad trailer\r\n\r\n", "0\r\nX: a\n\r\n", "5;" + "x" * 5000 + "\r\nhello\r\n"],
)  # fmt: skip
def test_broken_chunks_are_refused(stage: Stage, body: str) -> None:
    answer = stage.raw(f"{POST}Transfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}".encode("latin-1"))
    assert status(answer) == 400
    assert b"secret" not in answer


def test_sizes(stage: Stage) -> None:
    assert status(stage.raw(f"GET /user/a/{'x' * 20000} HTTP/1.1\r\nHost: h\r\n\r\n".encode())) == 414
    assert status(stage.raw(f"{HEAD}X: {'x' * 70000}\r\n\r\n".encode())) == 431
    assert status(stage.raw((HEAD + "X-Y: z\r\n" * 200 + "\r\n").encode())) == 431
    assert status(stage.raw(b"G" * 70000)) == 431


def test_an_endless_path_of_slashes(stage: Stage) -> None:
    """Only as many parts of a path are looked up as the longest prefix has; all of them would cost the square."""
    for _ in range(20):
        assert status(stage.get("/" * 16000)) == 200
    assert stage.proxy._table._loaded.depth == 3


def test_thousands_of_tiny_chunks(stage: Stage) -> None:
    answer = stage.raw(
        f"{POST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"1\r\nx\r\n" * 100000
    )
    assert answer == b"" or status(answer) < 600


@pytest.mark.parametrize(
    ("path", "session"),
    [
        ("/user/a/../ab/x", "a"),
        ("/user/a/%2e%2e/ab/x", "a"),
        ("/user/a/..%2fab/x", "a"),
        ("/user/a/./../../user/ab/", "a"),
        ("/user/a//user/ab/", "a"),
        ("/user/a/?/user/ab/", "a"),
        ("/user/ab/", "ab"),
        ("/user/ab/user/a/", "ab"),
        ("/x/../user/a/", "hub"),
        ("//user/a/", "hub"),
        ("//user/..", "hub"),
        ("/%75ser/a/", "hub"),
        ("/./user/a/", "hub"),
        ("/USER/a/", "hub"),
        ("/?/user/a/", "hub"),
    ],
)
def test_a_path_is_taken_literally(stage: Stage, path: str, session: str) -> None:
    for name in ("a", "ab"):
        stage.session(name + "2", says(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()))
        stage.database.add((f"/user/{name}/", stage.directory / f"{name}2.sock", name))
    stage.hub.unlink()
    answer = stage.get(path)
    if session == "hub":
        assert status(answer) == 503
    else:
        assert body_of(answer) == session.encode()


@pytest.mark.parametrize(
    "path", ["/user/A/", "/user/%61/", "/user/a%2F/", "/user/a;/", "/user/a\\/", "/user//a/", "/user/../user/a/"]
)
def test_no_other_spelling_reaches_a_session(stage: Stage, path: str) -> None:
    assert status(stage.get(path)) in (400, 424)


def test_absolute_form_of_the_own_host(stage: Stage) -> None:
    answer = stage.raw(b"GET http://H/user/a/x?y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert b"GET /user/a/x?y HTTP/1.1\r\nHost: h\r\n" in answer


def test_what_a_stranger_says_of_itself_is_dropped(stage: Stage) -> None:
    lies = [
        "X-Forwarded-For: 10.0.0.1", "x-forwarded-proto: https", "X-Forwarded-Host: evil.example",
        "Forwarded: for=10.0.0.1",
        "X-Real-IP: 10.0.0.1", "X-Scheme: https", "X_Forwarded_For: 10.0.0.1", "X-Forwarded-Prefix: /x",
        "Proxy-Authorization: x", "TE: trailers", "Keep-Alive: x",
    ]  # fmt: skip
    seen = body_of(stage.get("/user/a/", *lies)).lower()
    for word in (b"10.0.0.1", b"evil", b"https", b"/x", b"proxy-auth", b"trailers", b"keep-alive"):
        assert word not in seen.partition(b"http/1.1\r\n")[2], word
    assert seen.count(b"x-forwarded-for") == 1


def test_a_trusted_proxy_is_believed_for_the_last_stranger(make_stage) -> None:
    stage = make_stage(trusted=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")))
    stage.session("a")
    seen = stage.get("/user/a/", "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.5", "X-Forwarded-Proto: https")
    assert b"X-Forwarded-For: 203.0.113.9\r\n" in seen
    assert b"X-Forwarded-Proto: https\r\n" in seen
    assert b"X-Forwarded-Port: 443\r\n" in seen
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in stage.get("/user/a/", "X-Forwarded-For: garbage")


def test_connection_names_hop_by_hop_fields_only(stage: Stage) -> None:
    seen = stage.raw(f"{HEAD}Connection: close, X-Drop, Host, Cookie\r\nX-Drop: 1\r\nCookie: c\r\n\r\n".encode())
    assert b"X-Drop: 1" not in seen
    assert b"Cookie: c" in seen
    assert b"Host: h" in seen


def test_h2c_is_not_upgraded(stage: Stage) -> None:
    seen = body_of(
        stage.raw(
            f"{HEAD}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n".encode()
        )
    )
    assert b"pgrade" not in seen
    assert b"HTTP2" not in seen


def test_the_hub_gets_no_upgrade(stage: Stage) -> None:
    seen = stage.raw(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n")
    assert b"Upgrade" not in body_of(seen)


def test_an_upgrade_that_was_refused_leaves_an_ordinary_connection(stage: Stage) -> None:
    stage.session("plain", says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", close=False))
    first, second = stage.raw(
        b"GET /user/plain/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        b"GET /user/a/mine HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    ).split(b"HTTP/1.1 200 OK", 1)
    assert first.endswith(b"\r\n\r\nno")
    assert b"GET /user/a/mine" in second, "checked and routed by the proxy, not tunnelled"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"garbage\r\n\r\n",
        b"\x00" * 70000,
    ],
)
def test_a_broken_answer_is_502(stage: Stage, answer: bytes) -> None:
    stage.session("broken", says(answer))
    got = stage.get("/user/broken/")
    assert status(got) == 502
    assert got.count(b"HTTP/1.1 ") == 1


def test_an_answer_longer_than_it_says_does_not_reach_the_next_request(stage: Stage) -> None:
    spill = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    stage.session("spill", says(spill, close=False))
    with stage.connect() as connection:
        for path in (b"/user/spill/", b"/user/spill/"):
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            assert read_answer(connection)[1] == b"ok"
        connection.sendall(b"GET /user/a/mine HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"GET /user/a/mine" in read_answer(connection)[1]


def test_an_unasked_answer_on_a_kept_connection_is_dropped(stage: Stage) -> None:
    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await writer.drain()
        await reader.read()

    stage.session("eager", eager)
    for _ in range(3):
        assert body_of(stage.get("/user/eager/")) == b"ok"
        time.sleep(0.2)


def test_a_session_decides_nothing_for_the_whole_origin(stage: Stage) -> None:
    fields = (
        b"Service-Worker-Allowed: /\r\nAlt-Svc: h3=\":1\"\r\nClear-Site-Data: \"*\"\r\n"
        b"Strict-Transport-Security: max-age=1\r\n"
        b"Set-Cookie: a=1; Path=/; Domain=example.org; HttpOnly\r\nSet-Cookie: b=2; path=/user/cookie/x; Secure\r\n"
        b"Set-Cookie: c=3\r\nSet-Cookie: d=4; Path=/user/ab/\r\n"
    )  # fmt: skip
    stage.session("cookie", says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields + b"\r\n"))
    answer = stage.get("/user/cookie/")
    for name in (b"Service-Worker", b"Alt-Svc", b"Clear-Site", b"Strict-Transport"):
        assert name not in answer
    assert b"Set-Cookie: a=1; HttpOnly; Path=/user/cookie/\r\n" in answer
    assert b"Set-Cookie: b=2; path=/user/cookie/x; Secure\r\n" in answer
    assert b"Set-Cookie: c=3; Path=/user/cookie/\r\n" in answer
    assert b"Set-Cookie: d=4; Path=/user/cookie/\r\n" in answer


def test_refusals_echo_nothing(stage: Stage) -> None:
    answer = stage.get('/user/<script>alert(1)</script>"/', "Accept: text/html")
    assert b"script" not in body_of(answer)


def test_a_redirect_stays_on_the_host(stage: Stage) -> None:
    stage.database.add(("/user/evil/", stage.directory / "a.sock", "evil"))
    assert b"Location: /user/evil/?//evil.example\r\n" in stage.get("/user/evil?//evil.example")


def trickle(stage: Stage, first: bytes, piece: bytes, pause: float) -> bytes:
    """Sends something slowly, for as long as the other side takes it."""
    with stage.connect() as connection:
        connection.sendall(first)
        try:
            for _ in range(100):
                time.sleep(pause)
                connection.sendall(piece)
        except OSError:
            pass
        return read_all(connection)


def test_a_slow_head_is_ended(make_stage) -> None:
    stage = make_stage(head_time=0.4, linger_time=0.2)
    stage.session("a")
    answer = trickle(stage, HEAD.encode(), b"X-A: b\r\n", 0.05)
    assert answer == b"" or status(answer) == 408


def test_a_slow_body_is_ended(make_stage) -> None:
    stage = make_stage(body_time=0.3, linger_time=0.2)
    stage.session("a")
    answer = stage.raw(f"{POST}Content-Length: 10\r\n\r\nhel".encode())
    assert status(answer) == 408


def test_a_silent_connection_is_ended(make_stage) -> None:
    stage = make_stage(head_time=0.3, idle_time=0.3)
    stage.session("a")
    with stage.connect() as connection:
        assert connection.recv(10) == b""
    with stage.connect() as connection:
        connection.sendall(f"{HEAD}\r\n".encode())
        read_answer(connection)
        assert connection.recv(10) == b""


def test_a_client_that_does_not_read_is_ended(make_stage) -> None:
    stage = make_stage(stall_time=0.4)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    stage.session("endless", endless)
    connection = stage.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(b"GET /user/endless/ HTTP/1.1\r\nHost: h\r\n\r\n")
    assert stage.ended["endless"].wait(10)
    connection.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=300) | st.text(alphabet="GET /user:ab.HTTP1\r\n \t0chunked;", max_size=200).map(str.encode)
)
def test_no_bytes_bring_it_down(stage: Stage, data: bytes) -> None:
    with stage.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert status(stage.get("/user/a/")) == 200
