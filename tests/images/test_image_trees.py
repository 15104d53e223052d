"""Trees and repositories as entries of layers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.conftest import MakeRepository, git

from rebind.images.checkout import layer_entries
from rebind.images.tar import FILE, LINK, Entry, write_layer
from rebind.images.trees import Place, entries
from rebind.values import Layer


def by_name(found: list[Entry]) -> dict[str, Entry]:
    return {entry.name: entry for entry in found}


def test_links_are_kept_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "file").symlink_to("/etc/shadow")
    found = by_name(list(entries(root, Place("home/x", 1000))))
    assert set(found) == {"home/x", "home/x/out", "home/x/file"}
    assert found["home/x/out"].kind == LINK


def test_special_files_and_set_uid_bits_stay_behind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "program").write_text("#!/bin/sh\n")
    (tmp_path / "program").chmod(0o6755)
    found = by_name(list(entries(tmp_path, Place("x"))))
    assert "x/pipe" not in found
    assert found["x/program"].mode == 0o755


def test_a_name_of_a_whiteout_removes_nothing_of_the_image(tmp_path: Path) -> None:
    (tmp_path / ".wh.bin").write_text("")
    (tmp_path / ".wh..wh..opq").write_text("")
    assert set(by_name(list(entries(tmp_path, Place("x"))))) == {"x"}


def test_whiteouts_of_an_overlay_become_those_of_a_layer(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    try:
        os.mknod(tmp_path / "folder" / "gone", 0o020000, 0)
        os.setxattr(tmp_path / "folder", "user.overlay.opaque", b"y")
    except OSError as error:
        pytest.skip(f"this machine does not allow to make what an overlay makes: {error}")
    found = by_name(list(entries(tmp_path, Place("srv", 1000))))
    assert {"srv/folder/.wh.gone", "srv/folder/.wh..wh..opq"} < set(found)
    assert found["srv/folder/.wh.gone"].kind == FILE


def test_compiled_files_survive_the_fixed_times(tmp_path: Path) -> None:
    for part in ("home", "srv"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "timed.pyc").write_bytes(b"\xa7\x0d\r\n" + bytes(4) + b"time" + b"size" + b"code")
        (tmp_path / part / "hashed.pyc").write_bytes(b"\xa7\x0d\r\n\3\0\0\0" + b"hashhash" + b"code")
    found = by_name(list(layer_entries(Layer("d", tmp_path))))
    assert "home/jovyan/timed.pyc" not in found  # people edit these sources
    assert "home/jovyan/hashed.pyc" in found
    assert found["srv/timed.pyc"].content == b"\xa7\x0d\r\n\1\0\0\0" + bytes(8) + b"code"
    assert found["srv/hashed.pyc"].source


def _fetched(source: Path, into: Path, *options: str) -> Layer:
    subprocess.run(["git", "clone", "-q", *options, f"file://{source}", into / "home"], check=True)
    return Layer("d", into)


def test_two_checkouts_of_a_commit_are_the_same_layer(make_repository: MakeRepository, tmp_path: Path) -> None:
    repository = make_repository({"a.txt": "a\n" * 1000, "b/c.txt": "c\n"})
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    made = []
    for number, options in enumerate((("--no-tags",), ("-c", "core.compression=9"))):
        layer = _fetched(repository, tmp_path / str(number), *options)
        (layer.path / "home" / ".git" / "config").write_text("[core]\n\tbare = false\n")
        (layer.path / "home" / ".git" / "packed-refs").unlink(missing_ok=True)
        made.append(write_layer(layer_entries(layer), tmp_path / f"layer{number}").digest)
        subprocess.run(["git", "-C", layer.path / "home", "gc", "-q", "--aggressive"], check=True)
    assert made[0] == made[1]


def test_git_works_in_what_was_written(make_repository: MakeRepository, tmp_path: Path) -> None:
    layer = _fetched(make_repository({"a.txt": "a\n"}), tmp_path / "layer")
    write_layer(layer_entries(layer), tmp_path / "packed")
    subprocess.run(["tar", "xzf", tmp_path / "packed", "--no-same-owner", "-C", tmp_path], check=True)
    home = tmp_path / "home" / "jovyan"
    assert git(home, "status", "--porcelain") == ""
    assert git(home, "log", "--format=%s") == "files"
    assert git(home, "fsck", "--no-dangling") == ""


def test_settings_of_a_stranger_s_git_directory_run_nothing(make_repository: MakeRepository, tmp_path: Path) -> None:
    layer = _fetched(make_repository({"a.txt": "a\n"}), tmp_path / "layer")
    mark = tmp_path / "ran"
    config = layer.path / "home" / ".git" / "config"
    lines = [f"fsmonitor = touch {mark}", f"hooksPath = {tmp_path}", f"sshCommand = touch {mark}"]
    config.write_text(
        "[core]\n\trepositoryformatversion = 1\n\t" + "\n\t".join(lines) + "\n"
        f'[extensions]\n\tpartialClone = origin\n[remote "origin"]\n\turl = ext::touch {mark}\n\tpromisor = true\n'
    )
    (layer.path / "home" / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (layer.path / "home" / ".git" / "HEAD").write_text("ref: refs/heads/../../../../etc/passwd\n")
    list(layer_entries(layer))
    assert not mark.exists()
