"""A real registry (Debian's docker-registry), and a relay before it that breaks connections."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""
NAME, PASSWORD = "ada", "s3cret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Registry:
    """docker-registry on a port of its own; can be killed and started again."""

    def __init__(self, folder: Path, *, password: bool = False) -> None:
        if shutil.which("docker-registry") is None:
            pytest.skip("docker-registry is not installed (Debian: apt install docker-registry)")
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        auth = ""
        if password:
            if shutil.which("htpasswd") is None:
                pytest.skip("htpasswd is not installed (Debian: apt install apache2-utils)")
            line = subprocess.run(["htpasswd", "-Bbn", NAME, PASSWORD], check=True, capture_output=True).stdout
            (folder / "htpasswd").write_bytes(line)
            auth = f"auth: {{htpasswd: {{realm: test, path: {folder / 'htpasswd'}}}}}"
        config = _CONFIG.format(folder=folder / "data", port=self.port, auth=auth)
        (folder / "config.yml").write_text(config)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Registry:
        self.process = subprocess.Popen(
            ["docker-registry", "serve", self.folder / "config.yml"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{self.host}/v2/").close()
                return self
            try:
                urllib.request.urlopen(f"http://{self.host}/v2/").close()
            except urllib.error.HTTPError:
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the registry does not start")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Relay:
    """Passes connections on to a registry; when `after` bytes went up in all, calls `then` and breaks everything."""

    def __init__(self, port: int, after: int, then: Callable[[], None]) -> None:
        self._port, self._left, self._then = port, after, then
        self._lock = threading.Lock()
        self.up = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()
                continue
            threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if up and self._spent(len(data)):
                    break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the other thread
            each.close()  # what is unread makes it a reset, which the sender notices

    def _spent(self, count: int) -> bool:
        with self._lock:
            self.up += count
            if self._left <= 0:
                return False
            self._left -= count
            if self._left > 0:
                return False
            self.broken += 1
        self._then()
        return True
