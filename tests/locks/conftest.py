"""Fixtures: a small real package index, and what is between it and uv."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_index import HOST, Client, UnixServer, Upstream

from rebind.locks import DatedIndex, Interpreters, Locker
from rebind.locks.scan import Places
from rebind.sandbox import Egress, EgressPolicy, run


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """The upstream on a free port, and at tmp/up.sock for the egress proxy."""
    found = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, data, headers = found.answer(self)
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    servers = (ThreadingHTTPServer(("127.0.0.1", 0), Handler), UnixServer(str(tmp_path / "up.sock"), Handler))
    found.base = f"http://127.0.0.1:{servers[0].server_address[1]}"
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield found
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def index(tmp_path: Path, upstream: Upstream) -> Iterator[DatedIndex]:
    found = DatedIndex(tmp_path / "data", f"{upstream.base}/simple/", socket=tmp_path / "index.sock")
    found.start()
    yield found
    found.stop()


@pytest.fixture
def client(index: DatedIndex) -> Client:
    return Client(index.socket)


@pytest.fixture
def interpreters(tmp_path: Path) -> Interpreters:
    """Only the interpreter that runs the tests."""
    return Interpreters(tmp_path / "data", download=False, places=Places("", tmp_path, tmp_path))


@pytest.fixture
def locker(
    tmp_path: Path, upstream: Upstream, interpreters: Interpreters, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Locker]:
    """The whole way: uv, egress proxy, dated index, upstream; the upstream has a name that only the proxy knows."""
    data = tmp_path / "data"
    upstream.base = f"http://{HOST}"
    dated = DatedIndex(data, f"http://{HOST}/simple/", socket=tmp_path / "index.sock")
    virtual = {"pypi.rebind.internal": dated.socket, HOST: tmp_path / "up.sock"}
    with Egress(EgressPolicy(), tmp_path / "out" / "egress.sock", virtual) as egress:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, egress.proxy_url)
        for name in ("NO_PROXY", "no_proxy", "SSL_CERT_FILE"):
            monkeypatch.delenv(name, raising=False)
        dated.start()
        try:
            owner = 61000 if os.getuid() == 0 else None
            yield Locker(
                data=data, index_url=HOST, egress=egress, interpreters=interpreters, run_confined=run, owner=owner
            )
        finally:
            dated.stop()
