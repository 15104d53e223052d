"""Scratch space on a disk, for kernels whose tmpfs cannot be the writable part of an overlay.

An overlay marks folders that replace others with an extended attribute, which tmpfs keeps since Linux 6.6 only. Before,
removing a folder and making it anew in a sandbox (as pip does) would fail.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rebind.sandbox.mounts import Confinement, Overlay
from rebind.sandbox.sources import remove_upper

TMPFS_SINCE = (6, 6)


def tmpfs_suffices() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= TMPFS_SINCE


@contextlib.contextmanager
def scratch(confinement: Confinement) -> Iterator[Confinement]:
    """The confinement with its overlays' writable parts where they work; what was put on a disk goes afterwards."""
    wanted = [
        mount
        for mount in confinement.mounts
        if isinstance(mount, Overlay) and mount.upper is None and mount.lowers and not mount.read_only
    ]
    if not wanted or tmpfs_suffices():
        yield confinement
        return
    with tempfile.TemporaryDirectory(prefix="rebind-scratch-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        moved = {mount: replace(mount, upper=Path(folder, str(number))) for number, mount in enumerate(wanted)}
        try:
            mounts = tuple(
                moved.get(mount, mount) if isinstance(mount, Overlay) else mount for mount in confinement.mounts
            )
            yield replace(confinement, mounts=mounts)
        finally:
            for mount in moved.values():
                if mount.upper is not None:
                    remove_upper(mount.upper)
