"""Names under which the dated index gives itself out."""

from __future__ import annotations

from datetime import UTC, datetime

HOST = "pypi.rebind.internal"
TODAY = "today"


def date_label(when: datetime) -> str:
    """A date as it stands in a path of the index."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
