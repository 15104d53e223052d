"""A small conda channel of real packages, made with rattler or byte by byte, and an HTTP server for it.

`python` is a copy of a CPython of this machine with its standard library.
"""

from __future__ import annotations

import bz2
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import zstandard

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


def python_tree(executable: str, into: Path) -> str:
    """A CPython of this machine as the files of a conda package; returns its version."""
    told = "import sys,sysconfig;print('%d.%d.%d' % sys.version_info[:3]);print(sys.base_prefix)"
    version, prefix = subprocess.run(
        [executable, "-c", told], capture_output=True, text=True, check=True
    ).stdout.split()
    minor = ".".join(version.split(".")[:2])
    (into / "bin").mkdir(parents=True)
    shutil.copy(Path(prefix, "bin", f"python{minor}").resolve(), into / "bin" / f"python{minor}")
    for name in ("python", "python3"):
        (into / "bin" / name).symlink_to(f"python{minor}")
    skipped = shutil.ignore_patterns(
        "site-packages", "dist-packages", "test", "__pycache__", "*.a", "idlelib", "config-*"
    )
    shutil.copytree(Path(prefix, "lib", f"python{minor}"), into / "lib" / f"python{minor}", ignore=skipped)
    (into / "lib" / f"python{minor}" / "site-packages").mkdir(exist_ok=True)
    (into / "lib" / f"python{minor}" / "site-packages" / "README.txt").write_text("empty\n")
    # Debian's Python looks in dist-packages only
    (into / "lib" / f"python{minor}" / "sitecustomize.py").unlink(missing_ok=True)
    (into / "lib" / f"python{minor}" / "sitecustomize.py").write_text(
        f"import os, site\nsite.addsitedir('/srv/conda/envs/notebook/lib/python{minor}/site-packages')\n"
    )
    for library in Path(prefix, "lib").glob(f"libpython{minor}.so*"):
        shutil.copy(library, into / "lib" / library.name)
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
