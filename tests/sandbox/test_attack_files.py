"""Strangers' code against the files of the host, of its neighbours and of the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sandbox_tools import PYTHON_PREFIX, Inside, give

from rebind.errors import SandboxError
from rebind.sandbox import Bind, Overlay, Symlink, Text, Tmpfs
from rebind.values import Limits

TOP = PYTHON_PREFIX.parts[1]  # an interpreter is also at its own path, alone there


@pytest.fixture
def secret(folder: Path) -> Path:
    path = folder / "secret"
    path.write_text("topsecret-of-the-host")
    path.chmod(0o644)
    return path


def test_the_root_holds_only_what_is_mounted(inside: Inside) -> None:
    seen = set(inside("ls -A /").text.split())
    known = "bin dev etc lib lib32 lib64 libx32 opt proc run sbin tmp usr var nix"
    assert seen <= {*known.split(), TOP}


SECRETS = "/root/.ssh /root/.bashrc /home/tester /etc/shadow /etc/gshadow /etc/ssh /etc/ssl/private /etc/npmrc"
SECRETS += " /etc/pip.conf /etc/netrc /etc/environment /etc/gitconfig /etc/machine-id /etc/fstab /sys /boot /mnt /srv"


def test_secrets_and_settings_of_the_host_are_not_there(inside: Inside) -> None:
    assert inside(f"for i in {SECRETS}; do ls -d $i; done 2>/dev/null; true").lines == []


def test_a_host_file_cannot_be_read_by_its_path(inside: Inside, secret: Path) -> None:
    ways = " ".join(f"{way}{secret}" for way in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/tmp/../.."))
    found = inside(f"for i in {ways}; do cat $i; done")
    assert len(found.lines) == 5
    assert "topsecret" not in found.text


def test_dot_dot_above_the_root_stays(inside: Inside, secret: Path) -> None:
    found = inside(f"cd /; cd ../../../..; cat .{secret}; ls -di / /.. /../..")
    assert "topsecret" not in found.text


def test_chroot_escape_needs_chroot(inside: Inside) -> None:
    script = """
import os
os.mkdir("/tmp/x"); handle = os.open("/", os.O_RDONLY)
try:
    os.chroot("/tmp/x")
except PermissionError:
    print("refused")
"""
    assert inside(script, python=True).text == "refused"


def test_no_descriptor_leads_out(inside: Inside, secret: Path) -> None:
    """Folders that the owner has open, and the detached trees that the sandbox was made of, are closed."""
    handle = os.open(secret.parent, os.O_RDONLY)
    try:
        os.set_inheritable(handle, True)
        found = inside("ls -l /proc/self/fd | wc -l; ls -l /proc/self/fd")
    finally:
        os.close(handle)
    kinds = [line.rpartition("-> ")[2] for line in found.lines if "->" in line]
    assert all(kind.startswith(("pipe:", "/dev/null", "/proc/")) for kind in kinds), kinds


def test_init_cannot_be_looked_into(inside: Inside) -> None:
    script = "for i in fd environ root cwd mem maps; do ls /proc/1/$i/ || cat /proc/1/$i; done 2>/dev/null; true"
    assert inside(script).lines == []


def test_read_only_places_cannot_be_written(inside: Inside) -> None:
    places = "/usr/x /etc/x /etc/passwd /x /dev/x /bin/x /proc/sys/kernel/hostname /proc/1/oom_score_adj"
    assert inside(f"for i in {places}; do (echo hi > $i) && echo wrote $i; done 2>/dev/null; true").lines == []


def test_a_read_only_bind_cannot_be_written(inside: Inside, folder: Path) -> None:
    (folder / "file").write_text("old")
    (folder / "file").chmod(0o666)
    give(folder)
    script = "echo new > /data/file; rm -f /data/file; touch /data/new; mv /data/file /data/other; ls /data"
    found = inside(script, Bind(folder, "/data"))
    assert found.lines[-1] == "file"
    assert (folder / "file").read_text() == "old"


def test_a_writable_bind_is_written(inside: Inside, folder: Path) -> None:
    give(folder)
    assert inside("echo new > /data/made", Bind(folder, "/data", writable=True)).code == 0
    assert (folder / "made").read_text() == "new\n"


def test_an_overlay_hides_but_never_changes_its_layers(inside: Inside, folder: Path) -> None:
    low = folder / "low"
    (low / "deep").mkdir(parents=True)
    (low / "deep" / "a").write_text("one")
    (low / "b").write_text("two")
    give(low)
    script = """
