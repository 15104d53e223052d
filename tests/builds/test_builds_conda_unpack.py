"""Conda packages are strangers' archives: what is in them stays below the prefix."""

from __future__ import annotations

import os

import pytest
from tests.conformance import conda_channel as channel_of

from rebind.builds.conda_unpack import BadPackage, unpack_conda, with_prefix


def unpacked(tmp_path, entries, **options):
    archive = channel_of.raw_package(tmp_path / "in", "x", entries, **options)
    into = tmp_path / "out"
    into.mkdir()
    return unpack_conda(archive, into, "3.11"), into


@pytest.mark.parametrize("old", [False, True])
def test_files_links_and_modes(tmp_path, old):
    entries = [("bin/a", b"#!/bin/sh\n", 0o777), ("bin/b", "a"), ("share/t", b"x", 0o600)]
    contents, into = unpacked(tmp_path, entries, old=old)
    assert contents.files == {"bin": ["a"], "share": ["t"]}
    assert contents.links == {"bin/b": "a"}
    assert (into / "tree/bin/a").stat().st_mode & 0o7777 == 0o755
    assert (into / "tree/share/t").stat().st_mode & 0o7777 == 0o644
    assert not os.path.lexists(into / "tree/bin/b")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a//b", "a\nb", "a\\b", "x" * 300])
def test_a_name_that_leads_out_is_refused(tmp_path, name, old):
    with pytest.raises(BadPackage):
        unpacked(tmp_path, [(name, b"x", 0o644)], old=old)
    assert not (tmp_path / "evil").exists()


def test_nothing_is_written_through_a_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    contents, _ = unpacked(tmp_path, [("lib", str(outside)), ("lib/evil", b"x", 0o644)], old=True)
    assert list(outside.iterdir()) == []
    assert contents.links == {}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "../..", ""])
def test_a_link_that_leads_out_is_left_out(tmp_path, target):
    contents, _ = unpacked(tmp_path, [("lib/a", target)])
    assert contents.links == {}
    assert contents.warnings


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.raises(BadPackage, match="twice"):
        unpacked(tmp_path, [("a", b"1", 0o644), ("a", b"2", 0o644)])


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rebind.builds.conda_unpack.SMALL_TOTAL", 1 << 20)
    with pytest.raises(BadPackage, match="grows"):
        unpacked(tmp_path, [("a", b"0" * (8 << 20), 0o644)])


def test_what_is_cut_off_is_refused(tmp_path):
    archive = channel_of.raw_package(tmp_path, "x", [("a", os.urandom(50000), 0o644)], old=True)
    archive.write_bytes(archive.read_bytes()[:20000])
    (tmp_path / "out").mkdir()
    with pytest.raises(BadPackage):
        unpack_conda(archive, tmp_path / "out", "3.11")


def test_a_prefix_that_is_too_short_is_refused():
    with pytest.raises(BadPackage, match="less room"):
        with_prefix(b"/abc/lib\0", "/abc", "binary", "/srv/conda/envs/notebook")


def test_binary_files_keep_their_length():
    old, data = "/old" * 20, ("/old" * 20).encode()
    found = with_prefix(b"\0" + data + b"/a:" + data + b"/b\0tail" + data, old, "binary", "/new")
    assert found == b"\0/new/a:/new/b".ljust(1 + 80 * 2 + 5, b"\0") + b"\0tail" + b"/new".ljust(80, b"\0")
