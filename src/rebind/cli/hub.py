"""Runs a hub: its web application on a Unix socket, behind the proxy that people reach."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import uvicorn

from rebind import __version__
from rebind.cli.output import print_json
from rebind.errors import SettingsError
from rebind.hub import Hub
from rebind.plugins import Installation
from rebind.routes.process import ProxyProcess
from rebind.settings import Settings
from rebind.web import WebSettings
from rebind.web.app import create_app


def serve_hub(settings: Settings, *, as_json: bool) -> None:
    """Runs until SIGINT or SIGTERM. Raises SettingsError if another hub uses the data directory."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes does not end a service
    with ExitStack() as stack:
        installation = Installation(settings, public=True)
        installation.make_data()
        _only_one(settings.data, stack)
        stack.enter_context(installation.opened())
        engine = installation.engine()
        stack.callback(engine.close)
        hub = Hub(settings, installation.steps, engine)
        stack.callback(lambda: hub.stop(keep_sessions=settings.keep_sessions))
        socket = installation.run_dir / "hub.sock"
        proxy = ProxyProcess(
            settings.host,
            settings.port,
            settings.data / "rebind.db",
            socket,
            installation.run_dir,
            trusted=tuple(network.strip() for network in settings.trusted_proxies.split(",") if network.strip()),
            upload_limit=settings.upload_limit,
        )
        hub.start()
        adopted = proxy.start()
        if not settings.keep_sessions:
            stack.callback(proxy.stop)
        engine.prepare()
        _web(hub, installation, socket, stack)
        _announce(installation, proxy.url, adopted, as_json=as_json)
        stop.wait()
        print("Stopping.", file=sys.stderr, flush=True)


def _only_one(data: Path, stack: ExitStack) -> None:
    lock = os.open(data / "hub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(
            f"Another hub runs with the directory {data}.", remedy="Stop it, or choose another one with --data."
        ) from None


def _web(hub: Hub, installation: Installation, socket: Path, stack: ExitStack) -> None:
    """Starts the web application in a thread of its own and waits until it answers."""
    socket.unlink(missing_ok=True)
    app = create_app(hub, _web_settings(installation.settings))
    config = uvicorn.Config(app, uds=str(socket), log_level="warning", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="web", daemon=True)

    def end() -> None:
        server.should_exit = True
        server.force_exit = True  # event streams stay open for as long as a launch takes; watchers come back
        thread.join(10)
        socket.unlink(missing_ok=True)

    stack.callback(end)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)


def _web_settings(settings: Settings) -> WebSettings:
    return WebSettings(
        public_url=settings.public_url,
        cors_allow_origin=settings.cors_allow_origin,
        banner=settings.banner,
        about=settings.about,
        version=__version__,
    )


def _announce(installation: Installation, url: str, adopted: bool, *, as_json: bool) -> None:
    statements = installation.statements()
    if as_json:
        print_json({"url": url, "adopted": adopted, "statements": list(statements)})
        return
    for statement in statements:
        print(f"Note: {statement}", file=sys.stderr)
    print(f"rebind serves at {url}/", file=sys.stderr, flush=True)
