"""A small conda channel of real packages, made with rattler or byte by byte, and an HTTP server for it.

`python` is a copy of a CPython of this machine with its standard library.
"""

from __future__ import annotations

import bz2
import hashlib
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import zstandard

from rebind.values import NB_PREFIX

DAY = datetime(2024, 1, 1, tzinfo=UTC)


def package(
    channel: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Path | None = None,
    depends: tuple[str, ...] = (),
    noarch: str | None = None,
    when: datetime = DAY,
    old: bool = False,
) -> None:
    """Writes one package into the channel; `files` is its tree."""
    import rattler_build

    subdir = "noarch" if noarch else "linux-64"
    (channel / subdir).mkdir(parents=True, exist_ok=True)
    if files is None:
        files = channel.parent / "empty" / name
        (files / "share" / name).mkdir(parents=True, exist_ok=True)
        (files / "share" / name / "there").write_text(name)
    kind = rattler_build.ArchiveType.TarBz2 if old else rattler_build.ArchiveType.Conda
    rattler_build.assemble_package(
        name, version, subdir, "0", channel / subdir, files_dir=files, depends=list(depends), noarch=noarch,
        timestamp=when, archive_type=kind, compression_level=1,
    )  # fmt: skip


Entry = tuple[str, bytes, int] | tuple[str, str]
"""(name, content, mode), or (name, target of a symbolic link)"""


def tar(entries: Sequence[Entry]) -> bytes:
    """A tar archive with exactly these names."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry[0])
            if len(entry) == 2:
                info.type, info.linkname = tarfile.SYMTYPE, entry[1]
                archive.addfile(info)
            else:
                info.size, info.mode = len(entry[1]), entry[2]
                archive.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def raw_package(
    folder: Path,
    name: str,
    entries: Sequence[Entry],
    *,
    prefixed: dict[str, tuple[str, str]] | None = None,
    old: bool = False,
    version: str = "1.0",
) -> Path:
    """A package of these very entries; `prefixed`: path -> placeholder and mode."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}
    facts["timestamp"] = int(DAY.timestamp() * 1000)
    rows = []
    for entry in entries:
        row: dict[str, object] = {"_path": entry[0], "path_type": "softlink" if len(entry) == 2 else "hardlink"}
        if prefixed and entry[0] in prefixed:
            row["prefix_placeholder"], row["file_mode"] = prefixed[entry[0]]
        if len(entry) == 3:
            row |= {"sha256": hashlib.sha256(entry[1]).hexdigest(), "size_in_bytes": len(entry[1])}
        rows.append(row)
    info: list[Entry] = [
        ("info/index.json", json.dumps(facts).encode(), 0o644),
        ("info/paths.json", json.dumps({"paths_version": 1, "paths": rows}).encode(), 0o644),
    ]
    if old:
        path = folder / f"{name}-{version}-0.tar.bz2"
        path.write_bytes(bz2.compress(tar([*info, *entries])))
        return path
    path = folder / f"{name}-{version}-0.conda"
    pack = zstandard.ZstdCompressor().compress
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        outer.writestr(f"pkg-{name}-{version}-0.tar.zst", pack(tar(entries)))
        outer.writestr(f"info-{name}-{version}-0.tar.zst", pack(tar(info)))
    return path


def index(channel: Path) -> None:
    """`repodata.json` of the channel, without the time of indexing, which would win over the packages' own."""
    import asyncio

    from rattler import index as rattler_index

    (channel / "noarch").mkdir(exist_ok=True)
    asyncio.run(_index(rattler_index, channel))
    for path in channel.glob("*/repodata.json"):
        text = json.loads(path.read_text())
        for kind in ("packages", "packages.conda"):
            for record in text.get(kind, {}).values():
                record.pop("indexed_timestamp", None)
        path.write_text(json.dumps(text))


async def _index(rattler_index, channel: Path) -> None:  # type: ignore[no-untyped-def]
    await rattler_index.index_fs(channel, write_zst=False, write_shards=False, force=True)


def python_package(channel: Path, work: Path) -> str:
    """The CPython that runs this, as a package whose files have its prefix in them; returns its version.

    Raises LookupError if its prefix is too short to be replaced, or is the system's, whose Python is another kind.
    """
    prefix, minor = sys.base_prefix, f"{sys.version_info.major}.{sys.version_info.minor}"
    if len(prefix) < len(NB_PREFIX) or Path(prefix).is_relative_to("/usr"):
        raise LookupError(f"the Python in {prefix} cannot be made a package of")
    skipped = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a", "idlelib", "config-*", "ensurepip")
    shutil.copytree(Path(prefix, "lib", f"python{minor}"), work / "lib" / f"python{minor}", ignore=skipped)
    for path in (
        Path("bin", f"python{minor}"),
        *(f.relative_to(prefix) for f in Path(prefix, "lib").glob("libpython*.so*")),
    ):
        (work / path).parent.mkdir(exist_ok=True)
        shutil.copy(Path(prefix, path), work / path)
    entries: list[Entry] = [("bin/python", f"python{minor}"), ("bin/python3", f"python{minor}")]
    prefixed = {}
    for file in sorted(path for path in work.rglob("*") if path.is_file()):
        data, name = file.read_bytes(), str(file.relative_to(work))
        if b"\0" in data:  # the linker has the version ("3.11.7") share the end of the prefix, if that ends so
            data = data.replace(prefix.encode() + b"\0", b"/-" + prefix[2:].encode() + b"\0")
        entries.append((name, data, 0o755 if os.access(file, os.X_OK) else 0o644))
        if prefix.encode() in data:
            prefixed[name] = (prefix, "binary" if b"\0" in data else "text")
    version = ".".join(map(str, sys.version_info[:3]))
    raw_package(channel / "linux-64", "python", entries, prefixed=prefixed, version=version)
    return version


@contextmanager
def served(channels: Path) -> Iterator[str]:
    """The address below which the channels lie."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(channels))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
