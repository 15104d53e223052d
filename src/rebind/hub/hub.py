"""The hub: everything that keeps launches and sessions of one data directory, started and stopped as one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from rebind import __version__
from rebind.engines import Engine
from rebind.errors import AddressError
from rebind.hub.launches import Launches
from rebind.hub.owner import myself
from rebind.hub.secrets import Secret
from rebind.hub.sessions import Sessions
from rebind.hub.watch import Watchers
from rebind.launch import Steps, provider_of
from rebind.settings import Settings
from rebind.store import LaunchRecord, Store
from rebind.values import Event, Phase, Spec

TICK = 2.0  # seconds between two looks at what really runs
FORGET_AFTER = 30 * 86400.0


class Hub:
    """One hub. With `bound`, a launch from the command line: its sessions end with this process."""

    def __init__(self, settings: Settings, steps: Steps, engine: Engine, *, bound: bool = False) -> None:
        self.settings = settings
        self.steps = steps
        self.store = Store(settings.data / "rebind.db")
        self.secret = Secret(settings.data / "secret")
        self.watchers = Watchers()
        self.sessions = Sessions(settings, self.store, engine, self.secret, myself() if bound else "")
        self.launches = Launches(settings, self.store, steps, self.sessions, self.watchers, myself())
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._bound = bound

    def start(self) -> None:
        """Opens the store, adopts what runs, goes on with what a killed process left, and watches from then on."""
        self.store.open()
        self.launches.open()
        self.sessions.reconcile(self.launches.starting.__contains__)
        if not self._bound:
            self.launches.resume()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def stop(self, *, keep_sessions: bool = False) -> None:
        """Ends launches and, unless they are to be kept, sessions. May be called after a half-failed start."""
        with ExitStack() as stack:
            stack.callback(self.store.close)
            self._stopping.set()
            if self._keeper is not None:
                stack.callback(self._keeper.join)
                if not keep_sessions:
                    stack.callback(self.sessions.stop_all, "the hub stopped")
                stack.callback(self.launches.close)

    def _keep(self) -> None:
        while not self._stopping.wait(TICK):
            for work in (self.launches.write_up, self._reconcile, self._cull, self._forget):
                try:
                    work()
                except Exception as error:  # one bad round must not end the keeping
                    print(f"rebind: keeping failed: {type(error).__name__}: {error}", flush=True)

    def _reconcile(self) -> None:
        self.sessions.reconcile(self.launches.starting.__contains__)
        if not self._bound:
            self.launches.resume()

    def _cull(self) -> None:
        self.sessions.cull(time.time())

    def _forget(self) -> None:
        self.store.forget(time.time() - FORGET_AFTER)

    # What the fronts ask for

    def create_launch(self, provider: str, raw_spec: str, *, origin: str, client: str, as_of: str | None) -> str:
        """A launch from a link. `origin` is the hub's own address as the visitor sees it, ending in `/`."""
        spec = provider_of(self.steps.providers, provider).parse(raw_spec)
        link = f"v2/{provider}/{raw_spec}"
        return self.launches.create(spec, link=link, as_of=as_of, client=client, base_url=origin)

    def create_from_spec(self, spec: Spec, *, base_url: str, as_of: str | None = None) -> str:
        """A launch from the command line."""
        return self.launches.create(spec, link="", as_of=as_of, client="", base_url=base_url)

    def launch(self, id: str) -> LaunchRecord:
        record = self.store.launch(id)
        if record is None:
            raise AddressError(f"There is no launch {id!r}.")
        return record

    def cancel(self, id: str) -> None:
        self.launches.cancel(self.launch(id).id)

    async def events(self, id: str, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """What happened in a launch after event number `after`, then what happens, until it is ready or failed."""
        self.launch(id)
        while True:
            woken = self.watchers.waiter(id)
            try:
                for number, event in self.store.events(id, after):
                    after = number
                    yield number, self._with_token(event)
                    if event.phase in (Phase.READY, Phase.FAILED):
                        return
                if id in self.launches.unwritten:
                    yield after + 1, Event(Phase.FAILED, self.launches.unwritten[id] + "\n")
                    return
                # Another process may move this launch on: look again now and then even if nobody wakes us.
                await asyncio.wait_for(woken.wait(), timeout=2.0)
            except TimeoutError:
                pass
            finally:
                self.watchers.forget(id, woken)

    def _with_token(self, event: Event) -> Event:
        extra = dict(event.extra)
        session = extra.pop("session", None)
        if event.phase is not Phase.READY or session is None:
            return event
        return Event(event.phase, event.message, (*extra.items(), ("token", self.secret.token(str(session)))))

    def health(self) -> dict[str, object]:
        """launch-api 1.8."""
        alive = len(self.store.sessions_alive())
        quota = self.settings.max_sessions or None
        pods: dict[str, object] = {
            "service": "Pod quota",
            "ok": quota is None or alive <= quota,
            "total_pods": alive,
            "build_pods": 0,
            "user_pods": alive,
            "quota": quota,
            "_ignore_failure": True,
        }
        return {"ok": True, "checks": [{"service": "JupyterHub API", "ok": True}, pods]}

    def providers(self) -> list[dict[str, Any]]:
        """How the form shows the providers (launch-api 1.3); one that has nothing to show is not offered."""
        displays = [getattr(provider, "display", None) for provider in self.steps.providers]
        return [dict(display) for display in displays if display]

    def versions(self) -> dict[str, object]:
        """launch-api 1.8; the key `binderhub` is how clients know what they talk to."""
        return {"builder_info": {"rebind-version": __version__}, "binderhub": __version__, "rebind": __version__}
