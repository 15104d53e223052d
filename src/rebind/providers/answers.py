"""Reads the JSON of services that may answer anything: whatever is not as expected is absent."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any


def value(answer: Any, *keys: str) -> Any:
    """What stands below these keys; None if something on the way is no object."""
    for key in keys:
        if not isinstance(answer, dict):
            return None
        answer = answer.get(key)
    return answer


def text(answer: Any, *keys: str) -> str:
    """The text or number below these keys as text; '' for anything else."""
    found = value(answer, *keys)
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def entries(answer: Any, *keys: str) -> list[dict[str, Any]]:
    """The objects of the list below these keys."""
    found = value(answer, *keys)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def moment(stated: str) -> datetime | None:
    """A time in ISO form, UTC if it does not say; None if it is none."""
    try:
        found = datetime.fromisoformat(stated)
    except ValueError:
        return None
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None


def end_of(stated: str) -> datetime | None:
    """The end of a publication date: `2019-06-09`, `2019-06`, `2019`, an interval of such, or a time as it is."""
    last = stated.strip().rpartition("/")[2]
    match = re.fullmatch(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", last, re.ASCII)
    if match is None:
        return moment(last)
    year, month = int(match[1]), int(match[2] or 12)
    try:
        day = int(match[3] or monthrange(year, month)[1])
        return datetime(year, month, day, tzinfo=UTC) + timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError):
        return None


def today() -> datetime:
    """The date of what states none: today, by its UTC day."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
