"""A session without a repository, to see what every session imports; the warm parent then imports it beforehand."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rebind.engines.process.answer import UnixConnection
from rebind.engines.process.place import Place
from rebind.engines.process.starting import Keeper, end
from rebind.engines.process.warm import interpreter_prefix
from rebind.values import Environment, Interpreter, Session, SessionRequest

_PAGES = ("lab", "api/contents", "api/kernelspecs", "api/sessions", "api/terminals", "lab/api/settings", "tree")
"""What JupyterLab asks for first."""
_PATIENCE = 60.0
_PREFIX = "rehearsal-"


class Start(Protocol):
    def __call__(self, place: Place, request: SessionRequest, *, rehearsed: bool) -> tuple[Session, Keeper]: ...


def is_rehearsal(id: str) -> bool:
    """Whether the session of this id is nobody's, and ends by itself with the engine that rehearses."""
    return id.startswith(_PREFIX)


def modules(start: Start, directory: Path, server: Path) -> tuple[str, ...]:
    """What `rehearse` found for this server, now or at another time."""
    memory = directory / "modules.json"
    status = server.stat()
    key = [os.fspath(server), status.st_ino, status.st_mtime_ns]
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(memory.read_text())
        if kept["server"] == key:
            return tuple(kept["modules"])
    found = rehearse(start, directory, server)
    draft = directory / f"modules.json.{os.getpid()}"
    draft.write_text(json.dumps({"server": key, "modules": found}))
    draft.rename(memory)
    return found


def rehearse(start: Start, directory: Path, server: Path) -> tuple[str, ...]:
    """Runs it to its end; the names of the modules that its server imported after the fork."""
    with Place(directory, f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}") as place:
        place.make()
        try:
            request = _request(place, server)
            session, keeper = start(place, request, rehearsed=True)
            try:
                _use(session, request)
                os.kill(session.pid, signal.SIGTERM)
                said = str(keeper.hear().get("modules", ""))
            finally:
                keeper.close()
                end(session)
        finally:
            place.remove()
    return tuple(sorted(said.split("\n"))) if said else ()


def _request(place: Place, server: Path) -> SessionRequest:
    _stand_in(place.folder / "srv")
    prefix = interpreter_prefix(server)
    python = Interpreter("3", prefix, (server / "bin/python").resolve())
    environment = Environment("", place.folder, python)
    token = secrets.token_urlsafe(16)
    return SessionRequest(place.id, "rehearsal", "/user/rehearsal/", token, environment, (), bound=True)


def _stand_in(srv: Path) -> None:
    """A kernel that ends at once, so that what the server needs to start one is learnt too."""
    spec = srv / "conda/envs/notebook/share/jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["true"], "display_name": "Python 3", "language": "python"}))
    for path in (srv, *srv.rglob("*")):  # whatever our umask is
        path.chmod(0o644 if path.is_file() else 0o755)


def _use(session: Session, request: SessionRequest) -> None:
    """Asks for what a browser will ask for. What fails is not learnt, and nothing else."""
    with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
        for page in _PAGES:
            _ask(session, request, "GET", page)
        kernel = json.loads(_ask(session, request, "POST", "api/kernels", "{}"))
        _ask(session, request, "DELETE", f"api/kernels/{kernel['id']}")


def _ask(session: Session, request: SessionRequest, method: str, page: str, body: str | None = None) -> bytes:
    connection = UnixConnection(session.socket, _PATIENCE)
    try:
        headers = {"Authorization": f"token {request.token}"}
        connection.request(method, request.base_url + page, body, headers)
        return connection.getresponse().read()
    finally:
        connection.close()
