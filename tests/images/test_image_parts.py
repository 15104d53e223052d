"""Interpreters, packages and blobs as parts of an image."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from rebind.images import elf, packages
from rebind.images.blobs import Blobs
from rebind.images.interpreter import interpreter_entries
from rebind.images.tar import FILE, Entry, Packed, write_layer
from rebind.values import NB_PREFIX, Environment, Interpreter


def own() -> Interpreter:
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    return Interpreter(".".join(map(str, sys.version_info[:3])), prefix, prefix / "bin" / f"python{minor}")


@pytest.mark.session
def test_an_interpreter_leaves_behind_what_its_machine_added() -> None:
    python = own()
    found = {entry.name: entry for entry in interpreter_entries(python)}
    root = (python.mount or "/usr")[1:]
    assert f"{root}/bin/python{python.minor}" in found
    compiled = f"__pycache__/os.cpython-{python.minor.replace('.', '')}.pyc"
    assert f"{root}/lib/python{python.minor}/{compiled}" in found
    assert not [name for name in found if "site-packages" in name or "/test/" in name]
    if python.mount:
        text = b"".join(entry.content for entry in found.values() if entry.content[:4] != b"\x7fELF")
        assert str(python.prefix).encode() not in text


@pytest.mark.parametrize("cut", [0, 4, 63, 64, 100, 500])
def test_a_broken_program_stays_as_it_is(cut: int) -> None:
    data = Path(sys.executable).resolve().read_bytes()[:cut]
    assert elf.relocated(data, "$ORIGIN") == data
    assert elf.relocated(b"\x7fELF\x02\x01" + b"\xff" * 200, "$ORIGIN") == b"\x7fELF\x02\x01" + b"\xff" * 200


def make_wheel(store: Path, key: str, name: str, files: dict[str, bytes]) -> None:
    place = store / "wheels" / key
    listed: dict[str, list[str]] = {}
    for path, content in files.items():
        target = place / "tree" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        listed.setdefault(path.rpartition("/")[0], []).append(path.rpartition("/")[2])
    (place / "manifest.json").write_text(json.dumps({"name": name, "files": listed}))


def make_environment(store: Path, *keys: str) -> Environment:
    path = store / "environments" / "e"
    prefix = path / NB_PREFIX[1:]
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "tool").write_text("#!/bin/sh\n")
    for key in keys:
        for source in (store / "wheels" / key / "tree").rglob("*"):
            target = prefix / source.relative_to(store / "wheels" / key / "tree")
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                os.link(source, target)
    (path / "wheels").write_text("".join(f"{key}\n" for key in keys))
    return Environment("e", path, own())


SITE = "lib/python3.11/site-packages"


def test_all_of_an_environment_is_in_exactly_one_layer(tmp_path: Path) -> None:
    make_wheel(tmp_path, "k1", "Big.One", {f"{SITE}/big.py": b"x" * packages.LARGE})
    make_wheel(tmp_path, "k2", "small", {f"{SITE}/small.py": b"1", f"{SITE}/shared.py": b"small"})
    make_wheel(tmp_path, "k3", "tiny", {f"{SITE}/tiny/__init__.py": b"2", f"{SITE}/shared.py": b"tiny"})
    environment = make_environment(tmp_path, "k1", "k2", "k3")
    found = packages.wheels(environment)
    groups = packages.groups(found)
    assert groups[0].title == "big-one"
    layers = [list(packages.group_entries(group)) for group in groups]
    layers.append(list(packages.frame_entries(environment, found)))
    files = [entry for layer in layers for entry in layer if entry.kind == FILE]
    assert sorted(entry.name for entry in files) == sorted(
        f"{NB_PREFIX[1:]}/{path}"
        for path in (
            "bin/tool",
            *(f"{SITE}/{name}" for name in ("big.py", "small.py", "shared.py", "tiny/__init__.py")),
        )
    )
    (shared,) = [entry for entry in files if entry.name.endswith("shared.py")]
    assert Path(shared.source).read_bytes() == b"tiny"  # the later one won
    assert {entry.owner for entry in files} == {1000}


def test_another_package_leaves_the_other_layers_alone(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(30)]
    for number, key in enumerate(keys):
        make_wheel(tmp_path, key, f"package-{number}", {f"{SITE}/p{number}.py": b"x"})
    first = packages.groups(packages.wheels(make_environment(tmp_path, *keys)))
    (tmp_path / "environments" / "e").rename(tmp_path / "environments" / "f")
    make_wheel(tmp_path, "more", "one-more", {f"{SITE}/more.py": b"x"})
    second = packages.groups(packages.wheels(make_environment(tmp_path, *keys, "more")))
    known = [group.key for group in first]
    assert sum(1 for group in second if group.key not in known) == 1


def test_a_layer_is_written_once_however_many_want_it(blobs: Blobs) -> None:
    written = []

    def write(draft: Path) -> Packed:
        written.append(draft)
        time.sleep(0.1)
        return write_layer([Entry("a", FILE, content=b"x", size=1)], draft)

    threads = [threading.Thread(target=lambda: blobs.layer("key", write)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert not list((blobs.path / "tmp").iterdir())


def test_what_is_in_use_is_not_cleaned(blobs: Blobs, tmp_path: Path) -> None:
    blobs.small(b"content")
    assert Blobs(blobs.path).clean(None) == (0, ())
    another = Blobs(tmp_path / "another")
    (another.path / "sha256").mkdir(parents=True)
    (another.path / "sha256" / "a").write_text("x")
    _, names = another.clean(None, dry_run=True)
    assert names == ("blobs/a",)
    assert (another.path / "sha256" / "a").exists()
    another.clean(None)
    assert not (another.path / "sha256" / "a").exists()
