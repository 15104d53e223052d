"""`ProcessEngine`: what starting, stopping, polling and listing are."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rebind.engines.process import rehearsal
from rebind.engines.process.order import Order, Serving
from rebind.engines.process.place import Place, places
from rebind.engines.process.quiet import quiet_mounts
from rebind.engines.process.starting import Keeper, await_answer, end, enter
from rebind.engines.process.variables import command, variables
from rebind.engines.process.warm import WarmParent, interpreter_prefix
from rebind.engines.process.widgets import widget_mounts
from rebind.errors import RebindError, SessionError
from rebind.sandbox import SANDBOX_UID, Group, processes, session_confinement
from rebind.values import Event, Phase, Report, Session, SessionRequest

_FRESH = Path(__file__).with_name("fresh.py")


class ProcessEngine:
    """Sessions as processes of this machine; what is promised is in `engines.Engine`.

    `directory` holds the sessions; `server` is the prefix of the notebook server's environment on the host; `egress`
    the Unix socket of the egress proxy (None: sessions have no network); `owner` the uid of sessions, as root.
    Sessions outlive the engine, except bound ones. `timeout`: seconds that a server may take to answer.
    """

    name = "process"

    def __init__(
        self, directory: Path, server: Path, egress: Path | None = None, owner: int | None = None, timeout: float = 120
    ) -> None:
        self.directory, self.server, self.egress, self.timeout = directory, server, egress, timeout
        self._owner = SANDBOX_UID if owner is None else owner
        self._warm = WarmParent(server, self._owner, directory / "parent.log")
        self._lifeline: tuple[int, int] | None = None
        self._held: int | None = None
        self._bound: set[Session] = set()
        self._lock = threading.Lock()

    @property
    def parent(self) -> int | None:
        """Pid of the warm parent, None if it was not started."""
        return self._warm.pid

    def prepare(self) -> None:
        """Starts the warm parent and rehearses a session, so that the first one is as quick as all others.

        Raises SessionError, SandboxError. Sessions can be started without it; the first one then waits.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            if self._held is None:  # a hub may be without a session for weeks, and its server is in use all the same
                self._held = _shared(self.server.parent)
        self._warm.start()
        self._warm.teach(rehearsal.modules(self._start, self.directory, self.server))

    def close(self) -> None:
        """Ends the warm parent and the bound sessions; the others go on."""
        self._warm.close()
        for session in tuple(self._bound):
            self.stop(session)
        with self._lock:
            for descriptor in (*(self._lifeline or ()), *([] if self._held is None else [self._held])):
                os.close(descriptor)
            self._lifeline = self._held = None

    def start(self, request: SessionRequest, report: Report) -> Session:
        """See `Engine.start`. A bound session ends with this engine."""
        report(Event(Phase.LAUNCHING, "Starting the session\n"))
        with Place(self.directory, request.id) as place:
            place.make()
            try:
                session, keeper = self._start(place, request)
                keeper.close()
                if request.bound:
                    self._bound.add(session)
            except BaseException as error:
                place.remove(keep_log=isinstance(error, RebindError))
                raise
        report(Event(Phase.LAUNCHING, "The server answers\n"))
        return session

    def stop(self, session: Session) -> None:
        """See `Engine.stop`: SIGTERM to the server, SIGKILL after a few seconds."""
        end(session)
        Place(self.directory, session.id).remove()
        self._bound.discard(session)

    def poll(self, session: Session) -> bool:
        """See `Engine.poll`."""
        return processes.born(session.pid) == session.born

    def list(self) -> tuple[Session, ...]:
        """See `Engine.list`."""
        found = []
        for place in places(self.directory):
            session = place.read()
            if session is not None and self.poll(session):
                if not rehearsal.is_rehearsal(session.id):  # else a hub would end it as an orphan
                    found.append(session)
            elif place.abandoned():
                Group.of(place.id).remove(0)
                place.remove(keep_log=True)
        return tuple(found)

    def _start(self, place: Place, request: SessionRequest, *, rehearsed: bool = False) -> tuple[Session, Keeper]:
        with ExitStack() as stack:
            listener = stack.enter_context(place.listen())
            order = self._order(request, rehearsed=rehearsed)
            lifeline = [self._lifeline_end()] if request.bound else []
            locks = [place.lock, *self._hold(request, stack)]
            keeper = self._keeper(fresh=bool(order.command))
            try:
                descriptors = [listener.fileno(), place.log, *lifeline, *locks]
                session = enter(keeper, place, order, request.limits, descriptors, request.name)
                listener.close()  # so that a connection fails when the server is gone
                await_answer(keeper, place, session, request.base_url, self.timeout)
            except BaseException:
                keeper.close()
                raise
        return session, keeper

    def _order(self, request: SessionRequest, *, rehearsed: bool) -> Order:
        confinement = session_confinement(
            request.environment,
            request.layers,
            limits=request.limits,
            egress=self.egress,
            name=request.id,
            server=self.server,  # for a joined environment too: its `node` and `npm` are there
            server_python=interpreter_prefix(self.server),
            variables=variables(request),
        )
        told = (*quiet_mounts(), *widget_mounts(request.environment))
        confinement = replace(confinement, mounts=(*confinement.mounts, *told))
        serving = Serving(request.base_url, request.token, request.allow_origin)
        return Order(confinement, serving, command(request), bound=request.bound, rehearsal=rehearsed)

    def _hold(self, request: SessionRequest, stack: ExitStack) -> Sequence[int]:
        """Shared locks on all that the session uses, so that cleaning does not take it away."""
        used = [request.environment.path, *(layer.path for layer in request.layers), self.server.parent]
        held = []
        for path in used:
            held.append(_shared(path))
            stack.callback(os.close, held[-1])
        return held

    def _lifeline_end(self) -> int:
        with self._lock:
            if self._lifeline is None:
                self._lifeline = os.pipe()
            return self._lifeline[0]

    def _keeper(self, *, fresh: bool) -> Keeper:
        for attempt in (1, 2):
            keeper = Keeper(self._fresh() if fresh else self._warm.fork())
            try:
                keeper.greet()
                return keeper
            except SessionError:
                keeper.close()
                if attempt == 2:
                    raise
        raise AssertionError  # the warm parent may die between the question and the fork; not twice

    def _fresh(self) -> socket.socket:
        """A channel to the keeper of a session that is not forked from the warm parent."""
        ours, theirs = socket.socketpair()
        with theirs:
            subprocess.Popen(
                [sys.executable, "-I", "-S", _FRESH, str(theirs.fileno()), str(self._owner)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={},
                cwd="/",
                start_new_session=True,
            )
        return ours


def _shared(path: Path) -> int:
    """A shared lock on something in the store, as long as the descriptor is open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SessionError(f"{path} is gone: {error.strerror}.", remedy="Launch it again.") from error
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
