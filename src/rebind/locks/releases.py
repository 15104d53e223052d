"""When each minor release of CPython came out, and which one a repository of a given day would have taken.

Source: the release schedules (PEP 494, 537, 569, 596, 619, 664, 693, 719, 745); builder spec 1.5.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

RELEASED = {
    "2.7": date(2010, 7, 3),
    "3.5": date(2015, 9, 13),
    "3.6": date(2016, 12, 23),
    "3.7": date(2018, 6, 27),
    "3.8": date(2019, 10, 14),
    "3.9": date(2020, 10, 5),
    "3.10": date(2021, 10, 4),
    "3.11": date(2022, 10, 24),
    "3.12": date(2023, 10, 2),
    "3.13": date(2024, 10, 7),
    "3.14": date(2025, 10, 7),
}
DEFAULT = "3.10"
OLDEST_DEFAULT = "3.6"  # the oldest that uv can resolve for
MOVABLE = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
"""Minors that a `requires-python` may move the default to (spec 1.6)."""
RIPE = timedelta(days=182)
"""Packages publish wheels for a new minor within about half a year."""


def order(version: str) -> tuple[int, ...]:
    """Sort key of a dotted version."""
    return tuple(int(part) for part in version.split("."))


def default_minor(when: datetime) -> str:
    """The Python of a repository that states none: the newest that packages had wheels for that day, 3.10 at most."""
    ripe = [
        minor for minor in RELEASED if order(OLDEST_DEFAULT) <= order(minor) <= order(DEFAULT) and _ripe(minor, when)
    ]
    return max(ripe, key=order, default=OLDEST_DEFAULT)


def movable(when: datetime) -> list[str]:
    """Minors to be tried in turn for a `requires-python`: the default of the day, then what packages had wheels for,
    newest first, then what came later, oldest first."""
    ripe = [minor for minor in reversed(MOVABLE) if _ripe(minor, when)]
    later = [minor for minor in MOVABLE if not _ripe(minor, when)]
    return list(dict.fromkeys([default_minor(when), *ripe, *later]))


def _ripe(minor: str, when: datetime) -> bool:
    return RELEASED[minor] + RIPE <= when.astimezone(UTC).date()
