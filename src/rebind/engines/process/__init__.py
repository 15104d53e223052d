"""The process engine: sessions in the sandbox of this machine, forked from a warm parent. No container engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rebind.engines.process.engine import ProcessEngine

__all__ = ["ProcessEngine"]


def __getattr__(name: str) -> object:
    # The warm parent imports modules of this package and needs nothing of the engine.
    if name != "ProcessEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rebind.engines.process.engine import ProcessEngine

    return ProcessEngine
