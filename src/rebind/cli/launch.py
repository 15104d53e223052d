"""`rebind launch`: from an address to a running session, on this machine."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir


def launch(
    address: Address,
    ref: Ref = None,
    path: Annotated[str, typer.Option("--path", help="File to open in the session.", show_default=False)] = "",
    subdir: Subdir = "",
    as_of: AsOf = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser.")] = True,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    json: Json = False,
    data: Data = None,
) -> None:
    """Start an interactive session of a repository; Ctrl-C stops it and cleans up."""
    from rebind.cli.output import Progress
    from rebind.cli.prepare import Asked
    from rebind.cli.session import LocalSession

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    report = Progress(as_json=json)
    with LocalSession(Asked(address, ref, subdir, as_of, data), port) as session:
        url = session.launch(report, stop, path)
        if url is None:
            raise typer.Exit(130 if stop.is_set() else 1)
        session.show(url, as_json=json, open_browser=open_browser)
        session.wait(stop)
