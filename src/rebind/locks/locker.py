"""Plan + date -> lock. A lock that is there is used; one of another date too, if nothing was published in between."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from packaging.utils import canonicalize_name
from packaging.version import Version

from rebind.errors import LockError, NetworkError, out_of_room
from rebind.locks.fallback import later_date
from rebind.locks.index_client import IndexClient
from rebind.locks.interpreters import Interpreters
from rebind.locks.joined import RULES, SERVER, WITHOUT_NOTEBOOK, concern, suspects
from rebind.locks.needs import BUILD_TOOLS, Needs, needs_of
from rebind.locks.old_pip import OldResolver
from rebind.locks.pages import UNTIMED, Pages, project_name
from rebind.locks.pinned import Files, check_hashes
from rebind.locks.pylock import is_newer, packages_of, parse
from rebind.locks.question import INDEX_URL, Question, outside
from rebind.locks.releases import order
from rebind.locks.resolve import UnresolvableError, UvResolver
from rebind.locks.server import server_names
from rebind.locks.shelf import Shelf
from rebind.locks.tags import platform_name
from rebind.locks.workplace import EgressAddress, RunConfined, Workplace
from rebind.values import Event, Interpreter, Layer, LockedPlan, Package, Phase, Plan, Report

_NEIGHBOURS = 3
_LEAST_FREE = 32 << 20  # of the disk: below it a failure is the disk's, whatever uv made of it
_TOOLS_CUT = datetime(2019, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Task:
    """One call of `lock`."""

    root: Path
    report: Report

    def say(self, text: str) -> None:
        self.report(Event(Phase.BUILDING, f"{text}\n"))


class Locker:
    """`data`: the installation's folder, the same that the DatedIndex has. `index_url`: the upstream's address.

    `owner`: as root, whom the files that a sandbox sees must belong to. `asked`: whether anybody asked the index yet;
    loading what answers takes longer than a resolution from uv's cache.
    """

    def __init__(
        self,
        *,
        data: Path,
        index_url: str,
        egress: EgressAddress,
        interpreters: Interpreters,
        run_confined: RunConfined,
        owner: int | None = None,
        asked: Callable[[], bool] = lambda: True,
    ) -> None:
        self._data = data
        self._asked = asked
        self._index_url = index_url
        self._egress = egress
        self._interpreters = interpreters
        self._pages = Pages(data / "index")
        place = Workplace(data, egress, run_confined, owner)
        self._uv = UvResolver(place)
        self._old = OldResolver(place, self._pages)

    def lock(
        self,
        plan: Plan,
        root: Path,
        when: datetime,
        report: Report,
        *,
        identity: str = "",
        system: Callable[[], Layer | None] | None = None,
    ) -> LockedPlan:
        """Every Python package of the plan with version, source and hash, as of `when`. `root`: the checkout.

        `identity` decides nothing: refs of a repository are no secret of each other, so not even its own builds share
        what they leave. As root the checkout may be given to the sandbox's user. `system` makes the layer of the plan's
        Debian packages; it is asked only when something has to be built to be understood.
        Raises LockError (with the resolver's explanation), InterpreterError, NetworkError, DiskError.
        """
        when = when.astimezone(UTC).replace(microsecond=0)
        choice = self._interpreters.choose(plan.python, when)
        needs = needs_of(plan, root, choice.interpreter)
        shelf = Shelf(self._data / "locks" / needs.key(choice.interpreter, self._index_url, platform_name(), RULES))
        task = _Task(root, report)
        locked = shelf.read(when, choice.interpreter)
        if locked is None:
            with shelf.alone():
                locked = self._lock(Question(needs, choice.interpreter, when, system), shelf, task)
        return replace(locked, warnings=(*choice.notes, *locked.warnings))

    def _lock(self, question: Question, shelf: Shelf, task: _Task) -> LockedPlan:
        """As the only one for these needs: somebody else may have made the lock while we waited."""
        when, python = question.when, question.interpreter
        locked = shelf.read(when, python) or self._reused(question, shelf)
        if locked is None:
            task.say(f"Finding the packages {question.described}")
            locked = self._resolved(question, task)
            task.say(f"{len(locked.packages)} packages found")
        shelf.write(when, locked)
        return locked

    def _reused(self, question: Question, shelf: Shelf) -> LockedPlan | None:
        """A lock of a near date, if no file of its packages was published in between."""
        if outside(question.needs.options) or question.needs.direct():
            return None  # what lies outside the index may have changed without our knowing
        when = question.when
        near = sorted(shelf.dates(), key=lambda date: abs((date - when).total_seconds()))[:_NEIGHBOURS]
        for date in near:
            locked = shelf.read(date, question.interpreter)
            if locked is not None and self._still(locked, date, question):
                return replace(locked, date=max(when, locked.date) if locked.date > date else when)
        return None

    def _still(self, locked: LockedPlan, date: datetime, question: Question) -> bool:
        """Whether the lock of `date` holds for the question's date too. One that fell back holds up to its own date."""
        when = question.when
        if date <= when <= locked.date:
            return True
        start, end = (max(date, locked.date), when) if when > date else (when, date)
        names = {*(package.name for package in locked.packages), *question.needs.names()}
        names -= question.needs.fixed.names() if question.needs.fixed else set()
        try:
            changed = self._client.changed(sorted(names), start.timestamp(), end.timestamp())
        except NetworkError:
            return False
        return changed is False

    @property
    def _client(self) -> IndexClient:
        return IndexClient(INDEX_URL, self._egress.proxy_url)

    def _resolved(self, question: Question, task: _Task) -> LockedPlan:
        """Resolve; a pin newer than the date moves the date, a concern with the server joins the environments."""
        fixed = self._fixed(question)
        asked, question = question, replace(question, needs=self._tools_of_the_day(question))
        warnings: list[str] = []
        try:
            packages = self._ask(question, task, warnings)
        except UnresolvableError as error:
            later = self._later(question, fixed)
            if later is None:
                raise _named(error, question) from None
            question = replace(asked, when=later[0])
            question = replace(question, needs=self._tools_of_the_day(question))
            warnings.append(
                f"{', '.join(later[1])} was published later than the date: packages are taken "
                f"as of {later[0]:%Y-%m-%d %H:%M UTC}."
            )
            task.say(warnings[-1])
            packages = self._ask_at_last(question, task, warnings)
        packages, joined = self._joined(question, fixed, packages, task, warnings)
        warnings += [
            f"{address} is outside the date: what it serves today is used."
            for address in outside(question.needs.options)
        ]
        return LockedPlan(
            python=question.interpreter.version,
            packages=tuple(sorted(packages, key=lambda package: package.name)),
            date=question.when,
            joined=joined,
            platform=platform_name(),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _ask_at_last(self, question: Question, task: _Task, warnings: list[str]) -> list[Package]:
        try:
            return self._ask(question, task, warnings)
        except UnresolvableError as error:
            raise _named(error, question) from None

    def _fixed(self, question: Question) -> list[Package]:
        """The files of what a lock of the repository fixes. Raises LockError, NetworkError."""
        fixed = question.needs.fixed
        if fixed is None:
            return []
        return Files(self._pages, self._client, question.interpreter).of(fixed.source, fixed.packages)

    def _later(self, question: Question, fixed: list[Package]) -> tuple[datetime, tuple[str, ...]] | None:
        """Pages of all names are brought up first: the resolver may have stopped before it asked for them."""
        newest = max((package.uploaded for package in fixed if package.uploaded), default=question.when)
        if newest > question.when and question.needs.fixed:
            return newest.replace(microsecond=0) + timedelta(seconds=1), (
                f"a package of {question.needs.fixed.source}",
            )
        when = question.when.timestamp()
        self._client.changed(question.needs.names(), when, when)
        return later_date(question.needs, question.interpreter, self._pages, question.when)

    def _tools_of_the_day(self, question: Question) -> Needs:
        """Newer setuptools are shown before 2019-03 for builds alone; the environment gets those of the day."""
        if question.when >= _TOOLS_CUT or not {*BUILD_TOOLS}.intersection(question.needs.lines):
            return question.needs
        when = question.when.timestamp()
        self._client.changed(BUILD_TOOLS, when, when)
        named = {canonicalize_name(found.name) for found in question.needs.requirements() if found.specifier}
        bare = set(BUILD_TOOLS) - named  # the repository's own word counts for more
        lines = [self._tool(line, when) if line in bare else line for line in question.needs.lines]
        return replace(question.needs, lines=tuple(lines))

    def _tool(self, name: str, when: float) -> str:
        page = self._pages.read(name)
        versions = [] if page is None else [file.version for file in page.files if file.uploaded <= when]
        newest = max((version for version in versions if is_newer(version, "0")), key=Version, default="")
        return f"{name}<={newest}" if newest else name

    def _joined(
        self, question: Question, fixed: list[Package], found: list[Package], task: _Task, warnings: list[str]
    ) -> tuple[list[Package], bool]:
        """Everything, and whether the notebook server is in it."""
        packages = _over(fixed, found)
        if question.needs.fixed and question.needs.fixed.joined is not None:
            return packages, question.needs.fixed.joined
        if not _uv_knows(question.interpreter):
            return packages, False  # no server of today runs there
        self._client.see_metadata(suspects(fixed, server_names(), self._pages))  # no resolver asked for it
        why = concern(question.needs, packages, server_names(), self._pages)
        if not why:
            return packages, False
        task.say(f"{why}: the notebook server joins its environment")
        for server in (SERVER, WITHOUT_NOTEBOOK):
            try:
                wanted = replace(question, needs=question.needs.adding(*server))
                return _over(fixed, self._ask(wanted, task, warnings)), True
            except UnresolvableError:
                continue
        warnings.append(f"{why}, but today's notebook server cannot share its environment: it will not see it.")
        return packages, False

    def _ask(self, question: Question, task: _Task, warnings: list[str]) -> list[Package]:
        started = time.time()
        try:
            packages = self._packages(question, task)
        except LockError as error:
            failed = self._client.notes(question.label, started).failed
            if failed:
                raise NetworkError(
                    f"the package index does not answer: {'; '.join(sorted(set(failed.values())))}",
                    remedy="Try again when the network is back.",
                    detail=error.detail,
                ) from None
            if shutil.disk_usage(self._data).free < _LEAST_FREE:
                raise out_of_room(self._data, error.detail) from error
            raise
        if not self._asked():
            return packages
        notes = self._client.notes(question.label, started)
        warnings += [f"{name}: {text}" for kind in (notes.stale, notes.untimed) for name, text in sorted(kind.items())]
        return packages

    def _packages(self, question: Question, task: _Task) -> list[Package]:
        if not question.needs.lines and not question.needs.local:
            return []  # a lock of the repository has everything
        if not _uv_knows(question.interpreter):
            return check_hashes(self._old.resolve(question, task.root, task.report), question.needs.hashes)
        text = self._uv.resolve(question, task.root, task.report)
        hashes = {name: frozenset(stated) for name, stated in question.needs.hashes}
        return [self._true(package) for package in packages_of(parse(text), question.interpreter, hashes)]

    def _true(self, package: Package) -> Package:
        """The package with the address that its file has upstream."""
        if not package.url.startswith(INDEX_URL):
            return package
        project, _, filename = package.url.rpartition("/files/")[2].partition("/")
        name = project_name(project)
        file = self._pages.file(name, unquote(filename)) if name else None
        if file is None or file.sha256 != package.sha256:
            raise LockError(f"the file {package.filename} is not in the index", remedy="Launch again.")
        uploaded = package.uploaded
        if uploaded is None and file.uploaded != UNTIMED:
            uploaded = datetime.fromtimestamp(file.uploaded, UTC)
        return replace(package, url=file.url, uploaded=uploaded, size=file.size)


def _over(fixed: list[Package], found: list[Package]) -> list[Package]:
    """What was found beside a lock, and the lock's own files for all that it names."""
    names = {package.name for package in fixed}
    return [*fixed, *(package for package in found if package.name not in names)]


def _named(error: UnresolvableError, question: Question) -> UnresolvableError:
    """The error, with the name of the repository's lock if that is what leaves no room."""
    fixed = question.needs.fixed
    if fixed is None:
        return error
    wanted = ", ".join(question.needs.lines)
    return UnresolvableError(
        f"{fixed.source} leaves no room for what a session needs beside it ({wanted}) {question.described}",
        detail=error.detail,
        remedy="Add ipykernel and ipywidgets to the project and make the lock anew, or state another Python.",
    )


def _uv_knows(interpreter: Interpreter) -> bool:
    return order(interpreter.minor) >= (3, 6)
