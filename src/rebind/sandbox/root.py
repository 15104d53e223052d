"""Builds the file system of a sandbox, in its first process, in namespaces of its own, before rights are given up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

from rebind.sandbox import syscalls
from rebind.sandbox.mounts import Bind, Confinement, Mount, Overlay, Symlink, Text, Tmpfs
from rebind.sandbox.sources import DEVICES, work_name

SCRATCH, STAGE = "/.scratch", "/.stage"
_SAFE = syscalls.MS_NOSUID | syscalls.MS_NODEV
_STICKY = ("/tmp", "/var/tmp", "/dev/shm")


def build_root(confinement: Confinement, trees: Iterator[int]) -> None:
    """Makes the new root and leaves the host's behind. OSError says which mount failed.

    The old root is gone before the first target is looked up, so that no link in a stranger's files leads to it.
    """
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    _leave_host()
    _make_scratch(confinement)
    _make_devices_folder()
    for mount in confinement.mounts:
        _place(mount, trees)
    _make_devices(trees)
    for folder in (SCRATCH, STAGE):
        syscalls.unmount(folder)
        Path(folder).rmdir()
    for folder in ("/dev", "/"):
        flags = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | _SAFE
        syscalls.mount("", folder, "", flags)
    os.chdir(confinement.cwd)


def _leave_host() -> None:
    syscalls.mount("tmpfs", "/tmp", "tmpfs", _SAFE, "mode=755,size=16m,nr_inodes=20k")
    os.chdir("/tmp")
    Path("old").mkdir()
    Path("proc").mkdir()
    syscalls.pivot_root(".", "old")
    os.chdir("/")
    # A new /proc is allowed only while a whole one can be seen.
    syscalls.mount("proc", "/proc", "proc", _SAFE | syscalls.MS_NOEXEC)
    syscalls.unmount("/old")
    Path("/old").rmdir()


def _make_scratch(confinement: Confinement) -> None:
    size = confinement.limits.disk
    options = "mode=755" if size is None else f"mode=755,size={size},nr_inodes={max(2000, size // 1024)}"
    for folder, wanted in ((SCRATCH, options), (STAGE, "mode=700,size=1m")):
        Path(folder).mkdir()
        syscalls.mount("tmpfs", folder, "tmpfs", _SAFE, wanted)


def _place(mount: Mount, trees: Iterator[int]) -> None:
    if isinstance(mount, Bind):
        _attach(next(trees), mount.target)
    elif isinstance(mount, Overlay):
        _lay(mount, trees)
    elif isinstance(mount, Tmpfs):
        _make_tmpfs(mount)
    elif isinstance(mount, Text):
        _parent(mount.target)
        Path(mount.target).write_text(mount.content)
    elif isinstance(mount, Symlink):
        _parent(mount.target)
        Path(mount.target).symlink_to(mount.to)


def _parent(target: str) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)


def _attach(tree: int, target: str) -> None:
    if S_ISDIR(os.fstat(tree).st_mode):
        Path(target).mkdir(parents=True, exist_ok=True)
    elif not Path(target).exists():
        _parent(target)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    syscalls.attach_tree(tree, target)
    os.close(tree)


def _make_tmpfs(mount: Tmpfs) -> None:
    mode = 0o1777 if mount.target in _STICKY else 0o755
    Path(mount.target).mkdir(parents=True, exist_ok=True)
    if mount.size is None:
        folder = _scratch_folder(mode)
        syscalls.mount(folder, mount.target, "", syscalls.MS_BIND)
    else:
        syscalls.mount("tmpfs", mount.target, "tmpfs", _SAFE, f"mode={mode:o},size={mount.size}")


def _scratch_folder(mode: int = 0o755) -> str:
    path = _numbered(SCRATCH)
    path.chmod(mode)
    return str(path)


def _numbered(folder: str) -> Path:
    path = Path(folder, str(len(list(Path(folder).iterdir()))))
    path.mkdir()
    return path


def _lay(mount: Overlay, trees: Iterator[int]) -> None:
    """Mounts an overlay. Its folders are staged under short names: all options must fit into one page."""
    Path(mount.target).mkdir(parents=True, exist_ok=True)
    lowers = [_stage(next(trees)) for _ in mount.lowers]
    if mount.read_only:
        options = f"lowerdir={':'.join(lowers)},userxattr"
        syscalls.mount("overlay", mount.target, "overlay", _SAFE | syscalls.MS_RDONLY, options)
        return
    if mount.upper is None:
        folder = _scratch_folder()
        upper, work = f"{folder}/u", f"{folder}/w"
        for path in (upper, work):
            Path(path).mkdir()
    else:
        folder = _stage(next(trees))
        upper, work = f"{folder}/{mount.upper.name}", f"{folder}/{work_name(mount.upper)}"
    if lowers:
        options = f"lowerdir={':'.join(lowers)},upperdir={upper},workdir={work},userxattr"
        syscalls.mount("overlay", mount.target, "overlay", _SAFE, options)
    else:
        syscalls.mount(upper, mount.target, "", syscalls.MS_BIND)


def _stage(tree: int) -> str:
    path = str(_numbered(STAGE))
    syscalls.attach_tree(tree, path)
    os.close(tree)
    return path


def _make_devices_folder() -> None:
    Path("/dev").mkdir()
    syscalls.mount("tmpfs", "/dev", "tmpfs", syscalls.MS_NOSUID, "mode=755,size=64k")


def _make_devices(trees: Iterator[int]) -> None:
    for name in DEVICES:
        _attach(next(trees), f"/dev/{name}")
    for name in ("pts", "mqueue"):
        Path("/dev", name).mkdir()
    flags = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    syscalls.mount("devpts", "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=620")
    syscalls.mount("mqueue", "/dev/mqueue", "mqueue", flags | syscalls.MS_NODEV)
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, to in links.items():
        Path("/dev", name).symlink_to(to)
    Path("/dev/pts/ptmx").chmod(0o666)
    if not Path("/dev/shm").exists():
        _make_tmpfs(Tmpfs("/dev/shm"))
