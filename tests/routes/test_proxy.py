"""The proxy with real backends on Unix sockets."""

from __future__ import annotations

import asyncio
import hashlib
import re
import resource
import socket
import time
from pathlib import Path

import pytest
from conftest_routes import Stage, echo, read_answer, read_head, says
from websockets.asyncio.server import unix_serve
from websockets.sync.client import connect as websocket


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def body_of(raw: bytes) -> bytes:
    return raw.partition(b"\r\n\r\n")[2]


def dechunk(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        count = int(size, 16)
        out, body = out + rest[:count], rest[count + 2 :]
        if not count:
            break
    return out


def test_a_request_goes_to_its_session_whole_and_raw(stage: Stage) -> None:
    seen = stage.get("/user/a/files/x%2Fy%20z.txt?q=%41&r=a+b", "Cookie: c=1", "Authorization: token T")
    assert status(seen) == 200
    assert b"GET /user/a/files/x%2Fy%20z.txt?q=%41&r=a+b HTTP/1.1\r\n" in seen
    for line in (b"Host: hub.example", b"Cookie: c=1", b"Authorization: token T", b"X-Forwarded-For: 127.0.0.1"):
        assert line in seen
    assert b"X-Forwarded-Proto: http\r\n" in seen
    assert b"X-Forwarded-Host: hub.example\r\n" in seen
    assert b"X-Forwarded-Port: 80\r\n" in seen


def test_everything_else_goes_to_the_hub(stage: Stage, tmp_path: Path) -> None:
    stage.session("other", says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"))
    for path in ("/", "/v2/git/x", "/users/a/", "/health"):
        assert f"GET {path} HTTP/1.1".encode() in body_of(stage.get(path))
    assert body_of(stage.get("/user/other/x")) == b"other"


def test_keep_alive_and_pipelining(stage: Stage) -> None:
    with stage.connect() as connection:
        for path in (b"/user/a/1", b"/user/ab/2", b"/user/a/3", b"/4"):
            connection.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            assert b"GET %b HTTP/1.1" % path in read_answer(connection)[1]
    requests = b"".join(b"GET /user/a/%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(50))
    last = b"GET /user/a/end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answers = stage.raw(requests + last)
    assert re.findall(rb"GET /user/a/(\w+) HTTP", answers) == [b"%d" % n for n in range(50)] + [b"end"]


def test_connections_to_a_session_are_used_again(stage: Stage) -> None:
    count = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await echo(reader, writer)

    stage.session("counted", counting)
    for _ in range(5):
        assert status(stage.get("/user/counted/")) == 200
    assert count == 1


def test_a_kept_connection_that_the_session_closed_is_no_error(stage: Stage) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await read_head(reader)  # then closes without an answer

    stage.session("once", once)
    assert [body_of(stage.get("/user/once/")) for _ in range(4)] == [b"ok"] * 4


def test_an_upload_arrives_whole(stage: Stage) -> None:
    payload = bytes(range(256)) * 8192
    head = b"POST /user/a/up HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(payload)
    assert stage.raw(head + payload).endswith(payload)


def test_a_chunked_upload_arrives_in_chunks(stage: Stage) -> None:
    got = b""

    async def reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await read_head(reader)
        got += await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    stage.session("chunky", reading)
    sent = b"POST /user/chunky/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent += b"3;ext=1\r\nabc\r\n0a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    assert status(stage.raw(sent)) == 201
    assert dechunk(body_of(got)) == b"abc0123456789"
    assert b"Transfer-Encoding: chunked" in got
    assert b"Trailer: x" not in got


def test_upload_limit(make_stage) -> None:
    stage = make_stage(upload=1000)
    stage.session("a")
    head = "POST /user/a/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    assert status(stage.raw(f"{head}Content-Length: 1000\r\n\r\n".encode() + b"x" * 1000)) == 200
    assert status(stage.raw(f"{head}Content-Length: 1001\r\n\r\n".encode())) == 413
    chunks = b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n"
    assert status(stage.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)) == 413


def test_a_large_download_in_constant_memory(stage: Stage) -> None:
    size, block = 256 * 2**20, b"0123456789abcdef" * 4096
    sent = 0

    async def sending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(block)):
            writer.write(block)
            sent += len(block)
            await writer.drain()

    stage.session("big", sending)
    with stage.connect() as connection:
        connection.sendall(b"GET /user/big/ HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.3)
        assert sent < 32 * 2**20, "the session runs ahead of a client that does not read"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        got = 0
        buffer = bytearray(2**20)
        while got < size:
            got += connection.recv_into(buffer)
        assert got >= size
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


def test_a_large_upload_waits_for_a_slow_session(stage: Stage) -> None:
    release = asyncio.Event()
    digest = hashlib.sha256()
    size = 64 * 2**20

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await release.wait()
        left = size
        while left:
            piece = await reader.read(2**16)
            digest.update(piece)
            left -= len(piece)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    stage.session("slow", slow)
    block = b"\xff\x00" * 2**15
    with stage.connect() as connection:
        connection.sendall(b"PUT /user/slow/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        connection.settimeout(0.3)
        sent = 0
        try:
            while sent < size:
                sent += connection.send(block[sent % len(block) :])
        except TimeoutError:
            pass
        assert sent < 32 * 2**20
        connection.settimeout(20)
        stage.loop.call_soon_threadsafe(release.set)
        while sent < size:
            sent += connection.send(block[sent % len(block) : sent % len(block) + size - sent])
        assert read_answer(connection)[0].startswith(b"HTTP/1.1 200")
    assert digest.digest() == hashlib.sha256(block * (size // len(block))).digest()


def test_events_come_as_they_are_sent(stage: Stage) -> None:
    go = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        await go.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    stage.session("sse", events)
    with stage.connect() as connection:
        connection.sendall(b"GET /user/sse/ HTTP/1.1\r\nHost: h\r\n\r\n")
        data = b""
        while b"data: 1" not in data:
            data += connection.recv(4096)
        assert b"data: 2" not in data
        stage.loop.call_soon_threadsafe(go.set)
        while b"0\r\n\r\n" not in data:
            data += connection.recv(4096)
        assert dechunk(body_of(data)) == b"data: 1\n\ndata: 2\n\n"


def test_an_answer_until_close_is_framed_for_the_client(stage: Stage) -> None:
    stage.session("old", says(b"HTTP/1.0 200 OK\r\n\r\nsome text"))
    answer = stage.get("/user/old/")
    assert b"Transfer-Encoding: chunked" in answer
    assert dechunk(body_of(answer)) == b"some text"
    old = stage.raw(b"GET /user/old/ HTTP/1.0\r\n\r\n")
    assert body_of(old) == b"some text"
    assert b"chunked" not in old


@pytest.mark.parametrize("code", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body(stage: Stage, code: bytes) -> None:
    stage.session("none", says(b"HTTP/1.1 %b\r\nETag: x\r\n\r\n" % code, close=False))
    with stage.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /user/none/ HTTP/1.1\r\nHost: h\r\n\r\n")
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(4096)
            assert data.endswith(b"ETag: x\r\n\r\n")


def test_head_keeps_the_length_and_sends_no_body(stage: Stage) -> None:
    answer = stage.get("/user/a/", method="HEAD")
    assert b"Content-Length:" in answer
    assert body_of(answer) == b""


def test_expect_100_continue(stage: Stage) -> None:
    async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Expect: 100-continue" in await read_head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + body)
        await reader.read()

    stage.session("careful", careful)
    with stage.connect() as connection:
        connection.sendall(
            b"POST /user/careful/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert read_answer(connection)[1] == b"body"


def test_an_early_refusal_reaches_a_client_that_still_sends(stage: Stage) -> None:
    stage.session("no", says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"))
    with stage.connect() as connection:
        connection.sendall(b"POST /user/no/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 100000)
        head, body = read_answer(connection)
        assert head.startswith(b"HTTP/1.1 413")
        assert b"Connection: close" in head
        assert body == b"no"


def test_a_client_that_leaves_is_noticed_by_the_session(stage: Stage) -> None:
    async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await reader.read()

    stage.session("forever", forever)
    connection = stage.connect()
    connection.sendall(b"GET /user/forever/ HTTP/1.1\r\nHost: h\r\n\r\n")
    time.sleep(0.1)
    assert not stage.ended["forever"].is_set()
    connection.close()
    assert stage.ended["forever"].wait(5)


def test_a_broken_off_answer_is_not_taken_for_whole(stage: Stage) -> None:
    stage.session("cut", says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
    answer = stage.get("/user/cut/")
    assert not answer.endswith(b"0\r\n\r\n")


def test_websocket_both_ways_and_its_activity(stage: Stage) -> None:
    path = stage.directory / "ws.sock"

    async def serve() -> None:
        async def talk(connection) -> None:
            async for message in connection:
                await connection.send(message)

        stage.ws = await unix_serve(talk, str(path), max_size=None)

    stage.do(serve())
    stage.database.add(("/user/ws/", path, "ws"))
    with websocket(f"ws://127.0.0.1:{stage.port}/user/ws/api/kernels/x/channels?token=T", max_size=None) as connection:
        for message in ("hello", b"\x00" * 3_000_000, "x" * 100_000):
            connection.send(message)
            assert connection.recv() == message
        for _ in range(50):
            if stage.database.activity().get("ws", (0, 0))[1] == 1:
                break
            time.sleep(0.05)
        before, open_now = stage.database.activity()["ws"]
        assert open_now == 1
        connection.send("again")
        connection.recv()
        for _ in range(50):
            if stage.database.activity()["ws"][0] > before:
                break
            time.sleep(0.05)
        assert stage.database.activity()["ws"][0] > before
    for _ in range(50):
        if stage.database.activity()["ws"][1] == 0:
            break
        time.sleep(0.05)
    assert stage.database.activity()["ws"][1] == 0


def test_any_upgrade_is_relayed(stage: Stage) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert b"Upgrade: loud" in head
        assert b"Connection: Upgrade" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: loud\r\nConnection: Upgrade\r\n\r\nHI")
        while data := await reader.read(100):
            writer.write(data.upper())

    stage.session("loud", shout)
    with stage.connect() as connection:
        connection.sendall(
            b"GET /user/loud/ HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: loud\r\n\r\n"
        )
        data = b""
        while not data.endswith(b"HI"):
            data += connection.recv(100)
        connection.sendall(b"what \r\n\r\n\x00 ever")
        data = b""
        while len(data) < 15:
            data += connection.recv(100)
        assert data == b"WHAT \r\n\r\n\x00 EVER"


def test_activity_is_not_written_for_a_session_that_ended(stage: Stage) -> None:
    stage.get("/user/a/")
    stage.database.delete("/user/a/")
    stage.get("/user/ab/")
    for _ in range(50):
        if "ab" in stage.database.activity():
            break
        time.sleep(0.05)
    assert "a" not in stage.database.activity() or stage.database.activity()["a"][1] == 0


def test_a_route_is_live_with_the_next_request_among_a_thousand(stage: Stage) -> None:
    path = stage.directory / "a.sock"
    stage.database.add(*((f"/user/n{n}/", path, f"n{n}") for n in range(1000)))
    assert status(stage.get("/user/n999/")) == 200
    for n in range(20):
        assert status(stage.get(f"/user/late{n}/")) == 424
        stage.database.add((f"/user/late{n}/", path, f"late{n}"))
        assert status(stage.get(f"/user/late{n}/")) == 200
        stage.database.delete(f"/user/late{n}/")
        assert status(stage.get(f"/user/late{n}/")) == 424


def test_no_database_yet(tmp_path: Path, make_stage) -> None:
    stage = make_stage()
    stage.database.connection.close()
    for file in stage.directory.glob("rebind.db*"):
        file.unlink()
    assert status(stage.get("/user/a/")) == 424


def test_stopped_session_page_and_json(stage: Stage) -> None:
    page = stage.get("/user/gone/lab", "Accept: text/html,*/*")
    assert status(page) == 424
    assert b"text/html" in page
    assert b"This session is not running" in page
    for headers in (("Accept: application/json",), ("Accept: text/html", "Authorization: token T"), ()):
        answer = stage.get("/user/gone/api/kernels", *headers)
        assert status(answer) == 424
        assert b'"status": 424' in answer
        assert b"Access-Control-Allow-Origin: *" in answer


def test_preflight_of_a_stopped_session_passes(stage: Stage) -> None:
    answer = stage.get(
        "/user/gone/api/kernels", "Origin: https://book.example", "Access-Control-Request-Method: GET", method="OPTIONS"
    )
    assert status(answer) == 204
    assert b"Access-Control-Allow-Headers: authorization" in answer


def test_dead_session_is_503(stage: Stage, tmp_path: Path) -> None:
    stage.database.add(("/user/dead/", tmp_path / "nobody.sock", "dead"))
    answer = stage.get("/user/dead/api/status")
    assert status(answer) == 503
    assert b"Access-Control-Allow-Origin: *" in answer


def test_hub_away_says_that_sessions_go_on(stage: Stage) -> None:
    stage.hub.unlink()
    page = stage.get("/", "Accept: text/html")
    assert status(page) == 503
    assert b"Sessions that are running go on" in page
    assert b"Retry-After" in page
    assert b"Access-Control-Allow-Origin: *" in stage.get("/build/git/x/y")
    assert status(stage.get("/user/a/")) == 200


def test_a_session_without_its_slash_is_moved(stage: Stage) -> None:
    answer = stage.get("/user/a?token=T")
    assert status(answer) == 302
    assert b"Location: /user/a/?token=T\r\n" in answer


def test_stop_lets_a_running_request_end(make_stage) -> None:
    stage = make_stage(grace_time=5.0)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    stage.session("slow", slow)
    with stage.connect() as connection:
        connection.sendall(b"GET /user/slow/ HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.1)
        stage.do(stage.proxy.stop())
        stage.proxy = None
        assert read_answer(connection)[1] == b"done"


def test_small_answers_do_not_wait_for_an_acknowledgement(stage: Stage) -> None:
    with stage.connect() as connection:
        connection.sendall(b"GET /user/a/ HTTP/1.1\r\nHost: h\r\n\r\n")
        read_answer(connection)
        (accepted,) = stage.proxy.connections
        assert accepted._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
