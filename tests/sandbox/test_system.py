"""A layer of Debian packages over the host's programs: what is mounted, and what cannot be reached by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sandbox_tools import Inside, give

from rebind.sandbox import Bind, Mount, Overlay, Symlink, Text, base_mounts, with_system


@pytest.fixture
def layer(folder: Path) -> Path:
    for name in ("usr/bin", "etc/alternatives", "opt/tool", "var/lib/dpkg"):
        (folder / "layer" / name).mkdir(parents=True)
    (folder / "layer/usr/bin/rebind-new").write_text("#!/bin/sh\necho new\n")
    (folder / "layer/usr/bin/rebind-new").chmod(0o755)
    return give(folder / "layer")


def at(mounts: tuple[Mount, ...], target: str) -> list[Mount]:
    return [mount for mount in mounts if mount.target == target]


def test_folders_are_seen_through_and_files_replaced(layer: Path) -> None:
    (layer / "etc/bash.bashrc").write_text("")
    (layer / "etc/new.conf").write_text("")
    (layer / "etc/new.d").mkdir()
    base = (Bind(Path("/usr"), "/usr"), Bind(Path("/etc/bash.bashrc"), "/etc/bash.bashrc"), Text("/etc/passwd", "x"))
    found = with_system(base, layer)
    assert at(found, "/usr") == [Overlay("/usr", (layer / "usr", Path("/usr")), read_only=True)]
    assert at(found, "/etc/bash.bashrc") == [Bind(layer / "etc/bash.bashrc", "/etc/bash.bashrc")]
    assert at(found, "/etc/new.conf") == [Bind(layer / "etc/new.conf", "/etc/new.conf")]
    assert at(found, "/etc/new.d") == [Bind(layer / "etc/new.d", "/etc/new.d")]
    assert at(found, "/opt/tool") == [Bind(layer / "opt/tool", "/opt/tool")]


def test_the_sandboxs_own_files_stay(layer: Path) -> None:
    for name in ("etc/passwd", "etc/hosts", "etc/resolv.conf", "etc/nsswitch.conf", "etc/rebind", "opt/rebind", "tmp"):
        (layer / name).mkdir(parents=True)
    base = base_mounts()
    found = with_system(base, layer)
    for mount in base:
        if isinstance(mount, Text):
            assert at(found, mount.target) == [mount]
    assert not any(mount.target.startswith(("/etc/rebind", "/opt/rebind")) for mount in found)
    assert len(at(found, "/tmp")) == 1


@pytest.mark.parametrize("link", ["etc/ssl", "etc/default", "var/lib", "var"])
def test_links_on_the_way_are_not_followed(layer: Path, folder: Path, link: str) -> None:
    host = folder / "host"
    for name in ("certs", "locale", "dpkg", "lib/dpkg"):
        (host / name).mkdir(parents=True)
    place = layer / link
    if place.is_dir():
        place.rename(folder / "away")
    place.symlink_to(host)
    for mount in with_system(base_mounts(), layer):
        sources = mount.lowers if isinstance(mount, Overlay) else (mount.source,) if isinstance(mount, Bind) else ()
        assert not any(host in source.resolve().parents or source.resolve() == host for source in sources), mount


def test_a_mark_of_removal_hides_a_file(layer: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make such a mark outside of an overlay")
    os.mknod(layer / "etc/bash.bashrc", 0o020000, 0)
    base = (Bind(Path("/etc/bash.bashrc"), "/etc/bash.bashrc"),)
    assert at(with_system(base, layer), "/etc/bash.bashrc") == []


def test_usr_is_read_only_and_the_hosts_own_below(layer: Path, inside: Inside) -> None:
    mounts = with_system(base_mounts(), layer)
    said = inside("rebind-new; echo x > /usr/bin/y; rm /usr/bin/env; chmod 777 /usr/bin; env true && echo there",
                  mounts=mounts)  # fmt: skip
    assert said.lines[0] == "new"
    assert said.text.count("Read-only file system") == 3
    assert said.lines[-1] == "there"


def test_a_read_only_overlay_takes_no_scratch_space(layer: Path, inside: Inside) -> None:
    place = Overlay("/seen", (layer / "usr", layer / "etc"), read_only=True)
    said = inside("ls /seen; ls -d /seen/bin; grep ' /seen ' /proc/self/mounts", place)
    assert said.lines[:2] == ["alternatives", "bin"]
    assert "ro," in said.text
    assert "upperdir" not in said.text


def test_called_root_without_its_rights(folder: Path, inside: Inside) -> None:
    shared = folder / "shared"
    shared.mkdir()
    give(shared)
    script = """
id -u; touch /shared/x; chown 1234:5678 /shared/x && echo pretended; stat -c %u:%g /shared/x
mount -t tmpfs none /mnt || echo no mount
mknod /shared/null c 1 3 || echo no device
unshare -r true || echo no namespace
chroot / true || echo no chroot
cat /etc/shadow || echo no secret
grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status | cut -f2 | sort -u
"""
    said = inside(script, Bind(shared, "/shared", writable=True), as_root=True)
    assert said.lines[:3] == ["0", "pretended", "0:0"]
    for what in ("mount", "device", "namespace", "chroot", "secret"):
        assert f"no {what}" in said.lines
    assert said.lines[-1] == "0" * 16
    assert not (shared / "null").exists()


def test_symlinks_of_the_layer_are_links(layer: Path) -> None:
    (layer / "etc/os-release").symlink_to("../usr/lib/other")
    base = (Symlink("/etc/os-release", "/usr/lib/os-release"),)
    assert at(with_system(base, layer), "/etc/os-release") == [Symlink("/etc/os-release", "../usr/lib/other")]
