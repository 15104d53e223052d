"""Starts the proxy as a process that outlives its starter, and finds the one that still runs."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rebind.errors import RebindError, SettingsError
from rebind.sandbox.processes import born, end

_READY_TIME = 20.0
_STOP_TIME = 10.0  # more than the proxy's own grace


@dataclass(frozen=True, slots=True)
class _Running:
    """What `proxy.json` tells of a proxy."""

    pid: int
    born: int
    host: str
    port: int
    database: str
    hub: str
    options: tuple[str, ...]


class ProxyProcess:
    """The one proxy of an installation. `run_dir` holds what a hub that starts again needs to find it.

    A `bound` proxy ends with the process that started it, however that ends.
    """

    def __init__(
        self, host: str, port: int, database: Path, hub_socket: Path, run_dir: Path, *,
        trusted: tuple[str, ...] = (), upload_limit: int = 0, bound: bool = False,
    ) -> None:  # fmt: skip
        self._bound = bound
        self._host = host
        self._port = port
        self._database = database.absolute()
        self._hub = hub_socket.absolute()
        self._run_dir = run_dir
        self._options = (*(f"--trusted={network}" for network in trusted), f"--upload-limit={upload_limit}")
        self._running: _Running | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, once started."""
        if self._running is None:
            raise RebindError("The proxy is not started.")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._running.port}"

    @property
    def alive(self) -> bool:
        """Whether the proxy runs now."""
        if self._child is not None:
            self._child.poll()  # else a dead child stays a zombie
        return self._running is not None and born(self._running.pid) == self._running.born

    def start(self) -> bool:
        """Takes over the proxy that an earlier hub left, else starts one. True if it was taken over.

        A proxy left with other settings is replaced. Raises SettingsError if the address cannot be listened on,
        RebindError if the proxy does not come up.
        """
        left = self._read()
        if left is not None and self._fits(left):
            self._running = left
            return True
        if left is not None:
            end(left.pid, left.born, _STOP_TIME)
        self._run_dir.mkdir(parents=True, exist_ok=True)
        with self._listen() as listening:
            self._spawn(listening)
        return False

    def stop(self) -> None:
        """Ends the proxy, also one that was only taken over. Running requests get a few seconds."""
        running = self._running or self._read()
        if running is not None:
            end(running.pid, running.born, _STOP_TIME)
        self._running = None
        if self._child is not None:
            if self._child.stdin is not None:
                self._child.stdin.close()
            self._child.wait()
            self._child = None
        self._record.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self._run_dir / "proxy.json"

    def _read(self) -> _Running | None:
        try:
            facts = json.loads(self._record.read_text())
            running = _Running(**{**facts, "options": tuple(facts["options"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return running if born(running.pid) == running.born else None

    def _fits(self, left: _Running) -> bool:
        wanted = (self._host, str(self._database), str(self._hub), self._options)
        return (left.host, left.database, left.hub, left.options) == wanted and self._port in (0, left.port)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family, backlog=1024)
        except OSError as error:
            raise SettingsError(
                f"Cannot listen on {self._host} port {self._port}: {error.strerror or error}.",
                remedy="Choose another with --host and --port (REBIND_HOST, REBIND_PORT); --port 0 takes a free one.",
            ) from error

    def _spawn(self, listening: socket.socket) -> None:
        ready, tell = os.pipe()
        command = [
            *(sys.executable, "-P", "-m", "rebind.routes.proxy", f"--database={self._database}", f"--hub={self._hub}"),
            *(f"--listen-fd={listening.fileno()}", f"--ready-fd={tell}", *self._options),
            *(("--bound",) if self._bound else ()),
        ]
        stdin = subprocess.PIPE if self._bound else subprocess.DEVNULL
        try:
            with open(self._run_dir / "proxy.log", "ab") as log:
                self._child = subprocess.Popen(
                    command, stdin=stdin, stdout=log, stderr=log, cwd="/", start_new_session=True,
                    pass_fds=(listening.fileno(), tell),
                )  # fmt: skip
            os.close(tell)
            tell = -1
            self._await_ready(ready)
        finally:
            os.close(ready)
            if tell >= 0:
                os.close(tell)
        pid, port = self._child.pid, listening.getsockname()[1]
        self._running = _Running(
            pid, born(pid) or 0, self._host, port, str(self._database), str(self._hub), self._options
        )
        self._write(self._running)

    def _await_ready(self, ready: int) -> None:
        readable, _, _ = select.select([ready], [], [], _READY_TIME)
        if readable and os.read(ready, 16).startswith(b"ready"):
            return
        assert self._child is not None
        self._child.kill()
        self._child.wait()
        self._child = None
        raise RebindError("The proxy did not start.", remedy=f"Its log is {self._run_dir / 'proxy.log'}.")

    def _write(self, running: _Running) -> None:
        scratch = self._record.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(running)))
        scratch.replace(self._record)
