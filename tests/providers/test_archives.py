"""Archives of strangers: what is unpacked, and every way out of the tree that they may try."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rebind.errors import RepositoryError
from rebind.providers.archives import Budget, lift, safe_parts, unpack
from rebind.providers.command import Watch

FILES = {"a.txt": b"a", "d/b": b"bb", "d/e/c": b"c" * 5000}


def entry(name: str, body: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info, body


def tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w", **options: object) -> Path:
    with tarfile.open(path, mode, **options) as archive:  # type: ignore[call-overload]
        for info, body in entries:
            archive.addfile(info, io.BytesIO(body))
    return path


def zip_(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, body in entries:
            archive.writestr(name, body)
    return path


def special(name: str, mode: int, body: bytes = b"") -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, body


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "out").mkdir()
    return tmp_path / "in" / "out"


def found(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(archive: Path, out: Path, match: str = "", **limits: object) -> None:
    before = sorted(out.parent.parent.rglob("*"))
    with pytest.raises(RepositoryError, match=match) as caught:
        unpack(archive, out, Budget(**limits))  # type: ignore[arg-type]
    assert "\x1b" not in caught.value.text()
    after = [path for path in out.parent.parent.rglob("*") if not path.is_relative_to(out)]
    assert sorted(after) == [path for path in before if not path.is_relative_to(out)]


# What is unpacked


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_in_all_forms(tmp_path: Path, out: Path, mode: str, form: int) -> None:
    long = "/".join(["x" * 60] * 3)
    archive = tar(tmp_path / "a", *(entry(n, b) for n, b in {**FILES, long: b"l"}.items()), mode=mode, format=form)
    unpack(archive, out, Budget())
    assert found(out) == {**FILES, long: b"l"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_in_all_forms(tmp_path: Path, out: Path, method: int) -> None:
    unpack(zip_(tmp_path / "a", *FILES.items(), method=method), out, Budget())
    assert found(out) == FILES


def test_modes_are_kept_without_setuid(tmp_path: Path, out: Path) -> None:
    unpack(
        tar(tmp_path / "a", entry("x", mode=0o6755), entry("y", mode=0o600), entry("d", type=tarfile.DIRTYPE)),
        out,
        Budget(),
    )
    assert [stat.S_IMODE((out / name).stat().st_mode) for name in "xyd"] == [0o755, 0o644, 0o755]
    (out / "z").mkdir()
    unpack(zip_(tmp_path / "b", special("x", stat.S_IFREG | 0o4711)), out / "z", Budget())
    assert stat.S_IMODE((out / "z" / "x").stat().st_mode) == 0o755


def test_links_inside_are_made(tmp_path: Path, out: Path) -> None:
    link = {"type": tarfile.SYMTYPE}
    entries = [
        entry("d/l", **link, linkname="../a"),
        entry("a", b"a"),
        entry("d/h", type=tarfile.LNKTYPE, linkname="a"),
    ]
    unpack(tar(tmp_path / "a", *entries), out, Budget())
    assert (out / "d" / "l").readlink() == Path("../a")
    assert (out / "d" / "h").read_bytes() == b"a"
    assert (out / "d" / "h").stat().st_nlink == 1


def test_only_what_is_below(tmp_path: Path, out: Path) -> None:
    archive = zip_(tmp_path / "a", ("x/data/contents/f", b"f"), ("x/bag", b""), ("x/data/contentsy/g", b""), ("f", b""))
    unpack(archive, out, Budget(), below="x/data/contents")
    assert found(out) == {"f": b"f"}


def test_names_of_old_programs(tmp_path: Path, out: Path) -> None:
    windows = zipfile.ZipInfo("d\\e.txt")
    windows.create_system = 0
    raw = zip_(tmp_path / "a", (windows, b"w"), ("__MACOSX/._x", b"")).read_bytes()
    (tmp_path / "a").write_bytes(raw)
    unpack(tmp_path / "a", out, Budget())
    assert found(out) == {"d/e.txt": b"w"}


def test_names_that_are_not_utf8(tmp_path: Path, out: Path) -> None:
    archive = tar(tmp_path / "a", entry("caf\xe9", b"1"), encoding="latin-1", format=tarfile.GNU_FORMAT)
    unpack(archive, out, Budget())
    assert found(out) == {"café": b"1"}
    unflagged = zip_(tmp_path / "b", ("cafXX", b"2")).read_bytes().replace(b"cafXX", "café".encode())
    (tmp_path / "b").write_bytes(unflagged)
    (out / "z").mkdir()
    unpack(tmp_path / "b", out / "z", Budget())
    assert found(out / "z") == {"café": b"2"}
    flagged = zip_(tmp_path / "c", ("caf\xe9", b"")).read_bytes().replace("é".encode(), b"\xff\xfe")
    (tmp_path / "c").write_bytes(flagged)
    refused(tmp_path / "c", out, "damaged")


@pytest.mark.parametrize(("entries", "left"), [(["top/a", "top/top/b"], ["a", "top/b"]), (["a", "t/b"], ["a", "t/b"])])
def test_a_single_top_folder_is_lifted(tmp_path: Path, out: Path, entries: list[str], left: list[str]) -> None:
    unpack(zip_(tmp_path / "a", *((name, b"") for name in entries)), out, Budget())
    lift(out)
    assert sorted(found(out)) == left
    assert list(out.parent.iterdir()) == [out]


# Ways out


@pytest.mark.parametrize("name", ["../evil", "/evil", "d/../../evil", "../../evil", "..", "d/..", "//evil"])
def test_names_that_lead_out(tmp_path: Path, out: Path, name: str) -> None:
    refused(tar(tmp_path / "a", entry("ok"), entry(name, b"x")), out, "leads out")
    refused(zip_(tmp_path / "b", ("ok", b""), (name, b"x")), out, "leads out")


def test_backslashes_that_lead_out(tmp_path: Path, out: Path) -> None:
    windows = zipfile.ZipInfo("..\\evil")
    windows.create_system = 0
    refused(zip_(tmp_path / "a", (windows, b"x")), out, "leads out")


@pytest.mark.parametrize("target", ["/etc", "..", "../..", "d/../..", "/proc/self/root", "", "x" * 5000])
def test_links_that_lead_out_are_not_made(tmp_path: Path, out: Path, target: str) -> None:
    unpack(tar(tmp_path / "a", entry("ok"), entry("l", type=tarfile.SYMTYPE, linkname=target)), out, Budget())
    unpack(zip_(tmp_path / "b", special("m", stat.S_IFLNK | 0o777, target.encode())), out, Budget())
    assert [path.name for path in out.iterdir()] == ["ok"]


def test_links_that_lead_out_together_are_not_made(tmp_path: Path, out: Path) -> None:
    link = {"type": tarfile.SYMTYPE}
    entries = [
        entry("a/b/c/ok"),
        entry("a/b/c/up", **link, linkname="../../.."),  # the root itself: fine alone
        entry("out", **link, linkname="a/b/c/up/.."),
        entry("further", **link, linkname="out/x"),
        entry("loop", **link, linkname="loop2"),
        entry("loop2", **link, linkname="loop"),
    ]
    unpack(tar(tmp_path / "a", *entries), out, Budget())
    left = {path.name for path in out.rglob("*") if path.is_symlink()}
    assert "out" not in left  # and `further` now leads nowhere
    for path in out.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(out)


@pytest.mark.parametrize("target", ["/tmp", "../..", "."])
def test_nothing_is_written_through_a_link(tmp_path: Path, out: Path, target: str) -> None:
    (tmp_path / "in" / "victim").write_text("safe")
    entries = [entry("d", type=tarfile.SYMTYPE, linkname=target), entry("d/victim", b"evil"), entry("d/evil", b"evil")]
    unpack(tar(tmp_path / "a", *entries), out, Budget())
    assert found(out) == {"d/victim": b"evil", "d/evil": b"evil"}
    assert (tmp_path / "in" / "victim").read_text() == "safe"
    again = [entry("x", type=tarfile.SYMTYPE, linkname="../victim"), entry("x", b"file")]
    unpack(tar(tmp_path / "b", *again), out, Budget())
    assert (tmp_path / "in" / "victim").read_text() == "safe"
    assert (out / "x").read_bytes() == b"file"


@pytest.mark.parametrize("target", ["../victim", "/etc/passwd", "absent", "d"])
def test_hard_links_out_are_refused(tmp_path: Path, out: Path, target: str) -> None:
    (tmp_path / "in" / "victim").write_text("safe")
    entries = [entry("d", type=tarfile.DIRTYPE), entry("l", type=tarfile.LNKTYPE, linkname=target), entry("l", b"evil")]
    refused(tar(tmp_path / "a", *entries), out)
    assert (tmp_path / "in" / "victim").read_text() == "safe"


def test_a_hard_link_to_a_symbolic_one_leads_nowhere(tmp_path: Path, out: Path) -> None:
    entries = [entry("s", type=tarfile.SYMTYPE, linkname="/etc/passwd"), entry("h", type=tarfile.LNKTYPE, linkname="s")]
    refused(tar(tmp_path / "a", *entries), out, "does not hold")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path: Path, out: Path, kind: bytes) -> None:
    refused(tar(tmp_path / "a", entry("dev", type=kind, devmajor=1, devminor=3)), out, "device")


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_in_a_zip_are_refused(tmp_path: Path, out: Path, mode: int) -> None:
    refused(zip_(tmp_path / "a", special("dev", mode | 0o666)), out, "device")


def test_a_file_that_is_a_folder_too(tmp_path: Path, out: Path) -> None:
    refused(tar(tmp_path / "a", entry("x", b"f"), entry("x/y", b"")), out, "below a file")
    refused(zip_(tmp_path / "b", ("d/y", b""), ("d", b"f")), out, "both as")


# Too much


def test_bombs(tmp_path: Path, out: Path) -> None:
    zeros = b"\0" * 50_000_000
    refused(zip_(tmp_path / "a", ("x", zeros)), out, "larger than", max_bytes=1_000_000)
    refused(tar(tmp_path / "b", entry("x", zeros), mode="w:gz"), out, "larger than", max_bytes=1_000_000)
    assert sum(path.stat().st_size for path in out.rglob("*")) < 3_000_000


def test_a_size_that_lies(tmp_path: Path, out: Path) -> None:
    raw = bytearray(zip_(tmp_path / "a", ("x", b"\0" * 5_000_000)).read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", raw, raw.index(signature) + at, 10)
    (tmp_path / "a").write_bytes(raw)
    refused(tmp_path / "a", out, max_bytes=1_000_000)


def test_a_sparse_file_without_end(tmp_path: Path, out: Path) -> None:
    size = 1 << 50
    header = tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)
    block = bytearray(header[:512])
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a.tar").write_bytes(bytes(block) + b"\0" * 1024)
    refused(tmp_path / "a.tar", out, max_bytes=1_000_000)


def test_too_many_files(tmp_path: Path, out: Path) -> None:
    refused(zip_(tmp_path / "a", *((f"d{n}/", b"") for n in range(50))), out, "more than the 20 files", max_files=20)
    refused(tar(tmp_path / "b", *(entry(str(n)) for n in range(50))), out, "more than the 20 files", max_files=20)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory(tmp_path: Path, out: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 100_000_000
    with gzip.open(tmp_path / "a", "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.write(b"0" * info.size)
    refused(tmp_path / "a", out, "damaged")


def test_a_zip_directory_that_would_fill_the_memory(tmp_path: Path, out: Path) -> None:
    raw = bytearray(zip_(tmp_path / "a", ("x", b"")).read_bytes())
    struct.pack_into("<L", raw, raw.rindex(b"PK\x05\x06") + 12, 0xF0000000)
    (tmp_path / "a").write_bytes(raw)
    refused(tmp_path / "a", out, "damaged")


def test_xz_that_wants_too_much_memory(tmp_path: Path, out: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    body = tar(tmp_path / "t", entry("x", b"x")).read_bytes()
    raw = bytearray(lzma.compress(body, lzma.FORMAT_XZ, filters=filters))
    at = raw.index(b"\x21\x01", 12) + 2  # the size of the dictionary in the block's header
    raw[at] = 39  # 3 GB
    length = (raw[12] + 1) * 4
    struct.pack_into("<L", raw, 12 + length - 4, zlib.crc32(raw[12 : 12 + length - 4]))
    (tmp_path / "a").write_bytes(raw)
    refused(tmp_path / "a", out, "damaged")


def test_a_deadline_holds(tmp_path: Path, out: Path) -> None:
    archive = tar(tmp_path / "a", entry("x", b"x" * 10_000_000), mode="w:gz")
    refused(archive, out, "took longer", watch=Watch(deadline=0.0, named="x"))


# Broken


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",
        lambda: b"not an archive at all" * 100,
        lambda: b"\x1f\x8b\x08\0" + b"x" * 100,
        lambda: b"BZh9" + b"x" * 100,
        lambda: b"\xfd7zXZ\0" + b"x" * 100,
        lambda: gzip.compress(b"x" * 2000),
        lambda: bz2.compress(b"x" * 2000)[:-10],
        lambda: b"PK\x05\x06" + b"\xff" * 18,
    ],
)
def test_what_is_no_archive(tmp_path: Path, out: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "a\x1b[31m").write_bytes(make())
    refused(tmp_path / "a\x1b[31m", out, "damaged")


@pytest.mark.parametrize("cut", [100, 600, 1500, 5000])
def test_cut_off(tmp_path: Path, out: Path, cut: int) -> None:
    whole = tar(tmp_path / "a", *(entry(n, os.urandom(3000)) for n in "abc"), mode="w:gz").read_bytes()
    (tmp_path / "a").write_bytes(whole[:cut])
    refused(tmp_path / "a", out, "damaged")


def test_a_password_and_a_wrong_sum(tmp_path: Path, out: Path) -> None:
    raw = bytearray(zip_(tmp_path / "a", ("x", b"hello"), method=zipfile.ZIP_STORED).read_bytes())
    locked = bytearray(raw)
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(signature) + at] |= 1
    (tmp_path / "a").write_bytes(locked)
    refused(tmp_path / "a", out, "password")
    raw[raw.index(b"hello")] = ord("j")
    (tmp_path / "a").write_bytes(raw)
    refused(tmp_path / "a", out, "damaged")


def test_names_that_cannot_be() -> None:
    for name in ("a\0b", "x" * 256, "/".join("a" * 101), "é" * 200):
        with pytest.raises(RepositoryError):
            safe_parts(name)
    assert safe_parts("./a//b/.") == ("a", "b")
