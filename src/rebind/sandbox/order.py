"""What `run` tells the process that it starts."""

from __future__ import annotations

from dataclasses import dataclass

from rebind.sandbox.mounts import Confinement


@dataclass(frozen=True, slots=True)
class Order:
    confinement: Confinement
    argv: tuple[str, ...]
    keep_fds: tuple[int, ...] = ()
    pass_fds: tuple[int, ...] = ()
    grouped: bool = False
