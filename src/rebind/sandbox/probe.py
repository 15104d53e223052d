"""What this machine allows: tried out, not guessed, once per process."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rebind.errors import SandboxError
from rebind.sandbox.base import base_mounts
from rebind.sandbox.limits import Group, Place, places
from rebind.sandbox.mounts import SANDBOX_UID, Confinement, Overlay
from rebind.sandbox.running import run
from rebind.sandbox.scratch import tmpfs_suffices
from rebind.sandbox.sessions import session_locale
from rebind.sandbox.sources import make_upper
from rebind.values import Limits

_GROUPS = "Start it as root, or under systemd with `systemd-run --user --scope -p Delegate=yes rebind ...`."


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What holds on this machine, and how."""

    isolation: bool
    """Namespaces, overlays and the filter of system calls work."""
    memory: bool
    cpus: bool
    processes: bool
    disk: bool
    """Of the scratch space; files on a disk are never bounded as a whole."""
    how: str = ""
    """`cgroup v2`, `cgroup v1` or `limits of single processes`."""
    problem: str = ""
    """Why there is no isolation, with the remedy."""
    locale: str = ""

    def statements(self) -> tuple[str, ...]:
        """Plain sentences on what this machine does not allow, with remedies; none if nothing is missing."""
        if not self.isolation:
            return (self.problem,)
        found = []
        if not self.memory:
            found.append(f"Memory is limited for each process, not for a whole session. {_GROUPS}")
        if not self.cpus:
            found.append(f"The share of CPU cannot be limited. {_GROUPS}")
        if not self.disk:
            found.append(
                "Only the size of single files is limited, not what they take together. Linux 6.6 can do more."
            )
        if self.locale != "en_US.UTF-8":
            found.append(
                "The locale en_US.UTF-8 is not on this machine; sessions use C.UTF-8. Generate it with locale-gen."
            )
        return tuple(found)


@cache
def capabilities() -> Capabilities:
    """Tries a sandbox with an overlay and looks for control groups. Takes about a tenth of a second, once."""
    problem = _try_sandbox()
    where = places()
    held = _try_groups(where)
    return Capabilities(
        isolation=not problem,
        memory="memory" in held,
        cpus="cpu" in held,
        processes=True,  # RLIMIT_NPROC counts per user namespace, with or without control groups
        disk=tmpfs_suffices(),
        how=f"cgroup v{where[0].version}" if held else "limits of single processes",
        problem=problem,
        locale=session_locale(),
    )


def _try_groups(where: tuple[Place, ...]) -> frozenset[str]:
    """The controllers of the groups that really take a process."""
    limits = Limits(memory=1 << 30, cpus=1.0, processes=1000)
    with (
        Group.make(f"probe-{os.getpid()}", limits, where) as group,
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={}) as process,
    ):
        group.add(process.pid)
        return group.holds


def _try_sandbox() -> str:
    script = "test -d /srv/made && rmdir /srv/made && mkdir /srv/made && test -w /tmp && test ! -w /usr"
    with tempfile.TemporaryDirectory(prefix="rebind-probe-") as folder:
        lower = Path(folder, "lower")
        make_upper(lower / "made", SANDBOX_UID)
        make_upper(lower, SANDBOX_UID)
        mounts = (*base_mounts(), Overlay("/srv", (lower,)))
        try:
            code = run(
                Confinement(mounts, (("PATH", "/usr/bin:/bin"),), "/"),
                ["/bin/sh", "-c", script],
                on_line=lambda _: None,
            )
        except SandboxError as error:
            return error.text()
    if code:
        return "Overlays do not work in user namespaces on this machine. Linux 5.12 or newer is needed."
    return ""
