"""`apt.txt`: names of Debian packages (builder spec 1.13). Each token is checked whole, and none reaches a shell."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rebind.recipes.where import Where, shown

LIMIT = 2000
"""Most packages that a file may name."""

# Debian policy 5.6.1 (names) and 5.6.12 (versions, here also apt's globs). No trailing `-`, which removes a package.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9+.-]{0,120}[a-z0-9+.])?(?::[a-z0-9-]{1,30})?")
_VERSION = re.compile(r"[A-Za-z0-9*][A-Za-z0-9.+~:*-]{0,120}")
_SUITE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,60}[A-Za-z0-9])?")
_FROM = re.compile(r"(?:-t|--target-release|--default-release)(?P<rest>=?.*)")
_REMEDY = "Write names like gfortran or gfortran=4:12.2*, several on a line if you like, and of options only -t SUITE."


def parse_apt(text: str, file: str = "apt.txt") -> tuple[str, ...]:
    """Packages, sorted: `name`, `name=version` or `name/suite`; `-t suite` as one string comes first.

    Raises RecipeError if anything else stands there.
    """
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        where = Where(file, number)
        found.update(_tokens(line.partition("#")[0].split(), where))
        if len(found) > LIMIT:
            raise where.error(f"more than {LIMIT} packages are named.")
    suites = sorted(token for token in found if token.startswith("-t "))
    if len(suites) > 1:
        raise Where(file).error(
            "packages are asked for from two suites.", "Use -t once, and name/suite for the others."
        )
    return (*suites, *sorted(found.difference(suites)))


def _tokens(words: list[str], where: Where) -> Iterator[str]:
    waiting = iter(words)
    for word in waiting:
        if option := _FROM.fullmatch(word):
            suite = option["rest"].removeprefix("=") or next(waiting, "")
            if not _SUITE.fullmatch(suite):
                raise where.error(f"{shown(suite)} is not the name of a suite.", _REMEDY)
            yield f"-t {suite}"
        elif _is_package(word):
            yield word
        else:
            raise where.error(f"{shown(word)} is not the name of a Debian package.", _REMEDY)


def _is_package(word: str) -> bool:
    name, version, suite = re.fullmatch(r"([^=/]*)(?:=(.*)|/(.*))?", word, re.DOTALL).groups()  # type: ignore[union-attr]
    if not _NAME.fullmatch(name):
        return False
    if version is not None:
        return bool(_VERSION.fullmatch(version))
    return suite is None or bool(_SUITE.fullmatch(suite))
