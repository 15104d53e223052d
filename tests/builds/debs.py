"""Debian packages made on the spot, well-formed or hostile: an ar archive of two tar archives, deb(5)."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence

from tiny import Served

from rebind.values import DebianPackage

Entry = tuple[str, bytes] | tarfile.TarInfo
"""A file by path, or any tar entry."""


def entry(path: str, kind: bytes, mode: int = 0o755, to: str = "", device: tuple[int, int] = (0, 0)) -> tarfile.TarInfo:
    found = tarfile.TarInfo(path)
    found.type, found.mode, found.linkname = kind, mode, to
    found.devmajor, found.devminor = device
    return found


def _tar(entries: Sequence[Entry]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        made: set[str] = set()
        for each in entries:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
                made.add(each.name)
                continue
            path, data = each
            for at in [index for index, letter in enumerate(path) if letter == "/" and index > 1]:
                if path[:at] not in made:
                    made.add(path[:at])
                    tar.addfile(entry(path[:at], tarfile.DIRTYPE))
            file = tarfile.TarInfo(path)
            script = "bin/" in path or path.endswith(("inst", "rm", ".setuid"))
            file.size, file.mode = len(data), 0o4755 if path.endswith(".setuid") else 0o755 if script else 0o644
            tar.addfile(file, io.BytesIO(data))
    return stream.getvalue()


def deb(name: str, files: Sequence[Entry], scripts: dict[str, str] | None = None, **fields: str) -> bytes:
    """The bytes of a package. `scripts`: `postinst` and its like; `fields`: further ones, `_` for `-`."""
    listed = [each for each in files if not isinstance(each, tarfile.TarInfo)]
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {path.removeprefix('./')}\n" for path, data in listed)
    control = {
        "Package": name, "Version": "1.0", "Architecture": "all", "Maintainer": "Ada <ada@example.org>",
        "Description": "of a test", **{key.replace("_", "-"): value for key, value in fields.items()},
    }  # fmt: skip
    text = "".join(f"{key}: {value}\n" for key, value in control.items())
    inner = [("./control", text.encode()), ("./md5sums", sums.encode())]
    inner += [(f"./{script}", body.encode()) for script, body in (scripts or {}).items()]
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", _tar(inner)), ("data.tar.gz", _tar(files))]
    found = b"!<arch>\n"
    for member, data in parts:
        found += f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        found += b"\n" if len(data) % 2 else b""
    return found


def serve(served: Served, name: str, data: bytes, *, version: str = "1.0") -> DebianPackage:
    """Puts the bytes behind a URL and says them as a lock does."""
    served.files[f"/{name}.deb"] = data
    url, digest = f"{served.url.rstrip('/')}/{name}.deb", hashlib.sha256(data).hexdigest()
    return DebianPackage(name, version, "all", url, digest, len(data))
