"""What a hostile or merely different registry can make our client do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.images.conftest import CHUNK, sha256, small_image

from rebind.errors import BuildError, NetworkError, RebindError, RefusedError, RepositoryError
from rebind.images import parse
from rebind.images.blobs import Blobs
from rebind.images.client import Asked, Client
from rebind.images.credentials import Credentials
from rebind.images.registry import Registry as RegistryClient

Reply = tuple[int, dict[str, str], bytes]
ADA = Credentials("ada", "s3cret")


class Scripted:
    """Answers as a function says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Reply]) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", "0")))
                outer.asked.append((self.command, self.path, headers))
                status, found, content = answer(self.command, self.path, headers, body)
                self.send_response(status)
                for name, value in found.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _any

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"


@contextmanager
def scripted(answer: Callable[[str, str, dict[str, str], bytes], Reply]) -> Iterator[Scripted]:
    made = Scripted(answer)
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_token_is_asked_for_and_used() -> None:
    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if path.startswith("/token"):
            query = parse_qs(urlsplit(path).query)
            good = headers.get("authorization") == ADA.basic and query["scope"] == ["repository:one:pull"]
            return (200, {}, b'{"token": "abc"}') if good else (401, {}, b"")
        if headers.get("authorization") == "Bearer abc":
            return 200, {"Docker-Content-Digest": "sha256:1"}, b""
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{host[0]}/token",service="s"'}, b""

    host: list[str] = []
    with scripted(answer) as server:
        host.append(server.host)
        assert RegistryClient(server.host, ADA).digest(parse(f"{server.host}/one")) == "sha256:1"


def test_a_password_does_not_go_to_another_host_over_plain_http() -> None:
    with scripted(lambda *_: (200, {}, b'{"token": "x"}')) as thief:
        ask = {"WWW-Authenticate": f'Bearer realm="http://{thief.host}/token",service="s"'}
        with scripted(lambda *_: (401, ask, b"")) as server, pytest.raises(RefusedError):
            RegistryClient(server.host, ADA).digest(parse(f"{server.host}/one"))
        assert thief.asked == []


def test_a_redirect_takes_no_password_along() -> None:
    with scripted(lambda *_: (200, {}, b"")) as thief:

        def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            return 307, {"Location": f"http://{thief.host}/blob"}, b""

        with scripted(answer) as server:
            client = Client(server.host, ADA, plain=frozenset({thief.host}))
            assert client.ask(Asked("GET", "/v2/one/blobs/x")).status == 200
        assert [headers.get("authorization") for _, _, headers in thief.asked] == [None]


@pytest.mark.parametrize("to", ["http://169.254.169.254/latest/", "file:///etc/passwd", "ftp://x/", "http://a:b@c/"])
def test_a_redirect_to_a_place_of_another_kind_is_refused(to: str) -> None:
    with scripted(lambda *_: (302, {"Location": to}, b"")) as server, pytest.raises(RefusedError):
        Client(server.host, None).ask(Asked("GET", "/v2/"))


def test_redirects_in_a_circle_end() -> None:
    with scripted(lambda *_: (302, {"Location": "/again"}, b"")) as server, pytest.raises(NetworkError):
        Client(server.host, None).ask(Asked("GET", "/v2/"))


def test_an_upload_is_sent_nowhere_else_with_our_password(blobs: Blobs) -> None:
    manifest, parts = small_image(blobs)
    with scripted(lambda *_: (201, {}, b"")) as thief:

        def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
            if "authorization" not in headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            if method == "POST":
                return 202, {"Location": f"http://{thief.host}/upload"}, b""
            return (404, {}, b"") if method == "HEAD" else (201, {}, b"")

        with scripted(answer) as server, pytest.raises(RefusedError):
            RegistryClient(server.host, ADA).push(parse(f"{server.host}/one"), manifest, parts, blobs)
        assert thief.asked == []


