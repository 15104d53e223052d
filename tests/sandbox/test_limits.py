"""Control groups: where they can be made, what is written, and that nothing is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sandbox_tools import Inside

from rebind.sandbox import Group, capabilities
from rebind.sandbox.limits import PREFIX, Place, places, settings, sweep
from rebind.values import Limits


def folder_of(root: Path, path: str, **files: str) -> Path:
    made = root / path.lstrip("/")
    made.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (made / name.replace("_", ".", 1)).write_text(text)
    return made


def unified(tmp_path: Path) -> Path:
    """A tree of version 2 in plain files, as systemd delegates it to a user."""
    both = {"cgroup_controllers": "cpu memory pids\n", "cgroup_subtree_control": "cpu memory pids\n"}
    folder_of(tmp_path, "", **both)
    slice_ = folder_of(tmp_path, "user.slice/user-1.slice/user@1.service/app.slice", **both)
    folder_of(slice_, "mine.scope", cgroup_controllers="cpu memory pids\n", cgroup_subtree_control="\n")
    return slice_


def test_version_2_takes_the_nearest_group_that_hands_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slice_ = unified(tmp_path)
    monkeypatch.setattr("rebind.sandbox.limits._hand_down", lambda *_: None)
    own = "0::/user.slice/user-1.slice/user@1.service/app.slice/mine.scope\n"
    assert places(tmp_path, own) == (Place(slice_, 2, frozenset({"cpu", "memory", "pids"})),)


def test_version_2_without_any_writable_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unified(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert places(tmp_path, "0::/user.slice\n") == ()


def test_version_1_takes_its_own_group_of_each_controller(tmp_path: Path) -> None:
    for name in ("memory/mine", "cpu,cpuacct/mine", "pids", "freezer"):
        folder_of(tmp_path, name)
    own = "8:pids:/mine\n6:freezer:/\n4:memory:/mine\n1:cpu,cpuacct:/mine\n0::/\n"
    found = {next(iter(place.controllers)): place.folder for place in places(tmp_path, own)}
    assert found == {
        "pids": tmp_path / "pids",  # a container that does not show its own group
        "memory": tmp_path / "memory/mine",
        "cpu": tmp_path / "cpu,cpuacct/mine",
    }


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert places(tmp_path, "") == ()
    group = Group.make("x", Limits(memory=1 << 20), ())
    assert not group.holds_memory
    group.remove()


def test_what_is_written() -> None:
    limits = Limits(memory=1 << 30, cpus=1.5, processes=100)
    two = settings(limits, 2)
    assert two["memory"][0] == ("memory.max", str(1 << 30))
    assert two["cpu"] == (("cpu.max", "150000 100000"),)
    assert two["pids"] == (("pids.max", "100"),)
    one = settings(limits, 1)
    assert one["memory"][0] == ("memory.limit_in_bytes", str(1 << 30))
    assert ("cpu.cfs_quota_us", "150000") in one["cpu"]
    assert settings(Limits(), 2) == {}


def test_names_stay_below_their_folder(tmp_path: Path) -> None:
    place = Place(tmp_path, 2, frozenset({"pids"}))
    for name in ("../../evil", "/etc", "a/b", "..", "x" * 500, ""):
        Group.make(name, Limits(processes=5), (place,))
    assert all(path.parent == tmp_path and path.name.startswith(PREFIX) for path in tmp_path.iterdir())
    assert not (tmp_path.parent / "evil").exists()


def test_groups_of_dead_owners_are_swept(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (f"{PREFIX}old", f"{PREFIX}new", "other"))
    for path in (old, new, other):
        path.mkdir()
    past = time.time() - 3600
    for path in (old, other):
        os.utime(path, (past, past))
    sweep((Place(tmp_path, 2, frozenset({"pids"})),))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", f"{PREFIX}new"]


def test_real_groups_come_and_go(inside: Inside) -> None:
    if not capabilities().memory:
        pytest.skip("no control group for memory here: " + " ".join(capabilities().statements()))
    limits = Limits(memory=1 << 30, cpus=2, processes=100)
    with Group.make("real", limits) as group:
        assert group.holds_memory
        made = [place.folder / f"{PREFIX}real" for place in places() if (place.folder / f"{PREFIX}real").exists()]
        assert made
        assert Group.of("real").holds == frozenset()
    assert not any(path.exists() for path in made)
    assert inside("true", limits=limits, name="real").code == 0
    assert not any(path.exists() for path in made)


def test_a_group_that_takes_no_process_holds_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, 2, frozenset({"memory"}))
    with Group.make("x", Limits(memory=1 << 30), (place,)) as group:
        assert group.holds_memory
        (tmp_path / f"{PREFIX}x" / "cgroup.procs").mkdir()
        group.add(os.getpid())
        assert not group.holds_memory


def test_statements_name_a_remedy() -> None:
    from rebind.sandbox import Capabilities

    weak = Capabilities(isolation=True, memory=False, cpus=False, processes=True, disk=True, locale="en_US.UTF-8")
    assert len(weak.statements()) == 2
    assert all("systemd-run" in each for each in weak.statements())
    none = Capabilities(False, False, False, False, False, problem="Because. Do this.")
    assert none.statements() == ("Because. Do this.",)
