"""Metadata of old releases, made readable to today's resolvers without changing what it says.

Old releases carry requirements that PEP 440 and 508 no longer allow. A resolver that cannot read a release passes over
it *silently* and takes a much older one (pandas 0.11.0 for 2018). The rules, tried only on what cannot be read:

1. quotes round a version, blanks within an operator, and a closing dot go (`>='2.7'`, `> = 1`, `>=1.0.`)
2. `=>`, `=<`, `=`, `~` mean `>=`, `<=`, `==`, `~=`; a bare version means `==`
3. stray commas go, missing ones come (`>=1,`, `>=1 <2`)
4. a wildcard after an ordering goes (`>=3.*` is `>=3`); `1.0*` is `1.0.*`
5. a letter after a number is its place in the alphabet (`2011k` is `2011.11`, as that project itself counted later)
6. what is still no version counts up to where it stops (`1.0-foo` is `1.0`); with nothing left the clause goes
7. a bare version as `Requires-Python` says nothing (the tools of that time passed over it)
8. a marker that cannot be read: a requirement of an extra goes, any other keeps its name and versions
"""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)\Z", re.S)
_CLAUSE = re.compile(r"\s*(===|==|~=|!=|>=|<=|=>|=<|>|<|=|~)?\s*([^\s,<>=!~]+)")
_OPERATORS = {"=>": ">=", "=<": "<=", "=": "==", "~": "~=", "": "=="}
_LETTER = re.compile(r"(\d+(?:\.\d+)*)([a-z])\Z")
_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)")
_STRAY = re.compile(r",\s*(?:,|\)|\Z)|\A\s*,|\(\s*,")
_LONGEST = 4096  # a line longer than this is nobody's requirement, and regular expressions are not free


@lru_cache(maxsize=8192)
def repair_specifiers(text: str, *, bare: bool = True) -> str:
    """A specifier set that can be read; '' when nothing of it can. `bare`: a version without operator means `==`."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        pass
    else:
        if not _STRAY.search(text):
            return text
    if len(text) > _LONGEST:
        return ""
    joined = re.sub(r"([<>=!~])\s+(?=[<>=])", r"\1", re.sub(r"[\"'()]", "", text))
    clauses = [_clause(match[1] or "", match[2]) for match in _CLAUSE.finditer(joined) if bare or match[1]]
    return ",".join(filter(None, clauses))


def _clause(operator: str, version: str) -> str:
    operator = _OPERATORS.get(operator, operator)
    version = version.rstrip(".").lower()
    for attempt in _versions(operator, version):
        try:
            Specifier(operator + attempt)
        except InvalidSpecifier:
            continue
        return operator + attempt
    return ""


def _versions(operator: str, version: str) -> list[str]:
    """The version as it stands, then what rules 4 to 6 make of it."""
    attempts = [version]
    if version.endswith("*"):
        stem = version.rstrip("*").rstrip(".")
        attempts.append(f"{stem}.*" if operator in ("==", "!=") else stem)
        if operator == "~=":
            attempts.append(f"{stem}.0")
    letter = _LETTER.match(version)
    if letter:
        attempts.append(f"{letter[1]}.{ord(letter[2]) - ord('a') + 1}")
    numbers = _NUMBERS.match(version)
    if numbers:
        attempts += [numbers[1], f"{numbers[1]}.0"]
    return attempts


@lru_cache(maxsize=8192)
def repair_requirement(text: str) -> str | None:
    """A requirement that can be read, or None when it must go (it has no name, or belongs to an unreadable extra)."""
    try:
        Requirement(text)
    except InvalidRequirement:
        pass
    else:
        if not _STRAY.search(text.partition(";")[0]):
            return text
    head, _, marker = text.partition(";")
    match = _REQUIREMENT.match(head) if len(text) <= _LONGEST else None
    if match is None:
        return None
    name, extras, versions = match[1], match[2] or "", match[3].strip()
    if marker.strip() and not _readable(marker):
        if "extra" in marker:
            return None
        marker = ""
    if versions.startswith("@"):
        return None
    mended = name + extras + repair_specifiers(versions) + (f" ;{marker}" if marker.strip() else "")
    try:
        Requirement(mended)
    except InvalidRequirement:
        return name
    return mended


def _readable(marker: str) -> bool:
    try:
        Marker(marker)
    except InvalidMarker:
        return False
    return True


def repair_metadata(raw: bytes) -> bytes:
    """The header of a METADATA file with readable `Requires-Dist` and `Requires-Python`; the description is left out.

    Source: core metadata (PEP 566, 643). Never raises: what cannot be decoded is replaced.
    """
    header = re.split(rb"\r?\n\r?\n", raw.lstrip(b"\r\n"), maxsplit=1)[0].decode("utf-8", "replace")
    lines: list[str] = []
    for line in re.sub(r"\r?\n[ \t]+", " ", header).splitlines():
        name, colon, value = line.partition(":")
        match name.strip().lower() if colon else "":
            case "requires-dist":
                mended = repair_requirement(value.strip())
                lines += [f"Requires-Dist: {mended}"] if mended is not None else []
            case "requires-python":
                mended = repair_specifiers(value.strip(), bare=False)
                lines += [f"Requires-Python: {mended}"] if mended else []
            case _:
                lines.append(line)
    return ("\n".join(lines) + "\n\n").encode()
