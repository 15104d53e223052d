"""What a wheel becomes, and what a hostile one does not."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny import MINOR, SITE, wheel_bytes

from rebind.builds import unpack
from rebind.builds.unpack import BadWheel, Unpacked, versioned

INFO = "tiny-1.0.dist-info"
SYMLINK = 0o120777 << 16


def unpacked(tmp_path: Path, data: bytes, python: str = MINOR) -> Unpacked:
    file = tmp_path / "wheel.whl"
    file.write_bytes(data)
    into = tmp_path / "into"
    into.mkdir()
    return unpack.unpack(str(file), str(into), python)


def files(tmp_path: Path) -> set[str]:
    into = tmp_path / "into"
    return {str(path.relative_to(into)) for path in into.rglob("*") if not path.is_dir()}


def entry(name: str, attributes: int = 0o100644 << 16) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = attributes
    return info


def test_parts_of_a_wheel_go_to_their_places(tmp_path: Path) -> None:
    data = "tiny-1.0.data"
    result = unpacked(
        tmp_path,
        wheel_bytes(
            files={
                "tiny/__init__.py": "",
                f"{data}/purelib/pure.py": "",
                f"{data}/platlib/plat.so": "x",
                f"{data}/data/share/tiny/a.txt": "a",
                f"{data}/data/lib64/b.txt": "b",
                f"{data}/headers/tiny.h": "h",
                f"{data}/scripts/plain": "#!/bin/sh\n",
                f"{data}/scripts/py": "#!python\nprint(1)\n",
            }
        ),
    )
    assert files(tmp_path) == {
        f"tree/{SITE}/tiny/__init__.py",
        f"tree/{SITE}/pure.py",
        f"tree/{SITE}/plat.so",
        "tree/share/tiny/a.txt",
        "tree/lib/b.txt",
        f"tree/include/site/python{MINOR}/tiny/tiny.h",
        "tree/bin/plain",
        "scripts/py",
        *(f"tree/{SITE}/{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "INSTALLER")),
    }
    assert (result.name, result.version, result.scripts, result.warnings) == ("tiny", "1.0", ["py"], [])
    assert {f"tree/{d}/{n}" for d, names in result.files.items() for n in names} == files(tmp_path) - {"scripts/py"}


def test_record_is_written_anew_and_holds_all(tmp_path: Path) -> None:
    unpacked(
        tmp_path,
        wheel_bytes(
            files={"tiny.py": "x = 1\n", "tiny-1.0.data/data/share/x": "", "tiny-1.0.data/scripts/s": "#!python\n"},
            info={"entry_points.txt": "[console_scripts]\ntiny = tiny:main\n"},
        ),
    )
    rows = (tmp_path / "into/tree" / SITE / INFO / "RECORD").read_text().splitlines()
    paths = {row.split(",")[0] for row in rows}
    assert {"tiny.py", "../../../share/x", "../../../bin/s", "../../../bin/tiny", f"{INFO}/RECORD"} <= paths
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    assert f"tiny.py,sha256={digest},6" in rows
    assert (tmp_path / "into/tree" / SITE / INFO / "INSTALLER").read_text() == "rebind\n"


def test_only_execution_bits_survive(tmp_path: Path) -> None:
    raw = ((entry("run", 0o104777 << 16), b"x"), (entry("odd", 0o100200 << 16), b"x"))
    unpacked(tmp_path, wheel_bytes(raw=raw))
    mode = {
        name: stat.S_IMODE((tmp_path / "into/tree" / SITE / name).stat().st_mode) for name in ("run", "odd", "tiny.py")
    }
    assert mode == {"run": 0o755, "odd": 0o644, "tiny.py": 0o644}


def test_unpacking_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        unpacked(tmp_path, wheel_bytes())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "into/tree" / SITE).stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "into/tree" / SITE / "tiny.py").stat().st_mode) == 0o644


def test_shipped_pyc_with_a_source_is_left_to_our_compiler(tmp_path: Path) -> None:
    cached = {"a.py": "", "__pycache__/a.cpython-310.pyc": "old", "__pycache__/only.cpython-310.pyc": "kept"}
    unpacked(tmp_path, wheel_bytes(files=cached))
    assert f"tree/{SITE}/__pycache__/only.cpython-310.pyc" in files(tmp_path)
    assert f"tree/{SITE}/__pycache__/a.cpython-310.pyc" not in files(tmp_path)


def test_names_that_differ_in_case_stay_two_files(tmp_path: Path) -> None:
    unpacked(tmp_path, wheel_bytes(files={"Tiny.py": "1", "tiny.py": "2"}))
    site = tmp_path / "into/tree" / SITE
    assert ((site / "Tiny.py").read_text(), (site / "tiny.py").read_text()) == ("1", "2")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/evil",
        "../evil.py",
        "a/../../evil.py",
        "a/./evil.py",
        "a//evil.py",
        "..",
        "..\\evil.py",
        "a\\b.py",
        "C:evil.py",
        "c:/evil.py",
        "evil\n.py",
        "evil\x07.py",
        "x" * 300,
        "tiny-1.0.data/data/../../../evil",
        "tiny-1.0.data/scripts/../evil",
        "tiny-1.0.data/scripts/sub/evil",
        "tiny-1.0.data/scripts/python3",
        "tiny-1.0.data/scripts/a;b",
        "tiny-1.0.data/scripts/-rf",
        "tiny-1.0.data/nowhere/evil",
        "tiny-1.0.data/evil",
        "Other-1.0.dist-info/METADATA",
        "TINY-1.0.DIST-INFO/METADATA",
        f"tiny-1.0.data/data/{SITE}/{INFO}/RECORD",
        f"tiny-1.0.data/purelib/{INFO}/INSTALLER",
        "tiny.py/inside.py",
        "tiny-1.0.data/data/lib",
    ],
)
def test_attack_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadWheel):
        unpacked(tmp_path, wheel_bytes(raw=((entry(name), b"evil"),)))
    assert {path.name for path in tmp_path.iterdir()} == {"wheel.whl", "into"}


def test_attack_nul_in_a_name(tmp_path: Path) -> None:
    data = wheel_bytes(raw=((entry("evilX.py"), b""),)).replace(b"evilX.py", b"evil\0.py")
    with pytest.raises(BadWheel):
        unpacked(tmp_path, data)


@pytest.mark.parametrize("kind", [SYMLINK, 0o020666 << 16, 0o010666 << 16, 0o140777 << 16])
def test_attack_entries_that_are_no_files(tmp_path: Path, kind: int) -> None:
    with pytest.raises(BadWheel, match="not a regular file"):
        unpacked(tmp_path, wheel_bytes(raw=((entry("link", kind), b"/etc/passwd"),)))


def test_attack_a_file_below_a_link(tmp_path: Path) -> None:
    raw = ((entry("link", SYMLINK), str(tmp_path).encode()), (entry("link/evil"), b""))
    with pytest.raises(BadWheel):
        unpacked(tmp_path, wheel_bytes(raw=raw))
    assert not (tmp_path / "evil").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_attack_the_same_name_twice(tmp_path: Path) -> None:
    with pytest.raises(BadWheel, match="twice"):
        unpacked(tmp_path, wheel_bytes(raw=((entry("tiny.py"), b"evil"),)))


def test_attack_two_parts_of_the_wheel_write_one_file(tmp_path: Path) -> None:
    with pytest.raises(BadWheel, match="twice"):
        unpacked(tmp_path, wheel_bytes(files={"tiny.py": "", "tiny-1.0.data/purelib/tiny.py": "evil"}))


def test_attack_bomb_that_declares_its_size(tmp_path: Path) -> None:
    with pytest.raises(BadWheel, match="would grow"):
        unpacked(tmp_path, wheel_bytes(files={"zeros": b"\0" * (65 << 20)}))


def test_attack_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    """The declared size is 10, the content a megabyte."""
    data = bytearray(wheel_bytes(files={"zeros": b"\0" * (1 << 20)}))
    size = struct.pack("<L", 1 << 20)
    at = data.find(size)
    while at >= 0:
        data[at : at + 4] = struct.pack("<L", 10)
        at = data.find(size)
    with pytest.raises(BadWheel, match="damaged"):
        unpacked(tmp_path, bytes(data))


def test_attack_entries_that_overlap(tmp_path: Path) -> None:
    """Many entries of the directory that share one piece of data (the better zip bomb)."""
    file = tmp_path / "wheel.whl"
    file.write_bytes(wheel_bytes(files={"a": b"1" * 100, "b": b"1" * 100}))
    archive = zipfile.ZipFile(file)
    first, second = archive.infolist()[:2]
    second.header_offset = first.header_offset
    with pytest.raises(BadWheel, match="overlaps"):
        unpack._check_entries(archive.infolist(), file.stat().st_size)


def test_attack_two_names_for_one_entry(tmp_path: Path) -> None:
    """The directory says `good`, the entry itself `evil`: readers would see different archives."""
    data = wheel_bytes(files={"good.py": "1"})
    at = data.find(b"good.py")
    with pytest.raises(BadWheel, match="another name"):
        unpacked(tmp_path, data[:at] + b"evil.py" + data[at + 7 :])


def test_attack_a_record_that_lies(tmp_path: Path) -> None:
    lie = f"tiny.py,sha256=AAAA,5\n../../../../../etc/passwd,,\n/etc/shadow,,\n{INFO}/RECORD,,\n"
    result = unpacked(tmp_path, wheel_bytes(info={"RECORD": lie}))
    text = (tmp_path / "into/tree" / SITE / INFO / "RECORD").read_text()
    assert "etc" not in text
    assert "AAAA" not in text
    assert any("RECORD is wrong about 3 files" in warning for warning in result.warnings)


@pytest.mark.parametrize("record", ['"', "a,b\0c,d\n", "tiny.py\n", ""])
def test_attack_a_record_that_is_no_table(tmp_path: Path, record: str) -> None:
    unpacked(tmp_path, wheel_bytes(info={"RECORD": record}))


def test_environments_own_files_are_not_replaced(tmp_path: Path) -> None:
    own = ("pyvenv.cfg", "lib64", "bin/python", "bin/python3", f"bin/python{MINOR}")
    result = unpacked(tmp_path, wheel_bytes(files={f"tiny-1.0.data/data/{name}": "evil" for name in own}))
    assert len(result.warnings) == len(own)
    assert not {f"tree/{name}" for name in own} & files(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "../evil = tiny:main",
        "a/b = tiny:main",
        "python3 = tiny:main",
        "a b = tiny:main",
        "-x = tiny:main",
        "x = tiny:main; import os",
        "x = tiny:main()",
        "x = os:system('id')",
        "x = tiny\n    import os:main",
        "x = tiny",
        "$(id) = tiny:main",
        "x;y = tiny:main",
    ],
)
def test_attack_by_entry_point(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadWheel):
        unpacked(tmp_path, wheel_bytes(info={"entry_points.txt": f"[console_scripts]\n{line}\n"}))


def test_entry_points(tmp_path: Path) -> None:
    console = "[console_scripts]\nOne = tiny.cli:main\ntwo.x=tiny:Class.run [extra]\n"
    text = f"{console}[gui_scripts]\ng = tiny:g\n[other]\n; =\n"
    result = unpacked(tmp_path, wheel_bytes(info={"entry_points.txt": text}))
    assert result.entry_points == [["One", "tiny.cli", "main"], ["two.x", "tiny", "Class.run"], ["g", "tiny", "g"]]


def test_pip_gets_the_names_of_our_python() -> None:
    points = [("pip", "pip", "main"), ("pip3", "pip", "main"), ("pip3.9", "pip", "main")]
    assert [name for name, *_ in versioned(points, "pip", "2.7")] == ["pip", "pip2", "pip2.7"]
    assert versioned(points, "other", "2.7") == points


@pytest.mark.parametrize(
    "info",
    [
        {"METADATA": "Name: other\nVersion: 1.0\n"},
        {"METADATA": "Name: ../../tiny\nVersion: 1.0\n"},
        {"METADATA": ""},
        {"WHEEL": "Wheel-Version: 2.0\n"},
        {"WHEEL": ""},
    ],
)
def test_wheels_of_another_name_or_format_are_refused(tmp_path: Path, info: dict[str, str]) -> None:
    with pytest.raises(BadWheel):
        unpacked(tmp_path, wheel_bytes(info=info))


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 100, wheel_bytes()[:-40], wheel_bytes()[50:]])
def test_broken_archives(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadWheel):
        unpacked(tmp_path, data)


def test_damaged_content(tmp_path: Path) -> None:
    data = wheel_bytes(files={"tiny.bin": os.urandom(500)})
    at = data.find(b"tiny.bin") + 100
    with pytest.raises(BadWheel, match="damaged"):
        unpacked(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_worker_answers_for_good_and_bad_and_goes_on(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.whl", tmp_path / "bad.whl"
    good.write_bytes(wheel_bytes())
    bad.write_bytes(b"bad")
    jobs = []
    for at, file in enumerate((bad, tmp_path / "absent.whl", good)):
        (tmp_path / str(at)).mkdir()
        jobs.append(json.dumps([str(file), str(tmp_path / str(at)), MINOR, None]) + "\n")
    argv = [sys.executable, "-I", "-S", unpack.__file__]
    done = subprocess.run(argv, input="".join(jobs), capture_output=True, text=True, check=True, timeout=30)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert "bad" in answers[0]
    assert answers[1]["errno"] == 2
    assert answers[2]["name"] == "tiny"
