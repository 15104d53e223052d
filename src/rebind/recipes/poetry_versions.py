"""Poetry's own spelling of version conditions (`^1.2`, `~1.2`, `1.*`, `<1 || >=2`) in the words of PEP 440 and 508."""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_ONE = re.compile(r"(?P<sign>\^|~=|~|>=|<=|===?|!=|>|<|=)?\s*(?P<version>\*|v?[0-9][A-Za-z0-9.+!*-]*)\s*,?\s*")
_LONGEST = 500


@lru_cache(maxsize=4096)
def alternatives(text: str) -> tuple[str, ...]:
    """Specifier sets, one of which must hold; ('',) for any version, and for what is not understood."""
    if len(text) > _LONGEST:
        return ("",)
    found = [_conditions(part.strip()) for part in re.split(r"\|\|?", text)]
    return ("",) if None in found or "" in found else tuple(part for part in found if part)


def _conditions(text: str) -> str | None:
    """One specifier set; '' for any version, None for what is not understood."""
    parts, at = [], 0
    while at < len(text):
        match = _ONE.match(text, at)
        if match is None:
            return None
        at = match.end()
        if match["version"] != "*":
            parts.append(_condition(match["sign"] or "", match["version"].removeprefix("v")))
    found = ",".join(parts)
    try:
        SpecifierSet(found)
    except InvalidSpecifier:
        return None
    return found


def _condition(sign: str, version: str) -> str:
    if sign == "^":
        return f">={version},<{_caret(version)}"
    if sign == "~":
        return f">={version},<{_raised(version, 0 if '.' not in version else 1)}"
    return f"{'==' if sign in ('', '=') else sign}{version}"


def _caret(version: str) -> str:
    """Up to the next change of the first part that is not zero."""
    parts = _numbers(version)
    place = next((place for place, number in enumerate(parts) if number), len(parts) - 1)
    return _raised(version, place)


def _raised(version: str, place: int) -> str:
    parts = _numbers(version)[: place + 1]
    return ".".join(map(str, [*parts[:-1], parts[-1] + 1]))


def _numbers(version: str) -> list[int]:
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return [int(part) for part in found[0].split(".")] if found else [0]


def fitting(versions: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Those of the versions that a condition allows."""
    sets = [SpecifierSet(part) for part in alternatives(text)]
    return tuple(version for version in versions if any(_contains(each, version) for each in sets))


def _contains(conditions: SpecifierSet, version: str) -> bool:
    try:
        return conditions.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def python_marker(text: str) -> str:
    """A condition on Python as a marker; '' for any."""
    found = alternatives(text)
    if found == ("",):
        return ""
    sides = []
    for part in found:
        each = [re.fullmatch(r"([=<>!~]+)(.*)", one.strip()) for one in part.split(",")]
        sides.append(" and ".join(f"python_full_version {match[1]} '{match[2]}'" for match in each if match))
    return sides[0] if len(sides) == 1 else " or ".join(f"({side})" for side in sides)
