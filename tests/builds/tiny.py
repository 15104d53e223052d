"""Tiny wheels, a server for them, and locks of them."""

from __future__ import annotations

import base64
import hashlib
import io
import platform
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rebind.values import Event, Interpreter, LockedPlan, Package

MINOR = ".".join(platform.python_version().split(".")[:2])
SITE = f"lib/python{MINOR}/site-packages"
NOW = datetime(2024, 1, 1, tzinfo=UTC)

Entries = Mapping[str, bytes | str]


def interpreter() -> Interpreter:
    """The one that runs the tests."""
    prefix = Path(sys.base_prefix)
    return Interpreter(platform.python_version(), prefix, prefix / "bin" / f"python{MINOR}")


def content(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def info_files(name: str, version: str) -> dict[str, str]:
    return {
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }


def record(name: str, version: str, files: Entries) -> str:
    rows = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content(data)).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content(data))}\n")
    return "".join(rows) + f"{name}-{version}.dist-info/RECORD,,\n"


def wheel_bytes(
    name: str = "tiny",
    version: str = "1.0",
    files: Entries | None = None,
    *,
    info: Entries | None = None,
    executable: frozenset[str] = frozenset(),
    raw: tuple[tuple[zipfile.ZipInfo | str, bytes], ...] = (),
) -> bytes:
    """A wheel with these files; `info` more files in .dist-info (RECORD to lie); `raw` entries as they are."""
    own = dict(files if files is not None else {f"{name}.py": f"NAME = {name!r}\n"}) | info_files(name, version)
    own |= {f"{name}-{version}.dist-info/{key}": value for key, value in (info or {}).items()}
    own.setdefault(f"{name}-{version}.dist-info/RECORD", record(name, version, own))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in own.items():
            entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if path in executable else 0o100644) << 16
            archive.writestr(entry, content(data))
        for entry_or_name, data in raw:
            archive.writestr(entry_or_name, data)
    return out.getvalue()


def package(data: bytes, url: str, name: str = "tiny", version: str = "1.0") -> Package:
    filename = f"{name}-{version}-py3-none-any.whl"
    digest = hashlib.sha256(data).hexdigest()
    return Package(name.replace("_", "-"), version, f"{url}/{filename}", digest, filename, len(data))


def lock(packages: tuple[Package, ...], platform_name: str = "linux-x86_64") -> LockedPlan:
    ordered = tuple(sorted(packages, key=lambda each: each.name))
    return LockedPlan(platform.python_version(), ordered, NOW, platform=platform_name)


class Served:
    """Files by path, and what was asked for. `cut`: bytes after which the connection is broken, once for each entry;
    `fail`: statuses to answer first."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.cut: list[int] = []
        self.fail: list[int] = []
        self.redirects: dict[str, str] = {}
        self.ranges = True
        self.slow = False
        self.url = ""

    def add(self, name: str = "tiny", version: str = "1.0", data: bytes | None = None) -> Package:
        data = wheel_bytes(name, version) if data is None else data
        found = package(data, self.url, name, version)
        self.files["/" + found.filename] = data
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def do_GET(self) -> None:
        served = self.served
        wanted = self.headers.get("Range", "")
        served.asked.append((self.path, wanted))
        if served.fail:
            return self._answer(served.fail.pop(0), b"no")
        if self.path in served.redirects:
            self.send_response(302)
            self.send_header("Location", served.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if self.path not in served.files:
            return self._answer(404, b"no")
        data = served.files[self.path]
        if wanted and served.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            return self._answer(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})
        return self._answer(200, data)

    def _answer(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if status in (200, 206) and self.served.cut:
            self.wfile.write(data[: self.served.cut.pop(0)])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        while self.served.slow and len(data) > 100_000:
            self.wfile.write(data[:1000])
            data = data[1000:]
            time.sleep(0.05)
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle are part of the tests."""


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()
    handler = type("Handler", (_Handler,), {"served": served})
    server = _Server(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Lines:
    """A report that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        self.lines.append(event.message.rstrip("\n"))

    def say(self, line: str) -> None:
        self.lines.append(line)

    def __contains__(self, part: str) -> bool:
        return any(part in line for line in self.lines)
