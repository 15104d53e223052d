"""`runtime.txt` (builder spec 1.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from rebind.recipes.where import Where, shown

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
FORMS = "python-3.10, python-3.10-2024-01-31 or python-2024-01-31"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a `runtime.txt` states. The name is that of a language; any text without `-`."""

    name: str
    version: str | None = None
    date: date | None = None


def parse_runtime(text: str, file: str = "runtime.txt") -> Runtime:
    """`name-version`, `name-YYYY-MM-DD` or `name-version-YYYY-MM-DD`. Raises RecipeError for anything else."""
    where = Where(file)
    parts = text.strip().split("-")
    if len(parts) not in (2, 4, 5) or not all(parts):
        what = "it is empty." if parts == [""] else f"{shown(text.strip())} names no runtime."
        raise where.error(what, f"Write one line like {FORMS}.")
    stated = _date("-".join(parts[-3:]), where) if len(parts) > 2 else None
    return Runtime(parts[0], None if len(parts) == 4 else parts[1], stated)


def _date(text: str, where: Where) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # looks like a date and is none, such as 2024-02-30
    raise where.error(f"{shown(text)} is not a date.", f"Write a real date as YYYY-MM-DD, like {FORMS}.")
