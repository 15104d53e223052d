"""Runs something confined: its own files, processes, users and network, bounded memory, CPU, processes and disk.

`Confinement` says what is seen and allowed; `run` runs a command in it; `enter` is the form for a process that is
there already (the child of a warm parent). The network is an `Egress` proxy outside, or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rebind.sandbox.base import base_mounts
from rebind.sandbox.entering import enter, follow
from rebind.sandbox.mounts import SANDBOX_UID, Bind, Confinement, Mount, Overlay, Symlink, Text, Tmpfs
from rebind.sandbox.privileges import become
from rebind.sandbox.sources import open_sources, receive_sources, remove_upper, send_sources
from rebind.sandbox.system import with_system

if TYPE_CHECKING:
    from rebind.sandbox.egress import Asked, Egress
    from rebind.sandbox.limits import Group
    from rebind.sandbox.policy import EgressPolicy
    from rebind.sandbox.probe import Capabilities, capabilities
    from rebind.sandbox.running import run
    from rebind.sandbox.sessions import interpreter_mounts, session_confinement

__all__ = [
    "SANDBOX_UID",
    "Asked",
    "Bind",
    "Capabilities",
    "Confinement",
    "Egress",
    "EgressPolicy",
    "Group",
    "Mount",
    "Overlay",
    "Symlink",
    "Text",
    "Tmpfs",
    "base_mounts",
    "become",
    "capabilities",
    "enter",
    "follow",
    "interpreter_mounts",
    "open_sources",
    "receive_sources",
    "remove_upper",
    "run",
    "send_sources",
    "session_confinement",
    "with_system",
]

# The owner's side; a process inside a sandbox pays for none of it.
_LATER = {
    "Asked": "egress",
    "Capabilities": "probe",
    "Egress": "egress",
    "EgressPolicy": "policy",
    "Group": "limits",
    "capabilities": "probe",
    "interpreter_mounts": "sessions",
    "run": "running",
    "session_confinement": "sessions",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
