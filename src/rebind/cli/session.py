"""A session for the person at the keyboard: hub, proxy and browser for one launch, all ended with this process."""

from __future__ import annotations

import asyncio
import sys
import threading
import webbrowser
from contextlib import ExitStack
from typing import Self
from urllib.parse import quote

from rebind import settings
from rebind.cli.options import flags
from rebind.cli.output import Progress
from rebind.cli.prepare import Asked, spec_of
from rebind.hub import Hub
from rebind.plugins import Installation
from rebind.routes.process import ProxyProcess
from rebind.values import Event, Phase


class LocalSession:
    """Opened with `with`; everything that it started has ended afterwards."""

    def __init__(self, asked: Asked, port: int) -> None:
        self._asked = asked
        self._port = port
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        loaded, _ = settings.load(flags(data=self._asked.data))
        with ExitStack() as stack:
            self._installation = stack.enter_context(Installation(loaded).opened())
            engine = self._installation.engine()
            stack.callback(engine.close)
            run_dir = stack.enter_context(self._installation.own_run_dir())
            proxy = ProxyProcess(
                "127.0.0.1", self._port, loaded.data / "rebind.db", run_dir / "none.sock", run_dir, bound=True
            )
            self._hub = Hub(loaded, self._installation.steps, engine, bound=True)
            stack.callback(self._hub.stop)
            self._hub.start()
            engine.prepare()
            stack.callback(proxy.stop)
            proxy.start()
            self._proxy = proxy
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def launch(self, report: Progress, stop: threading.Event, path: str) -> str | None:
        """Takes the launch to its end; gives the URL to open, or None if it failed or was stopped."""
        spec = spec_of(self._installation, self._asked)
        id = self._hub.create_from_spec(spec, base_url=self._proxy.url + "/", as_of=self._asked.as_of)
        last = asyncio.run(self._follow(id, report, stop))
        if last.phase is Phase.READY:
            extra = dict(last.extra)
            where = f"lab/tree/{quote(path.lstrip('/'))}" if path else "lab"
            return f"{extra['url']}{where}?token={extra['token']}"
        if last.phase is Phase.FAILED and not report.as_json:
            print(f"Error: {last.message.rstrip()}", file=sys.stderr)
        return None

    async def _follow(self, id: str, report: Progress, stop: threading.Event) -> Event:
        last = Event(Phase.WAITING, "")
        watching = asyncio.ensure_future(self._watch(id, report))
        while not watching.done():
            await asyncio.wait([watching], timeout=0.1)
            if stop.is_set() and not watching.done():
                self._hub.cancel(id)
                stop = threading.Event()  # cancelled once; the `failed` event ends the watching
                last = Event(Phase.FAILED, "Stopped.\n")
        return await watching or last

    async def _watch(self, id: str, report: Progress) -> Event:
        last = Event(Phase.FAILED, "")
        async for _, event in self._hub.events(id):
            report(event)
            last = event
        return last

    def show(self, url: str, *, as_json: bool, open_browser: bool) -> None:
        """Tells the person where the session is, and opens it."""
        if as_json:
            return  # the `ready` event has told it
        for statement in self._installation.statements():
            print(f"Note: {statement}", file=sys.stderr)
        print(f"\nThe session is ready:\n\n    {url}\n\nCtrl-C stops it and cleans up.", file=sys.stderr, flush=True)
        if not sys.stdout.isatty():
            print(url, flush=True)
        if open_browser:
            webbrowser.open(url)

    def wait(self, stop: threading.Event) -> None:
        """Until Ctrl-C, or until the session ends by itself (idle for too long, its server died)."""
        while not stop.wait(1.0):
            if not any(record.owner == self._hub.sessions.owner for record in self._hub.store.sessions_alive()):
                print("The session has ended.", file=sys.stderr)
                return
        print("Stopping the session.", file=sys.stderr)
