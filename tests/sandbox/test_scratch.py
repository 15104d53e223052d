"""Scratch space on a disk, as kernels before 6.6 need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sandbox_tools import Inside, give

from rebind.sandbox import Overlay, remove_upper
from rebind.sandbox import scratch as module
from rebind.sandbox.sources import make_upper


def test_overlays_work_on_a_disk_and_nothing_is_left(
    inside: Inside, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "tmpfs_suffices", lambda: False)
    (folder / "low" / "package").mkdir(parents=True)
    (folder / "low" / "package" / "old").touch()
    give(folder / "low")
    before = set(Path("/var/tmp").iterdir())
    script = (
        "rm -r /srv/package && mkdir /srv/package && ls /srv/package && mkdir -m 0 /srv/closed && df /srv | tail -1"
    )
    mounts = (Overlay("/srv", (folder / "low",)), Overlay("/opt/x", (folder / "low",)), Overlay("/opt/y", ()))
    found = inside(script, *mounts)
    assert found.code == 0
    assert found.text.startswith("overlay")
    assert set(Path("/var/tmp").iterdir()) == before
    assert (folder / "low" / "package" / "old").exists()


def test_uppers_are_removed_whatever_their_modes(inside: Inside, folder: Path) -> None:
    (folder / "low").mkdir()
    (folder / "kept").mkdir()
    (folder / "kept" / "file").touch()
    upper = folder / "up" / "home"
    script = "mkdir -p a/b; touch a/b/c; ln -s %s link; chmod 0 a/b a; mkdir x; chmod 555 x" % (folder / "kept")
    assert inside(f"cd /srv; {script}", Overlay("/srv", (folder / "low",), upper)).code == 0
    assert (upper / "a").is_dir()
    remove_upper(upper)
    assert list((folder / "up").iterdir()) == []
    assert (folder / "kept" / "file").exists()
    remove_upper(upper)  # nothing there is fine


def test_uppers_belong_to_the_sandbox(folder: Path) -> None:
    make_upper(folder / "u", os.getuid() or 61000)
    assert {path.name for path in folder.iterdir()} == {"u", "u.work"}
    assert (folder / "u").stat().st_uid == (os.getuid() or 61000)
