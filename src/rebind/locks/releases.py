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
    day = when.astimezone(UTC).date()
    ripe = [
        minor
        for minor, released in RELEASED.items()
        if order(OLDEST_DEFAULT) <= order(minor) <= order(DEFAULT) and released + RIPE <= day
    ]
    return max(ripe, key=order, default=OLDEST_DEFAULT)
