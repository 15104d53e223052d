"""Moves launches on, step by step, in threads of this process; everything that must survive is in the store."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

from rebind import launch as steps_of
from rebind.errors import FullError, NetworkError, RebindError, RefNotFoundError, RepositoryError, disk_error
from rebind.hub.owner import alive
from rebind.hub.secrets import new_id
from rebind.hub.sessions import Sessions, ready_facts
from rebind.hub.watch import Watchers
from rebind.launch import Prepared, Steps, Wanted
from rebind.settings import Settings
from rebind.store import LaunchRecord, LaunchState, SessionState, Store
from rebind.values import Commit, Event, Phase, Spec

MAX_LINES = 20_000  # of log that one launch keeps; a build that prints more goes on, its further lines are dropped
PATIENCE = 3.0  # seconds that launches get to end when they are asked to
QUEUE_PAUSE = 0.5  # seconds between looks for a free place


class Cancelled(RebindError):
    """The launch was cancelled; raised where it next reports, so that its step ends."""


@dataclass
class Launches:
    """The launches of this process."""

    settings: Settings
    store: Store
    steps: Steps
    sessions: Sessions
    watchers: Watchers
    owner: str
    starting: set[str] = field(default_factory=set)
    """Ids of sessions that are being started just now."""
    unwritten: dict[str, str] = field(default_factory=dict)
    """Launches that failed while the store could not be written, by id, and why: told, and written once it can be."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: set[threading.Thread] = field(default_factory=set)
    _builds: threading.Semaphore | None = None

    def open(self) -> None:
        self._builds = threading.Semaphore(self.settings.max_builds or 10_000)

    def close(self) -> None:
        """Asks every launch to end at its next report, and waits a little. The records stay: queued, running.

        One that hangs in a step that says nothing (a resolver, a server that is silent) ends with this process, and its
        children with it.
        """
        self._stop.set()
        self.steps.builder.interrupt()
        until = time.monotonic() + PATIENCE
        for thread in tuple(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    # Creating and following

    def create(self, spec: Spec, *, link: str, as_of: str | None, client: str, base_url: str) -> str:
        """Writes the record of a new launch and starts it; gives its id. Raises FullError when the queue is full."""
        waiting = self.store.launches(LaunchState.QUEUED, LaunchState.RUNNING)
        if self.settings.max_launches and len(waiting) >= self.settings.max_launches:
            raise FullError("Too many users on this BinderHub! Try again soon.", remedy="The queue is full.")
        now = time.time()
        record = LaunchRecord(
            new_id(), spec, link, as_of, client, base_url, LaunchState.QUEUED, "", None, None, None, None, now, now
        )
        self.store.add_launch(record)
        self.submit(record)
        return record.id

    def submit(self, record: LaunchRecord) -> None:
        assert self._builds is not None, "open() was not called"
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        thread = threading.Thread(target=self._run, args=(record,), name="launch", daemon=True)
        self._threads.add(thread)
        thread.start()

    def resume(self) -> list[str]:
        """Takes over launches whose process died; gives their ids."""
        taken = []
        for record in self.store.launches(LaunchState.QUEUED, LaunchState.RUNNING):
            if record.owner and alive(record.owner):
                continue
            if not record.link:  # from a command line that is gone: nobody is left to open its session
                self._end(record.id, LaunchState.FAILED, "The process that had asked for this launch ended.")
            elif record.owner:
                self.submit(record)
                taken.append(record.id)
        return taken

    def cancel(self, id: str) -> None:
        """Ends a launch, and its session if there is one."""
        self._end(id, LaunchState.CANCELLED, "The launch was cancelled.")
        record = self.store.launch(id)
        if record is not None and record.session is not None:
            self.sessions.stop(record.session, "the launch was cancelled")

    def _end(self, id: str, state: LaunchState, message: str) -> None:
        if self.store.update_launch(id, state=state, error=message):
            self.tell(id, Event(Phase.FAILED, message + "\n"))

    def tell(self, id: str, event: Event) -> None:
        """Records an event and wakes who watches."""
        self.store.add_event(id, event)
        self.watchers.wake(id)

    # Running

    def _run(self, record: LaunchRecord) -> None:
        try:
            if self.store.take_launch(record.id, self.owner, record.owner):
                self._steps(record)
        except Cancelled:
            pass
        except RebindError as error:
            if not self._stop.is_set():  # else it failed because it was asked to stop; the next process goes on
                self._fail(record.id, error.text())
        except Exception as error:
            if self._stop.is_set():
                return
            known = disk_error(error, self.settings.data)
            self._fail(record.id, known.text() if known else f"rebind itself failed: {type(error).__name__}: {error}")
            if known is None:
                raise

    def _fail(self, id: str, message: str) -> None:
        """Ends a launch whatever happens: who watches it must not wait for ever because the disk is full."""
        try:
            self._end(id, LaunchState.FAILED, message)
        except Exception:
            self.unwritten[id] = message
            self.watchers.wake(id)

    def write_up(self) -> None:
        """Writes what could not be written before."""
        for id, message in list(self.unwritten.items()):
            self._end(id, LaunchState.FAILED, message)
            del self.unwritten[id]

    def _report(self, record: LaunchRecord) -> _Reporter:
        return _Reporter(self, record.id)

    def _steps(self, record: LaunchRecord) -> None:
        report = self._report(record)
        commit = self._resolve(record)
        wanted = Wanted(record.spec, record.as_of)
        prepared = steps_of.remembered(self.steps, wanted, commit) or self._prepare(wanted, commit, report)
        self.store.update_launch(record.id, environment=prepared.environment.digest)
        image = ready_facts(record, prepared)["image"]
        report(Event(Phase.BUILT, "Built image, launching...\n", (("imageName", image),)))
        session = self._session(record, prepared, report)
        self._ready(record, prepared, session)

    def _resolve(self, record: LaunchRecord) -> Commit:
        spec = steps_of.pinned(record.spec, record.commit_id)
        name = record.link.removeprefix("v2/").replace("/", ":", 1)
        try:
            commit = self._commit(record, spec)
        except NetworkError as error:
            raise NetworkError(f"Error resolving ref for {name}: {error}", remedy=error.remedy) from error
        except RepositoryError as error:
            if not record.link:
                raise
            message = f"Could not resolve ref for {name}. Double check your URL and that your repo is public."
            raise RepositoryError(message, detail=error.text()) from error
        self.store.update_launch(record.id, commit_id=commit.id)
        # The repository as it was found: a link may leave open where its name ends.
        return replace(commit, spec=replace(record.spec, repository=commit.spec.repository))

    def _commit(self, record: LaunchRecord, spec: Spec) -> Commit:
        """The commit; on GitHub, whose links name one of two usual branches, HEAD if that one is not there."""
        try:
            return steps_of.resolve(self.steps, spec, lambda event: None)
        except RefNotFoundError:
            if spec.provider != "gh" or spec.ref not in ("main", "master"):
                raise
            note = f"There is no branch {spec.ref}; taking the repository's default branch. Please correct the link.\n"
            self.tell(record.id, Event(Phase.WAITING, note))
            return steps_of.resolve(self.steps, replace(spec, ref="HEAD"), lambda event: None)

    def _prepare(self, wanted: Wanted, commit: Commit, report: _Reporter) -> Prepared:
        assert self._builds is not None
        report(Event(Phase.WAITING, "Waiting for build to start...\n"))
        while not self._builds.acquire(timeout=QUEUE_PAUSE):
            report.check()
        try:
            return steps_of.prepare(
                self.steps, wanted, replace(commit, spec=replace(commit.spec, ref=commit.id)), report
            )
        finally:
            self._builds.release()

    def _session(self, record: LaunchRecord, prepared: Prepared, report: _Reporter) -> str:
        """Starts the session, or finds the one that a killed process had started for this launch; gives its id."""
        if record.session is not None:
            found = self.store.session(record.session)
            if found is not None and found.state is SessionState.RUNNING:
                return found.id
        id = new_id()
        self.starting.add(id)
        try:
            self._reserve(record, id, report)
            self.store.update_launch(record.id, session=id)
            report(Event(Phase.LAUNCHING, "Launching server...\n"))
            self.sessions.start(self.sessions.require(id), record, prepared, report)
        finally:
            self.starting.discard(id)
        return id

    def _reserve(self, record: LaunchRecord, id: str, report: _Reporter) -> None:
        """Waits for a free place; says how many wait before."""
        said = -1
        while True:
            ahead = self._ahead(record)
            if ahead == 0 and self.sessions.reserve(record, id):
                return
            if ahead != said:
                said = ahead
                report(Event(Phase.LAUNCHING, f"The hub is full; {ahead} launches wait before this one.\n"))
            if self._stop.wait(QUEUE_PAUSE):
                raise Cancelled("The hub stops.")
            report.check()

    def _ahead(self, record: LaunchRecord) -> int:
        """Older launches of this process that are built and wait for a place."""
        waiting = self.store.launches(LaunchState.RUNNING)
        return sum(1 for other in waiting if other.created < record.created and self._waits(other))

    def _waits(self, other: LaunchRecord) -> bool:
        return other.environment is not None and other.session is None and other.owner == self.owner

    def _ready(self, record: LaunchRecord, prepared: Prepared, session: str) -> None:
        name = self.sessions.require(session).name
        url = f"{record.base_url}user/{name}/"
        extra = {"url": url, "session": session, **ready_facts(record, prepared)}
        event = Event(Phase.READY, f"server running at {url}\n", tuple(extra.items()))
        # The event first: a watcher that sees the state ended must find it.
        if self.store.launch(record.id).state is LaunchState.RUNNING:  # type: ignore[union-attr]
            self.store.add_event(record.id, event)
        if not self.store.update_launch(record.id, state=LaunchState.READY):
            self.sessions.stop(session, "the launch was cancelled")
        self.watchers.wake(record.id)


class _Reporter:
    """What the steps report to: the launch's record. Raises Cancelled when the launch has ended meanwhile."""

    def __init__(self, launches: Launches, id: str) -> None:
        self._launches = launches
        self._id = id
        self._checked = 0.0
        self._lines = 0

    def __call__(self, event: Event) -> None:
        self.check()
        if event.phase in (Phase.FETCHING, Phase.BUILDING):
            self._lines += 1
            if self._lines > MAX_LINES:
                return
            if self._lines == MAX_LINES:
                event = Event(event.phase, f"More than {MAX_LINES} lines; further ones are not kept.\n")
        self._launches.tell(self._id, event)

    def check(self) -> None:
        if self._launches._stop.is_set():
            raise Cancelled("The hub stops.")
        now = time.monotonic()
        if now - self._checked < 0.2:  # a look at the store for each of thousands of lines would cost more than they
            return
        self._checked = now
        record = self._launches.store.launch(self._id)
        if record is None or record.state.ended:
            raise Cancelled("The launch was cancelled.")
