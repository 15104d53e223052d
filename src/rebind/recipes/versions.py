"""Which Pythons can be asked for, and which of them a `requires-python` allows (builder spec 1.5, 1.6)."""

from __future__ import annotations

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from rebind.recipes.where import Where, shown

SUPPORTED = ("2.7", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
SEPARATE = frozenset(("2.7", "3.5", "3.6"))
"""Too old for today's server, so the kernel has an environment of its own also on mybinder.org."""

_NUMBER = r"(?:0|[1-9][0-9]{0,2})"
_VERSION = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,2}}")
_PATCHES = range(31)  # no minor version has had more than 25; what can be had is the locks' question
_LONGEST = 500  # of requires-python; real ones have a few dozen characters


def check_version(version: str, where: Where) -> str:
    """`3`, `3.10` or `3.10.2` as it is, `2` as `2.7`. Raises RecipeError if it is none of the supported ones."""
    parts = version.split(".")
    if _VERSION.fullmatch(version) and (version in ("2", "3") or ".".join(parts[:2]) in SUPPORTED):
        return "2.7" if version == "2" else version
    raise where.error(f"Python {shown(version)} is not supported.", f"Use one of {', '.join(SUPPORTED)}.")


def check_requires(requires: str, where: Where) -> str:
    """A `requires-python` as it is. Raises RecipeError if it is not a PEP 440 specifier set."""
    try:
        if len(requires) > _LONGEST:
            raise InvalidSpecifier
        SpecifierSet(requires)
    except InvalidSpecifier as error:
        what = f"requires-python {shown(requires)} is not a list of version conditions."
        raise where.error(what, "Write it like '>=3.9' or '>=3.9,<3.13'.") from error
    return requires


def allowed(version: str | None, requires: str) -> tuple[str, ...]:
    """The supported minor versions that a stated version and a (checked) requires-python leave, oldest first.

    A minor version is left if any patch level of it satisfies: `==3.11.5` leaves 3.11.
    """
    conditions = SpecifierSet(requires)
    return tuple(
        minor
        for minor in SUPPORTED
        if _fits(version, minor) and any(conditions.contains(full) for full in _patch_levels(version, minor))
    )


def _fits(version: str | None, minor: str) -> bool:
    return version is None or f"{version}.".startswith(f"{minor}.") or version == minor.split(".")[0]


def _patch_levels(version: str | None, minor: str) -> tuple[str, ...]:
    if version and version.count(".") == 2:
        return (version,)
    return tuple(f"{minor}.{patch}" for patch in _PATCHES)
