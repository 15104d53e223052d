"""`apt.txt` (builder spec 1.13): read and checked already, installed in a later version."""

from __future__ import annotations

import re

from rebind.recipes.where import Where, shown

# Debian policy 5.6.1 and 5.6.12. No options (`-o` of apt runs commands as root) and no trailing `-` (it removes).
_TOKEN = re.compile(r"[a-z0-9](?:[a-z0-9+.-]*[a-z0-9+.])?(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+~:*-]+)?")


def parse_apt(text: str, file: str = "apt.txt") -> tuple[str, ...]:
    """Package names, with `=version` where stated, sorted. Raises RecipeError if anything else stands there."""
    found: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        for token in line.partition("#")[0].split():
            if not _TOKEN.fullmatch(token):
                what = f"{shown(token)} is not the name of a Debian package."
                raise Where(file, number).error(what, "Write names like gfortran or gfortran=4:12.2*, nothing else.")
            found.add(token)
    return tuple(sorted(found))
