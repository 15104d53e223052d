"""The real programs: the command line and a hub, run as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

REBIND = [sys.executable, "-P", "-m", "rebind"]


_shared: list[Path] = []


def shared_data(make: Callable[[], Path]) -> Path:
    """One data directory for the whole run, so that the notebook server is installed once. TEST_DATA names one that is
    kept between runs; else `make` makes it. Where tests run in several processes, each has its own: a directory has
    one hub."""
    if not _shared:
        kept = os.environ.get("TEST_DATA")
        _shared.append(Path(kept) / os.environ.get("PYTEST_XDIST_WORKER", "") if kept else make())
        _shared[0].mkdir(parents=True, exist_ok=True)
    return _shared[0]


def environment(**settings: str) -> dict[str, str]:
    """The caller's variables without its settings, and these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REBIND_")}
    return clean | {f"REBIND_{name.upper()}": value for name, value in settings.items()}


def rebind(
    *arguments: str | Path, data: Path, timeout: float = 600, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    command = [*REBIND, *map(str, arguments)]
    return subprocess.run(
        command, env=environment(data=str(data), **settings), capture_output=True, text=True, timeout=timeout
    )


class Hub:
    """`rebind serve` on a free port."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.settings = {"allow_private_addresses": "true"} | settings
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> Hub:
        command = [*REBIND, "serve", "--port", "0", "--data", str(self.data), "--json"]
        log = open(self.data / "serve.log", "a")  # noqa: SIM115 - it stays open as long as the hub runs
        self.process = subprocess.Popen(
            command, env=environment(**self.settings), stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.data / "serve.log").read_text()
        self.announced = json.loads(line)
        self.url = self.announced["url"]
        return self

    def kill(self) -> None:
        """As a crash does it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As an operator does it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def build_url(self, repository: str, ref: str = "HEAD") -> str:
        return f"{self.url}/build/git/{quote(repository, safe='')}/{quote(ref, safe='')}"

    def events(self, repository: str, ref: str = "HEAD", timeout: float = 600) -> Iterator[dict[str, Any]]:
        """Events of a launch as they come, up to the last."""
        request = urllib.request.Request(self.build_url(repository, ref), headers={"Accept": "text/event-stream"})
        with urllib.request.urlopen(request, timeout=timeout) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    yield event
                    if event.get("phase") in ("ready", "failed"):
                        return

    def launch(self, repository: str, ref: str = "HEAD") -> dict[str, Any]:
        """The last event of a launch; fails the test if that is not `ready`."""
        events = list(self.events(repository, ref))
        assert events[-1]["phase"] == "ready", "".join(str(event.get("message")) for event in events[-20:])
        return events[-1]


def ask(url: str, token: str = "", method: str = "GET", body: object = None, timeout: float = 30) -> tuple[int, bytes]:
    """One request; the status and the body, whatever the status."""
    headers = {"Authorization": f"token {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, headers=headers, method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_until(true: Any, timeout: float = 30, what: str = "it") -> None:
    until = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < until, f"{what} did not happen within {timeout} s"
        time.sleep(0.05)


def execute(url: str, token: str, code: str, timeout: float = 60) -> str:
    """Runs code in a new kernel over a websocket through the proxy, as a browser does; gives what it printed."""
    import uuid

    from websockets.sync.client import connect

    name = json.loads(ask(f"{url}api/kernelspecs", token)[1])["default"]
    status, body = ask(f"{url}api/kernels", token, "POST", {"name": name})
    assert status == 201, body
    kernel = json.loads(body)["id"]
    header = {"msg_id": uuid.uuid4().hex, "username": "", "session": uuid.uuid4().hex, "msg_type": "execute_request"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    message = {
        "header": header | {"version": "5.3", "date": ""},
        "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": [],
    }  # fmt: skip
    printed = ""
    with connect(f"ws{url[4:]}api/kernels/{kernel}/channels?token={token}", max_size=None) as socket:
        socket.send(json.dumps(message))
        while True:
            reply = json.loads(socket.recv(timeout=timeout))
            if reply["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if reply["msg_type"] == "stream":
                printed += reply["content"]["text"]
            elif reply["msg_type"] == "error":
                printed += "\n".join(reply["content"]["traceback"])
            elif reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                break
    assert ask(f"{url}api/kernels/{kernel}", token, "DELETE")[0] == 204
    return printed
