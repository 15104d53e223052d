"""HTTP as the egress proxy reads it: strictly."""

from __future__ import annotations

import pytest

from rebind.sandbox.messages import BadMessage, Body, chunk_size, read_request, read_response


def test_a_plain_request_is_sent_on_in_origin_form() -> None:
    head = b"POST http://example.org:8080/a?b=1#frag HTTP/1.1\r\nHost: lies.example\r\nX: y\r\nContent-Length: 3\r\n"
    head += b"Proxy-Authorization: Basic eA==\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n"
    request = read_request(head)
    assert (request.method, request.host, request.port, request.path) == ("POST", "example.org", 8080, "/a?b=1")
    assert request.body == Body(3)
    assert request.head() == (
        b"POST /a?b=1 HTTP/1.1\r\nHost: example.org:8080\r\nX: y\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )


def test_connect_and_ipv6() -> None:
    assert read_request(b"CONNECT pypi.org:443 HTTP/1.1\r\n\r\n").port == 443
    request = read_request(b"GET http://[2606::1]?q HTTP/1.1\r\n\r\n")
    assert (request.host, request.path) == ("2606::1", "/?q")
    assert b"Host: [2606::1]\r\n" in request.head()


BAD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET https://a/ HTTP/1.1\r\n\r\n",
    b"GET ftp://a/ HTTP/1.1\r\n\r\n",
    b"GET file:///etc/passwd HTTP/1.1\r\n\r\n",
    b"GET http://user:pass@a/ HTTP/1.1\r\n\r\n",
    b"GET http://a@127.0.0.1/ HTTP/1.1\r\n\r\n",
    b"GET http:///x HTTP/1.1\r\n\r\n",
    b"GET http://a:0/ HTTP/1.1\r\n\r\n",
    b"GET http://a:99999/ HTTP/1.1\r\n\r\n",
    b"GET http://a:8 0/ HTTP/1.1\r\n\r\n",
    b"GET http://a:+80/ HTTP/1.1\r\n\r\n",
    b"GET http://a\\@b/ HTTP/1.1\r\n\r\n",
    b"GET http://a/ HTTP/2.0\r\n\r\n",
    b"GET http://a/ HTTP/1.1 \r\n\r\n",
    b"GET  http://a/ HTTP/1.1\r\n\r\n",
    b"GET\thttp://a/ HTTP/1.1\r\n\r\n",
    b"CONNECT a HTTP/1.1\r\n\r\n",
    b"CONNECT a:x HTTP/1.1\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    b"CONNECT http://a:443 HTTP/1.1\r\n\r\n",
    b"\r\n\r\n",
    b"\x16\x03\x01\r\n\r\n",
]
BAD_HEADERS = [
    b"Content-Length: 1\r\nContent-Length: 1",
    b"Content-Length: 1\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: xchunked",
    b"Content-Length: +1",
    b"Content-Length: 1, 1",
    b"Content-Length: -1",
    b"Content-Length: 0x1",
    b"Content-Length:",
    b"Host: a\r\nHost: b",
    b"Bad Name: x",
    b"Name : x",
    b" folded: x",
    b"X: y\r\n folded",
    b"no colon",
    b": empty",
    b"X: a\rb",
    b"X: a\nGET http://b/ HTTP/1.1",
    b"X: a\0b",
]


@pytest.mark.parametrize("head", BAD + [b"GET http://a/ HTTP/1.1\r\n" + each + b"\r\n\r\n" for each in BAD_HEADERS])
def test_what_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadMessage):
        read_request(head)


def test_connection_cannot_remove_what_frames_the_body() -> None:
    head = b"POST http://a/ HTTP/1.1\r\nContent-Length: 3\r\nConnection: content-length, host\r\n\r\n"
    assert b"Content-Length: 3\r\n" in read_request(head).head()


def test_responses() -> None:
    status, head = read_response(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nA: b\r\n\r\n")
    assert (status, head) == (200, b"HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n")
    assert read_response(b"HTTP/1.1 100 Continue\r\n\r\n") == (100, b"HTTP/1.1 100 Continue\r\n\r\n")
    for bad in (b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 2000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX\r\n\r\n"):
        with pytest.raises(BadMessage):
            read_response(bad)


def test_sizes_of_chunks() -> None:
    assert chunk_size(b"1A;name=value") == 26
    for bad in (b"", b"-1", b"0x1", b"1 2", b"g", b"1" * 20, b"+1", b"1_0"):
        with pytest.raises(BadMessage):
            chunk_size(bad)