set -e
echo changed > /srv/b; rm -r /srv/deep; mkdir /srv/deep; touch /srv/deep/new; mv /srv/deep /srv/moved
test ! -e /srv/deep; test ! -e /srv/moved/a; cat /srv/b
"""
    found = inside(script, Overlay("/srv", (low,)))
    assert (found.code, found.text) == (0, "changed")
    assert (low / "deep" / "a").read_text() == "one"
    assert (low / "b").read_text() == "two"


def test_the_top_layer_wins_and_the_upper_keeps(inside: Inside, folder: Path) -> None:
    for name, text in (("one", "top"), ("two", "bottom")):
        (folder / name).mkdir()
        (folder / name / "f").write_text(text)
        give(folder / name)
    mount = Overlay("/srv", (folder / "one", folder / "two"), folder / "up" / "srv")
    assert inside("cat /srv/f; echo > /srv/kept", mount).text == "top"
    assert (folder / "up" / "srv" / "kept").exists()
    assert inside("ls /srv", mount).text == "f\nkept"


def test_a_hundred_layers(inside: Inside, folder: Path) -> None:
    lowers = []
    for number in range(100):
        path = folder / f"a-rather-long-name-of-a-layer-{number:064}"
        path.mkdir()
        (path / f"f{number}").touch()
        lowers.append(path)
    assert inside("ls /srv | wc -l", Overlay("/srv", tuple(lowers))).text.strip() == "100"


def test_links_of_a_stranger_do_not_lead_mounts_out(inside: Inside, folder: Path, secret: Path) -> None:
    """A layer holds links where later mounts go; the host's files behind them must stay as they are."""
    low, outside = folder / "low", folder / "outside"
    low.mkdir()
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (low / "etc").symlink_to(outside)
    (low / "text").symlink_to(secret)
    give(low)
    mounts = (Overlay("/srv", (low,)), Bind(Path("/usr/share"), "/srv/etc/made"))
    with pytest.raises(SandboxError):
        inside("ls /srv/etc", *mounts)
    with pytest.raises(SandboxError):
        inside("true", Overlay("/srv", (low,)), Text("/srv/text", "overwritten"))
    assert inside(f"touch {outside}/y", Overlay("/srv", (low,)), Tmpfs(str(outside))).code == 0
    assert list(outside.iterdir()) == []
    assert secret.read_text() == "topsecret-of-the-host"


def test_device_nodes_cannot_be_made_or_used(inside: Inside, folder: Path) -> None:
    give(folder)
    found = inside("mknod /tmp/disk b 8 0; mknod /tmp/mem c 1 1; ls /tmp; ls /dev")
    assert not {"disk", "mem"} & set(found.text.split())
    assert not [name for name in found.text.split() if name.startswith(("sd", "vd", "loop", "kvm", "fuse", "kmsg"))]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device node")
def test_a_device_node_in_a_layer_does_not_work(inside: Inside, folder: Path) -> None:
    low = folder / "low"
    low.mkdir()
    os.mknod(low / "zero", 0o20666, os.makedev(1, 5))
    (low / "zero").chmod(0o666)
    give(low)
    for mount in (Overlay("/srv", (low,)), Bind(low, "/srv"), Bind(low, "/srv", writable=True)):
        assert inside("head -c1 /srv/zero", mount).code != 0


def test_setuid_programs_gain_nothing(inside: Inside, folder: Path) -> None:
    rights, *capabilities = inside("grep -E '^NoNew' /proc/self/status; grep -E ^Cap /proc/self/status").lines
    assert rights.split()[-1] == "1"
    assert len(capabilities) == 5
    assert not any(int(line.split()[1], 16) for line in capabilities)
    assert inside("sudo -n id; mount -t tmpfs none /tmp").code != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a set-uid program of root's")
def test_a_setuid_shell_in_a_layer_stays_the_user(inside: Inside, folder: Path) -> None:
    low = folder / "low"
    low.mkdir()
    (low / "id").write_bytes(Path("/usr/bin/id").read_bytes())
    (low / "id").chmod(0o4755)
    assert "euid" not in inside("/srv/id", Overlay("/srv", (low,))).text
    assert inside("/srv/id -u", Bind(low, "/srv")).text == "1000"


def test_a_full_disk_is_an_error_not_more(inside: Inside) -> None:
    fill = "for i in /tmp /srv /dev/shm; do dd if=/dev/zero of=$i/big bs=1M count=64; done; du -sk /tmp /srv /dev/shm"
    found = inside(fill, Overlay("/srv", ()), limits=Limits(disk=8 << 20))
    assert "No space left" in found.text
    assert sum(int(line.split()[0]) for line in found.lines[-3:]) <= 8 << 10


def test_many_small_files_hit_the_limit(inside: Inside) -> None:
    script = """
count = 0
try:
    while count < 30000:
        open(f"/tmp/{count}", "w").close(); count += 1
except OSError as error:
    print(error.errno, count)
"""
    number, count = inside(script, python=True, limits=Limits(disk=4 << 20)).text.split()
    assert int(number) == 28
    assert int(count) < 10_000


def test_text_links_and_missing_sources(inside: Inside, folder: Path) -> None:
    found = inside("cat /opt/a; readlink /opt/b; rm /opt/a", Text("/opt/a", "hello\n"), Symlink("/opt/b", "a"))
    assert found.lines[:2] == ["hello", "a"]
    assert found.code != 0
    with pytest.raises(SandboxError, match="nothing-here"):
        inside("true", Bind(folder / "nothing-here", "/x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no folders that it cannot read")
def test_root_shows_files_below_a_private_folder(inside: Inside, folder: Path) -> None:
    (folder / "private" / "open").mkdir(parents=True)
    (folder / "private").chmod(0o700)
    (folder / "private" / "open" / "f").write_text("seen")
    assert inside("cat /opt/x/f", Bind(folder / "private" / "open", "/opt/x")).text == "seen"
