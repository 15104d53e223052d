"""A small real package index, and what is between it and uv."""

from __future__ import annotations

import hashlib
import io
import json
import socketserver
import tarfile
import zipfile
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import AF_UNIX, socket
from urllib.parse import urlsplit

JSON = "application/vnd.pypi.simple.v1+json"
HOST = "upstream.test"
KERNEL = ("ipykernel", "ipywidgets", "pip", "setuptools", "wheel")


def make_wheel(name: str, version: str, requires: tuple[str, ...] = (), requires_python: str = "") -> bytes:
    """The bytes of a wheel that holds nothing but its metadata."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {line}" for line in requires]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("padding.py", "# " + "x" * 200_000)
        archive.writestr(f"{folder}/METADATA", "\n".join(lines) + "\n\nA description.\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
    return data.getvalue()


BACKEND = """
import os, zipfile
def _write(folder):
    name = "{name}-{version}.dist-info"
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    with open(os.path.join(folder, name, "METADATA"), "w") as f:
        f.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{requires}")
    with open(os.path.join(folder, name, "WHEEL"), "w") as f:
        f.write("Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    return name
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    {code}
    return _write(folder)
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("not built here")
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def backend(name: str, version: str, requires: tuple[str, ...] = (), code: str = "pass") -> str:
    """A build backend that needs nothing; `code` is what a stranger's build would do."""
    lines = "".join(f"Requires-Dist: {line}\\n" for line in requires)
    return BACKEND.format(name=name, version=version, requires=lines, code=code)


def make_sdist(name: str, version: str, requires: tuple[str, ...] = (), code: str = "pass") -> bytes:
    data = io.BytesIO()
    files = {"pyproject.toml": PYPROJECT, "backend.py": backend(name, version, requires, code)}
    files["PKG-INFO"] = f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n"
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


@dataclass
class Upstream:
    """The index that everybody else would call PyPI. It counts what it is asked, and can fail."""

    base: str = ""
    pages: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    down: bool = False
    html: bool = False
    sidecars: bool = True

    def add(
        self, name: str, version: str, uploaded: str | None, requires: tuple[str, ...] = (), **extra: object
    ) -> str:
        python = str(extra.pop("python", ""))
        filename = f"{name.replace('-', '_')}-{version}-{extra.pop('tag', 'py3-none-any')}.whl"
        return self.put(name, filename, make_wheel(name, version, requires, python), uploaded, python, **extra)

    def add_sdist(
        self, name: str, version: str, uploaded: str, requires: tuple[str, ...] = (), code: str = "pass"
    ) -> str:
        return self.put(name, f"{name}-{version}.tar.gz", make_sdist(name, version, requires, code), uploaded)

    def put(
        self, name: str, filename: str, data: bytes, uploaded: str | None, python: str = "", **extra: object
    ) -> str:
        self.files[filename] = data
        row: dict[str, object] = {"filename": filename, "url": f"{self.base}/files/{filename}", "size": len(data)}
        row["hashes"] = {"sha256": hashlib.sha256(data).hexdigest()}
        row["requires-python"] = python or None
        if uploaded:
            row["upload-time"] = uploaded
        self.pages.setdefault(name, []).append(row | extra)
        return filename

    def kernel(self, uploaded: str = "2015-01-01T00:00:00Z") -> None:
        """What every environment holds."""
        for name in KERNEL:
            self.add(name, "1.0", uploaded)

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, str, bytes, dict[str, str]]:
        path = urlsplit(handler.path).path
        self.asked.append(path)
        if self.down:
            return 503, "text/plain", b"down", {}
        kind, _, name = path.strip("/").partition("/")
        if kind == "files":
            return self._file(name, handler.headers.get("Range"))
        if kind != "simple" or name not in self.pages:
            return 404, "text/plain", b"", {}
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": self.pages[name]}
        data = self._html(name) if self.html else json.dumps(page).encode()
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        if handler.headers.get("If-None-Match") == tag:
            return 304, JSON, b"", {"ETag": tag}
        return 200, "text/html" if self.html else JSON, data, {"ETag": tag}

    def _html(self, name: str) -> bytes:
        anchors = []
        for row in self.pages[name]:
            hashes = row["hashes"]
            assert isinstance(hashes, dict)
            time = f' data-upload-time="{row["upload-time"]}"' if "upload-time" in row else ""
            anchors.append(f'<a href="{row["url"]}#sha256={hashes["sha256"]}"{time}>{row["filename"]}</a>')
        return "\n".join(anchors).encode()

    def _file(self, name: str, part: str | None) -> tuple[int, str, bytes, dict[str, str]]:
        wheel = name.removesuffix(".metadata")
        if name != wheel and self.sidecars and wheel in self.files:
            with zipfile.ZipFile(io.BytesIO(self.files[wheel])) as archive:
                found = next(entry for entry in archive.namelist() if entry.endswith("/METADATA"))
                return 200, "application/octet-stream", archive.read(found), {}
        if name not in self.files:
            return 404, "text/plain", b"", {}
        data = self.files[name]
        if part is None:
            return 200, "application/octet-stream", data, {}
        start, end = (int(number) for number in part.removeprefix("bytes=").split("-"))
        headers = {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
        return 206, "application/octet-stream", data[start : end + 1], headers


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@dataclass
class Client:
    """Asks the dated index over its socket, byte for byte."""

    socket: Path

    def get(self, path: str, accept: str = JSON, method: str = "GET", body: str | None = None) -> HTTPResponse:
        connection = HTTPConnection("index")
        connection.sock = socket(AF_UNIX)
        connection.sock.connect(str(self.socket))
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Accept", accept)
        connection.putheader("Content-Length", str(len(body or "")))
        connection.endheaders((body or "").encode())
        return connection.getresponse()

    def files(self, path: str) -> list[str]:
        """File names of a page; [] for 404."""
        answer = self.get(path)
        return [row["filename"] for row in json.loads(answer.read())["files"]] if answer.status == 200 else []
