"""The egress proxy as strangers' code meets it: real sockets, real servers on this machine."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from tempfile import TemporaryDirectory

import pytest
from sandbox_tools import Inside

from rebind.errors import NetworkError
from rebind.sandbox import Egress, EgressPolicy

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/to-metadata":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._say(f"{self.command} {self.path} {self.headers['Host']} {self.headers['Connection']}".encode())

    def do_POST(self) -> None:
        if self.headers["Transfer-Encoding"] == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        self._say(b"got %d" % len(data))

    do_PUT = do_PROPFIND = do_POST

    def _say(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


class _Unix(ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        return super().get_request()[0], ("unix", 0)


def serving(made: ThreadingHTTPServer | _Unix) -> Iterator[None]:
    threading.Thread(target=lambda: made.serve_forever(0.01), daemon=True).start()
    yield
    made.shutdown()
    made.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A service on 127.0.0.1, the kind that nobody from a sandbox may reach; gives its port."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    for _ in serving(made):
        yield made.server_port


@pytest.fixture(scope="module")
def index() -> Iterator[Path]:
    """The same on a Unix socket."""
    with TemporaryDirectory(prefix="rb-") as name:
        path = Path(name, "index.sock")
        for _ in serving(_Unix(str(path), _Answers)):
            yield path


@pytest.fixture
def egress(folder: Path, server: int, index: Path) -> Iterator[Egress]:
    """A proxy that lets through to this one server, and to the virtual host `index.internal`."""
    policy = EgressPolicy(allowed_hosts=frozenset({f"localhost:{server}"}))
    with Egress(policy, folder / "out" / "egress.sock", {"index.internal": index}) as made:
        yield made


def ask(egress: Egress, data: bytes) -> bytes:
    """Everything that the proxy answers to these bytes."""
    answer = b""
    with socket.socket() as stream, contextlib.suppress(ConnectionResetError):
        stream.settimeout(10)
        stream.connect(("127.0.0.1", int(egress.proxy_url.rpartition(":")[2])))
        stream.sendall(data)
        while more := stream.recv(65536):
            answer += more
    return answer


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_requests_with_and_without_body(egress: Egress, server: int) -> None:
    port = int(egress.proxy_url.rpartition(":")[2])
    url = f"http://localhost:{server}"
    for method, body, expected in (
        ("GET", None, f"GET /x?a=b localhost:{server} close".encode()),
        ("POST", b"x" * 200_000, b"got 200000"),
        ("PUT", iter([b"abc", b"defg"] * 1000), b"got 7000"),
        ("PROPFIND", b"", b"got 0"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Content-Length": "0"} if body == b"" else {}
        connection.request(method, f"{url}/x?a=b", body, headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, expected)
        connection.close()


def test_tunnels_carry_both_ways(egress: Egress, server: int) -> None:
    port = int(egress.proxy_url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.set_tunnel("localhost", server)
    for number in range(3):
        connection.request("GET", f"/{number}")
        assert connection.getresponse().read().startswith(f"GET /{number} ".encode())
    connection.close()


def test_virtual_hosts(egress: Egress) -> None:
    answer = ask(egress, b"GET http://index.internal/simple/ HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"GET /simple/ index.internal close")
    other = ask(egress, b"GET http://x.index.internal/simple/ HTTP/1.1\r\n\r\n")
    assert other.startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize("method", ["CONNECT {}", "GET http://{}/"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1"])
def test_addresses_of_this_side_are_refused(egress: Egress, server: int, method: str, host: str) -> None:
    for port in (80, server):
        answer = ask(egress, f"{method.format(f'{host}:{port}')} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403"), answer


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "017700000001", "0177.0.0.1"])
def test_odd_spellings_of_loopback_are_refused(egress: Egress, server: int, host: str) -> None:
    assert ask(egress, f"GET http://{host}:{server}/ HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")


def test_a_name_is_looked_up_once(egress: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer of the attacker's name server would be 127.0.0.1."""
    answers = iter(["192.0.2.1", "127.0.0.1", "127.0.0.1"])
    asked = []

    def lie(host: str, port: int, *rest: object, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", lie)
    egress.policy = EgressPolicy(ports=frozenset())
    assert ask(egress, b"CONNECT rebind.example:80 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert asked == ["rebind.example"]


def test_refused_ports_and_reasons(egress: Egress) -> None:
    answer = ask(egress, b"CONNECT pypi.org:25 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"port 25 of pypi.org" in answer


SMUGGLED = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"X: y\n\r\n\r\n",
]


@pytest.mark.parametrize("rest", SMUGGLED)
def test_ambiguous_requests_are_refused(egress: Egress, rest: bytes) -> None:
    answer = ask(egress, b"POST http://index.internal/ HTTP/1.1\r\n" + rest)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_only_one_request_goes_on_from_one_connection(egress: Egress) -> None:
    twice = b"GET http://index.internal/one HTTP/1.1\r\n\r\nGET http://index.internal/two HTTP/1.1\r\n\r\n"
    answer = ask(egress, twice)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"/two" not in answer


def test_heads_that_never_end_or_are_too_long(egress: Egress) -> None:
    answer = ask(egress, b"GET http://index.internal/ HTTP/1.1\r\nX: " + b"a" * 200_000)
    assert answer.startswith(b"HTTP/1.1 431") or answer == b""


def test_requests_are_remembered_without_queries(egress: Egress, server: int) -> None:
    ask(egress, b"GET http://index.internal/a?token=secret HTTP/1.1\r\n\r\n")
    ask(egress, b"CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n")
    told = [(each.host, each.port, each.path, each.refused) for each in egress.requests]
    assert told == [("index.internal", 80, "/a", False), ("10.0.0.1", 443, None, True)]


@pytest.mark.session
def test_a_thousand_connections_do_not_leak(egress: Egress, server: int) -> None:
    def rudely(number: int) -> None:
        kinds = (b"", b"GET http://index.internal/", b"CONNECT index.internal:80 HTTP/1.1\r\n\r\n", b"\0" * 100)
        with socket.create_connection(("127.0.0.1", int(egress.proxy_url.rpartition(":")[2])), timeout=10) as stream:
            stream.sendall(kinds[number % 4])

    before = descriptors()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(rudely, range(1000)))
    deadline = time.monotonic() + 20
    while (egress.connections or descriptors() > before + 5) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert egress.connections == 0
    assert descriptors() <= before + 5
    assert ask(egress, b"GET http://index.internal/after HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_start_and_stop(folder: Path) -> None:
    egress = Egress(EgressPolicy(), folder / "e" / "s")
    egress.stop()
    egress.start()
    egress.stop()
    egress.start()  # over what an earlier one left
    egress.stop()
    with pytest.raises(NetworkError, match="cannot listen"):
        Egress(EgressPolicy(), folder / ("long" * 60) / "s").start()


# From inside a sandbox.


@needs_curl
def test_the_sandbox_reaches_what_is_allowed(inside: Inside, egress: Egress, server: int) -> None:
    script = f"curl -sS http://index.internal/a; echo; curl -sS --noproxy '' -x http://127.0.0.1:3128 http://localhost:{server}/b"
    found = inside(script, egress=egress.socket)
    assert found.lines == ["GET /a index.internal close", f"GET /b localhost:{server} close"]


def test_nothing_but_the_proxy_is_reached(inside: Inside, egress: Egress, server: int) -> None:
    script = f"""
import socket
for address in (("127.0.0.1", {server}), ("169.254.169.254", 80), ("1.1.1.1", 443), ("10.0.0.1", 80)):
    try:
        socket.create_connection(address, timeout=3); print("reached", address)
    except OSError:
        pass
for address in (("1.1.1.1", 53), ("8.8.8.8", 53)):
    try:
        socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", address); print("sent", address)
    except OSError:
        pass
print("done")
"""
    assert inside(script, python=True, egress=egress.socket).text == "done"


@needs_curl
def test_services_of_the_host_are_refused_by_the_proxy(inside: Inside, egress: Egress, server: int) -> None:
    script = f"""
for url in http://127.0.0.1:{server}/ http://169.254.169.254/latest/ http://[::1]:{server}/ http://0.0.0.0:{server}/; do
  curl -sS -g -o /dev/null -w '%{{http_code}} ' --noproxy '' -x http://127.0.0.1:3128 $url
done
curl -sS -L -w '%{{http_code}}' -o /dev/null http://index.internal/to-metadata
"""
    assert inside(script, egress=egress.socket).text == "403 403 403 403 403"


def test_the_folder_of_the_proxy_is_not_seen(inside: Inside, egress: Egress) -> None:
    found = inside(f"ls {egress.socket.parent} /proc/1/fd; find / -xdev -name 'egress.sock'", egress=egress.socket)
    assert "egress.sock" not in [line for line in found.lines if not line.startswith("ls:")]


@needs_curl
def test_a_proxy_made_anew_works(inside: Inside, folder: Path, egress: Egress) -> None:
    """A hub that restarts makes its socket again; running sandboxes go on with it."""
    done = threading.Event()
    lines: list[str] = []
    script = "curl -sS http://index.internal/1; read x < /s/go; curl -sS http://index.internal/2"
    os.mkfifo(folder / "go")
    (folder / "go").chmod(0o666)

    def call() -> None:
        from rebind.sandbox import Bind

        lines.append(inside(script, Bind(folder, "/s"), egress=egress.socket).text)
        done.set()

    thread = threading.Thread(target=call)
    thread.start()
    while len(egress.requests) < 1:
        time.sleep(0.02)
    egress.stop()
    egress.start()
    (folder / "go").write_text("go\n")
    done.wait(20)
    thread.join()
    assert lines == ["GET /1 index.internal closeGET /2 index.internal close"]


@needs_curl
def test_without_a_proxy_outside_the_answer_is_clear(inside: Inside, folder: Path) -> None:
    (folder / "nobody").mkdir()
    found = inside("curl -sS -w '%{http_code}' http://a.example/", egress=folder / "nobody" / "egress.sock")
    assert found.text.endswith("502")


@needs_curl
@pytest.mark.session
def test_big_bodies_and_many_at_once(inside: Inside, egress: Egress, server: int) -> None:
    script = """
head -c 20000000 /dev/zero > /tmp/big
for i in 1 2 3 4 5 6 7 8; do
  curl -sS --data-binary @/tmp/big -H Expect: http://index.internal/ > /tmp/out$i &
done; wait
cat /tmp/out*
"""
    assert inside(script, egress=egress.socket).text == "got 20000000" * 8


def test_the_command_for_tunnels(egress: Egress, server: int) -> None:
    command = [sys.executable, "-m", "rebind.sandbox.connect", egress.proxy_url]
    request = b"GET /over HTTP/1.0\r\n\r\n"
    done = subprocess.run(
        [*command, "localhost", str(server)], input=request, capture_output=True, timeout=20, check=False
    )
    assert b"GET /over" in done.stdout
    for host, port in (("127.0.0.1", str(server)), ("a\r\nX: y", "80"), ("-oProxyCommand=x", "22")):
        done = subprocess.run([*command, host, port], input=b"", capture_output=True, timeout=20, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(b"rebind: ")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
