"""Which files an interpreter of this machine can take (PEP 425, 600) and its markers (PEP 508), without running it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags, platform_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from rebind.values import Interpreter


def abi(minor: str) -> str:
    """`cp36m`, `cp310`; CPython 2.7 on Linux has wide characters."""
    major, small = (int(part) for part in minor.split("."))
    suffix = "mu" if major == 2 else ("m" if small < 8 else "")
    return f"cp{major}{small}{suffix}"


@lru_cache(maxsize=32)
def ranks(minor: str) -> Mapping[Tag, int]:
    """Tags of an interpreter; the smaller the number, the better the file."""
    version = tuple(int(part) for part in minor.split("."))
    platforms = list(platform_tags())
    tags = [
        *cpython_tags(version, abis=[abi(minor)], platforms=platforms),
        *compatible_tags(version, interpreter=f"cp{version[0]}{version[1]}", platforms=platforms),
    ]
    ordered: dict[Tag, int] = {}
    for tag in tags:
        ordered.setdefault(tag, len(ordered))
    return ordered


def rank(filename: str, minor: str) -> int | None:
    """How well a wheel suits, smaller is better; None if it does not."""
    try:
        tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return None
    known = ranks(minor)
    return min((known[tag] for tag in tags if tag in known), default=None)


def markers(interpreter: Interpreter) -> dict[str, str]:
    """The marker environment of an interpreter of this machine."""
    return {
        "implementation_name": "cpython",
        "implementation_version": interpreter.version,
        "os_name": "posix",
        "platform_machine": platform.machine(),
        "platform_python_implementation": "CPython",
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": interpreter.version,
        "python_version": interpreter.minor,
        "sys_platform": "linux2" if interpreter.minor == "2.7" and sys.platform == "linux" else sys.platform,
    }


def platform_name() -> str:
    """As in LockedPlan.platform."""
    return f"{sys.platform}-{platform.machine()}"
