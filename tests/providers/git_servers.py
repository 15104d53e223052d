"""Real servers for the tests of the git provider: smart and dumb http, git://, ssh, LFS."""

from __future__ import annotations

import base64
import getpass
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass
class HttpServer:
    """What a test sets before and reads afterwards."""

    root: Path
    port: int = 0
    password: str = ""
    filters: bool = True
    any_commit: bool = True
    protocol: str = ""
    """'0' answers in the old protocol whatever the client wants."""
    redirect: str = ""
    lfs_files: str = ""
    """Another server that it says holds the LFS files."""
    lfs_redirect: str = ""
    stall: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    """Authorization headers that came in."""
    sent: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def http_server(root: Path, **settings: Any) -> Iterator[HttpServer]:
    """Serves the repositories below `root` through `git http-backend`, and LFS files beside them."""
    with _serving(HttpServer(root, **settings), _SmartHandler) as server:
        yield server


@contextmanager
def dumb_server(root: Path) -> Iterator[HttpServer]:
    """Serves plain files, as any web space does."""
    with _serving(HttpServer(root), _DumbHandler) as server:
        yield server


@contextmanager
def _serving(server: HttpServer, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[HttpServer]:
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"state": server}))
    listening.daemon_threads = True
    server.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


class _SmartHandler(http.server.BaseHTTPRequestHandler):
    state: HttpServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: str, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(int(status.split()[0]), status.partition(" ")[2] or None)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.state.sent += len(body)

    def _handle(self) -> None:
        body = self._body()
        self.state.asked.append((self.command, self.path))
        if given := self.headers.get("Authorization"):
            self.state.given.append(given)
        if self.state.stall:
            time.sleep(self.state.stall)
        if self.state.redirect:
            self._answer("302 Found", {"Location": self.state.redirect + self.path}, b"")
        elif self.state.password and given != _basic(self.state.password):
            self._answer("401 Unauthorized", {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        elif "/info/lfs/" in self.path:
            self._lfs(body)
        else:
            self._backend(body)

    do_GET = do_POST = do_PUT = _handle

    def _backend(self, body: bytes) -> None:
        at = urlsplit(self.path)
        version = self.state.protocol or self.headers.get("Git-Protocol", "")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.state.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": at.path,
            "QUERY_STRING": at.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": "" if version == "0" else version,
            "REMOTE_ADDR": "127.0.0.1",
            "GIT_CONFIG_COUNT": "3",
            "GIT_CONFIG_KEY_0": "uploadpack.allowFilter",
            "GIT_CONFIG_VALUE_0": str(self.state.filters).lower(),
            "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_1": str(self.state.any_commit).lower(),
            "GIT_CONFIG_KEY_2": "safe.directory",
            "GIT_CONFIG_VALUE_2": "*",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self._answer(headers.pop("Status", "200 OK"), headers, content)

    def _lfs(self, body: bytes) -> None:
        kept = self.state.root / "lfs-files"
        if "/files/" in self.path and self.state.lfs_redirect:
            return self._answer("302 Found", {"Location": self.state.lfs_redirect + self.path}, b"")
        if not self.path.endswith("/objects/batch"):
            wanted = kept / self.path.rsplit("/", 1)[-1]
            if not wanted.exists():
                return self._answer("404 Not Found", {}, b"")
            content = wanted.read_bytes()
            return self._answer("200 OK", {"Content-Type": "application/octet-stream"}, content)
        objects = []
        for one in json.loads(body)["objects"]:
            href = f"{self.state.lfs_files or self.state.url}/any/info/lfs/files/{one['oid']}"
            objects.append({**one, "authenticated": True, "actions": {"download": {"href": href}}})
        answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
        return self._answer("200 OK", {"Content-Type": "application/vnd.git-lfs+json"}, answer)


class _DumbHandler(http.server.SimpleHTTPRequestHandler):
    state: HttpServer

    def log_message(self, *_: object) -> None:
        pass

    def translate_path(self, path: str) -> str:
        return str(self.state.root / urlsplit(path).path.lstrip("/"))


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.02)
    raise AssertionError("the server does not listen")


@contextmanager
def _running(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_for(port, process)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(10)


@contextmanager
def git_daemon(root: Path) -> Iterator[str]:
    """Serves the repositories below `root` over git://; gives the URL."""
    port = free_port()
    environment = {**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "uploadpack.allowFilter"}
    environment["GIT_CONFIG_VALUE_0"] = "true"
    command = ["git", "daemon", "--export-all", f"--base-path={root}", "--listen=127.0.0.1", f"--port={port}"]
    with _running([*command, "--reuseaddr", str(root)], port, environment):
        yield f"git://127.0.0.1:{port}"


@dataclass(frozen=True)
class SshServer:
    """A running sshd that lets one key in."""

    port: int
    key: Path
    user: str


@contextmanager
def ssh_server(directory: Path) -> Iterator[SshServer]:
    """An sshd of this user's own on a loopback port."""
    assert SSHD
    directory.mkdir()
    for name in ("host", "client"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(command, check=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, shuts its unprivileged half in
    port = free_port()
    (directory / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {directory}/client.pub\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    with _running([SSHD, "-D", "-e", "-f", str(directory / "config")], port):
        yield SshServer(port, directory / "client", getpass.getuser())


def lfs_repository(root: Path, served: Path, content: bytes) -> None:
    """Turns `root` into a repository with one file in LFS, whose content lies beside the served repositories."""
    oid = hashlib.sha256(content).hexdigest()
    (served / "lfs-files").mkdir(exist_ok=True)
    (served / "lfs-files" / oid).write_bytes(content)
    (root / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    (root / "data.bin").write_text(pointer)