@pytest.mark.parametrize("token", ["a b", "a\\nX-Evil: 1", ""])
def test_a_token_that_is_none_is_not_put_into_a_header(token: str) -> None:
    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if path.startswith("/token"):
            return 200, {}, f'{{"token": "{token}"}}'.encode()
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{headers["host"]}/token"'}, b""

    with scripted(answer) as server, pytest.raises(RefusedError):
        RegistryClient(server.host, ADA).digest(parse(f"{server.host}/one"))


def _image(layer: bytes, digest: str, size: int) -> Callable[[str, str, dict[str, str], bytes], Reply]:
    config = b'{"rootfs": {"diff_ids": ["sha256:x"]}}'
    manifest = {
        "config": {"mediaType": "c", "digest": sha256(config), "size": len(config)},
        "layers": [{"mediaType": "l", "digest": digest, "size": size}],
    }

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if "/manifests/" in path:
            return 200, {}, json.dumps(manifest).encode()
        return 200, {}, config if path.endswith(sha256(config)) else layer

    return answer


def test_a_layer_that_is_not_what_it_is_called_is_not_kept(blobs: Blobs) -> None:
    wrong = sha256(b"right")
    with scripted(_image(b"wrong", wrong, 5)) as server, pytest.raises(BuildError):
        RegistryClient(server.host, None).pull(parse(f"{server.host}/one"), blobs)
    assert not blobs.file(wrong).exists()


def test_a_layer_that_never_ends_is_cut(blobs: Blobs) -> None:
    with scripted(_image(b"x" * 5_000_000, sha256(b"x"), 1)) as server, pytest.raises(BuildError):
        RegistryClient(server.host, None).pull(parse(f"{server.host}/one"), blobs)


@pytest.mark.parametrize("digest", ["../../../etc/cron.d/x", "sha256:../x", "md5:abc", "sha256:" + "A" * 64])
def test_a_digest_is_no_path(blobs: Blobs, digest: str) -> None:
    with scripted(_image(b"x", digest, 1)) as server, pytest.raises(RebindError):
        RegistryClient(server.host, None).pull(parse(f"{server.host}/one"), blobs)
    with pytest.raises(BuildError):
        blobs.file(digest)


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"layers": 1}', b'{"manifests": []}', b'{"config": {}, "layers": []}'])
def test_a_manifest_that_is_none_is_said_so(blobs: Blobs, text: bytes) -> None:
    with scripted(lambda *_: (200, {}, text)) as server, pytest.raises(RebindError) as raised:
        RegistryClient(server.host, None).pull(parse(f"{server.host}/one"), blobs)
    assert isinstance(raised.value, RepositoryError | BuildError)


def test_an_upload_goes_on_where_the_registry_stands(blobs: Blobs) -> None:
    """docker-registry forgets an upload that broke off; others, as the specification has it, tell where they stand."""
    manifest, parts = small_image(blobs, 2 * CHUNK)
    whole = blobs.file(parts[0].digest).read_bytes()
    got = bytearray()
    failed = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        where = {"Location": "/v2/one/blobs/uploads/x", "Range": f"0-{max(len(got) - 1, 0)}"}
        if method == "HEAD":
            return 404, {}, b""
        if method == "POST":
            return 202, where, b""
        if method == "PATCH":
            if len(got) >= CHUNK and not failed:
                failed.append(1)
                got.extend(body[:1000])
                return 500, {}, b"fell over"
            assert int(headers["content-range"].split("-")[0]) == len(got)
            got.extend(body)
            return 202, where | {"Range": f"0-{len(got) - 1}"}, b""
        if method == "GET":
            return 204, where, b""
        if "digest" in path and parts[0].digest.replace(":", "%3A") in path:
            got.extend(body)
        return 201, {}, b""

    with scripted(answer) as server:
        RegistryClient(server.host, None).push(parse(f"{server.host}/one"), manifest, parts[:1], blobs)
        patches = [path for method, path, _ in server.asked if method == "PATCH"]
    assert bytes(got) == whole
    assert len(patches) <= 4  # one of them was the one that failed


def test_basic_is_what_the_standard_says() -> None:
    assert base64.b64decode(ADA.basic.removeprefix("Basic ")) == b"ada:s3cret"
