"""A requirement that nothing published by the date can meet: the day on which something first did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from rebind.locks.needs import Needs, read_requirement
from rebind.locks.pages import UNTIMED, File, Page, Pages
from rebind.values import Interpreter

_SOON = 86400.0  # a release's wheels follow within a day


def later_date(
    needs: Needs, interpreter: Interpreter, pages: Pages, when: datetime
) -> tuple[datetime, tuple[str, ...]] | None:
    """The earliest date as of which every requirement by name can be met, and the ones that were too new; or None."""
    found: datetime | None = None
    names = []
    constraints = [requirement for line in needs.constraints if (requirement := read_requirement(line))]
    for requirement in [*needs.requirements(), *_pins(constraints, needs)]:
        if requirement.marker is not None and not requirement.marker.evaluate({"python_version": interpreter.minor}):
            continue
        page = pages.read(canonicalize_name(requirement.name))
        moment = None if page is None else _first(page, requirement, when)
        if moment is not None:
            names.append(str(requirement))
            found = max(moment, found or moment)
    return None if found is None else (found, tuple(names))


def _pins(constraints: Iterable[Requirement], needs: Needs) -> list[Requirement]:
    wanted = set(needs.names())
    return [requirement for requirement in constraints if canonicalize_name(requirement.name) in wanted]


def _first(page: Page, requirement: Requirement, when: datetime) -> datetime | None:
    """When the requirement could first be met, if that is after `when`; None if it could already, or never can."""
    fitting = [file for file in page.files if file.uploaded != UNTIMED and _meets(file, requirement)]
    if not fitting or page.count(when.timestamp()) > page.files.index(fitting[0]):
        return None
    same = [file.uploaded for file in fitting if file.version == fitting[0].version]
    last = max(moment for moment in same if moment <= same[0] + _SOON)
    return datetime.fromtimestamp(int(last) + 1, UTC)


def _meets(file: File, requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(Version(file.version), prereleases=True)
    except InvalidVersion:
        return False
