"""Which Pythons a lock has wheels for: `>=3.9` also allows one that came out years after the lock was made."""

from __future__ import annotations

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from rebind.recipes.versions import allowed
from rebind.values.pinned import Pinned


def narrowed(requires: str, pinned: Pinned) -> str:
    """`requires` without the minor versions for which a package has wheels, but none of its wheels will do.

    If that left none, `requires` as it is: source packages may still be built.
    """
    minors = [minor for minor in allowed(None, requires) if minor.startswith("3.")]
    wheels: dict[str, set[Tag]] = {}
    for package in pinned.packages:
        for file in package.files:
            wheels.setdefault(package.name, set()).update(_tags(file.filename))
    unfit = [
        minor
        for minor in minors
        if any(tags and not any(_fits(tag, minor) for tag in tags) for tags in wheels.values())
    ]
    if not unfit or len(unfit) == len(minors):
        return requires
    return ",".join([requires, *(f"!={minor}.*" for minor in unfit)])


def _tags(filename: str) -> frozenset[Tag]:
    try:
        return parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return frozenset()


def _fits(tag: Tag, minor: str) -> bool:
    digits = minor.replace(".", "")
    if tag.interpreter in ("py3", f"py{digits}", f"cp{digits}"):
        return tag.abi in ("none", "abi3") or tag.abi.removesuffix("m") == f"cp{digits}"
    number = tag.interpreter[3:]
    older = tag.interpreter[:3] in ("cp3", "py3") and number.isdecimal() and int(number) <= int(minor.partition(".")[2])
    return older and (tag.abi == "abi3" or (tag.abi == "none" and tag.interpreter.startswith("py")))
