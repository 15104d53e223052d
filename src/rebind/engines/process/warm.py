"""The engine's side of the warm parent: starts it, teaches it, asks it for children, starts it again if it died."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
from pathlib import Path

from rebind.errors import SessionError
from rebind.values import HOME, NB_PREFIX, USER

_PROGRAM = Path(__file__).with_name("parent.py")
_PATIENCE = 120.0
VARIABLES = {
    # Jupyter's modules work out their folders when they are imported, which is before the fork.
    "HOME": HOME,
    "USER": USER,
    "LOGNAME": USER,
    "SHELL": "/bin/bash",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "JUPYTER_PATH": f"{NB_PREFIX}/share/jupyter",
}


def interpreter_prefix(server: Path) -> Path:
    """`sys.base_prefix` of the server environment's interpreter."""
    return (server / "bin/python").resolve().parent.parent


class WarmParent:
    """`server`: prefix of the server's environment; `owner`: whom it runs as, if we are root; `log`: its output."""

    def __init__(self, server: Path, owner: int, log: Path) -> None:
        self._server, self._owner, self._log = server, owner, log
        self._lock = threading.Lock()
        self._modules: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts it if it does not run. Raises SessionError with what it said."""
        with self._lock:
            self._ensure()

    def teach(self, modules: tuple[str, ...]) -> None:
        """Has it import what a session was seen to import, now and after each restart."""
        with self._lock:
            self._modules = modules
            self._ensure()
            self._ask_import()

    def fork(self) -> socket.socket:
        """A channel to the keeper of a new session. Raises SessionError."""
        with self._lock:
            ours, theirs = socket.socketpair()
            with theirs:
                for attempt in (1, 2):
                    self._ensure()
                    assert self._control is not None
                    try:
                        socket.send_fds(self._control, [b'{"fork": true}'], [theirs.fileno()])
                        return ours
                    except OSError as error:
                        self._drop()
                        if attempt == 2:
                            ours.close()
                            raise self._dead() from error
        raise AssertionError

    def close(self) -> None:
        """Ends it; sessions go on."""
        with self._lock:
            self._drop()

    def _ensure(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._drop()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        seen = {interpreter_prefix(self._server), self._server}
        with theirs, open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    self._server / "bin/python", "-I", "-X", "utf8", _PROGRAM,
                    str(theirs.fileno()), str(self._owner), *seen,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                env=VARIABLES,
                cwd="/",
                start_new_session=True,
            )  # fmt: skip
        self._ask_import()

    def _ask_import(self) -> None:
        assert self._control is not None
        try:
            self._control.send(json.dumps({"import": self._modules}).encode())
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            answer = self._control.recv(1 << 16) if poll.poll(_PATIENCE * 1000) else b""
        except OSError:
            answer = b""
        if not answer:
            error = self._dead()
            self._drop()
            raise error
        facts = json.loads(answer)
        if facts["threads"] != 1:
            self._drop()
            raise SessionError(
                f"The notebook server's modules start {facts['threads'] - 1} threads when they are imported.",
                remedy="Remove the extension of the server's environment that does so.",
            )

    def _drop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _dead(self) -> SessionError:
        said = ""
        with contextlib.suppress(OSError):
            said = self._log.read_bytes()[-2000:].decode(errors="replace")
        return SessionError(
            "The warm parent of the sessions did not start.",
            remedy=f"Remove {os.fspath(self._server)} so that the server's environment is made again.",
            detail=said,
        )
