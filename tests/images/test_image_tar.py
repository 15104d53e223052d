"""The tar writer, read back by Python's own reader and by GNU tar."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from rebind.errors import BuildError
from rebind.images.tar import FILE, FOLDER, LINK, MTIME, Entry, header, write_layer

LONG = "a" * 90 + "/" + "b" * 90 + "/" + "c" * 90
ENTRIES = [
    Entry("d", FOLDER, 0o755, 1000, 1000),
    Entry("d/ünï", FILE, 0o755, 1000, 1000, content=b"text", size=4),
    Entry("d/link", LINK, 0o777, target="../" + "t" * 200),
    Entry(LONG, FILE, content=b"", size=0),
    Entry("x" * 180, FILE, content=b"y" * 513, size=513),
    Entry(os.fsdecode(b"d/\xff\xfe"), FILE, content=b"z", size=1),
]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    packed = write_layer(ENTRIES, tmp_path / "layer")
    data = (tmp_path / "layer").read_bytes()
    plain = gzip.decompress(data)
    assert packed.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert packed.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert packed.size == len(data)
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        found = archive.getmembers()
    assert [member.name for member in found] == [entry.name for entry in ENTRIES]
    assert {member.mtime for member in found} == {MTIME}
    assert (found[0].uid, found[0].gid, found[1].mode) == (1000, 1000, 0o755)
    assert found[2].linkname == "../" + "t" * 200


def test_gnu_tar_agrees(tmp_path: Path) -> None:
    write_layer(ENTRIES, tmp_path / "layer")
    listed = subprocess.run(["tar", "tzf", tmp_path / "layer"], check=True, capture_output=True).stdout
    assert listed.count(b"\n") == len(ENTRIES)
    assert LONG.encode() in listed


def test_a_size_beyond_the_old_format_is_kept() -> None:
    blocks = header(Entry("large", FILE, size=9 << 30))
    assert b"size=9663676416\n" in blocks


def test_bytes_do_not_depend_on_how_the_content_comes(tmp_path: Path) -> None:
    content = os.urandom(3 << 20) + bytes(1 << 20)
    (tmp_path / "file").write_bytes(content)
    here = Entry("f", FILE, content=content, size=len(content))
    there = Entry("f", FILE, source=str(tmp_path / "file"), size=len(content))
    assert write_layer([here], tmp_path / "one") == write_layer([there], tmp_path / "two")


def test_a_file_that_shrinks_is_no_broken_layer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"short")
    with pytest.raises(BuildError, match="became shorter"):
        write_layer([Entry("f", FILE, source=str(tmp_path / "file"), size=100)], tmp_path / "layer")


def test_a_file_replaced_by_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("/etc/shadow")
    with pytest.raises(OSError, match="symbolic"):
        write_layer([Entry("f", FILE, source=str(tmp_path / "file"), size=10)], tmp_path / "layer")
