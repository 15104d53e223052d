"""`jupyter lab` started plainly: a process a session, no sandbox, its packages of the versions of rebind's server."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from bench import ask, measure
from bench.ask import Place
from bench.peers import environments

_ANY = "python_version >= '3'"


def program(room: Path, python: str) -> Path:
    """Installs JupyterLab, once, on the interpreter `python`; gives the program `jupyter`."""
    lock = tomllib.loads((files("rebind.locks") / "server.toml").read_text())
    pins = {
        f"{package['name']}=={package['version']} ; {package.get('marker', _ANY)}"
        for package in lock["packages"]
        if "version" in package
    }
    constraints = room.parent / "lab-constraints.txt"
    constraints.write_text("\n".join(sorted(pins)) + "\n")
    return environments.make(room, python, "jupyterlab", "-c", str(constraints)).parent / "jupyter"


class Lab:
    """One plain server."""

    def __init__(self, jupyter: Path) -> None:
        self._jupyter = jupyter
        self.token = secrets.token_hex(16)
        self.port = ask.free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="bench-lab-"))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it and waits for HTTP 200 on /lab; gives the seconds that it took."""
        options = [f"--ServerApp.port={self.port}", f"--IdentityProvider.token={self.token}", "--allow-root"]
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [self._jupyter, "lab", "--no-browser", "--ServerApp.ip=127.0.0.1", *options],
            env=measure.environ(HOME=str(self._folder)),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        ask.until_ok(Place(port=self.port), f"/lab?token={self.token}")
        return time.perf_counter() - started

    def pids(self) -> list[int]:
        return measure.tree(self.process.pid) if self.process else []

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def running(jupyter: Path, count: int) -> Iterator[tuple[list[Lab], float, list[float]]]:
    """`count` servers started at once: them, the time until the last answered, and each one's time."""
    labs = [Lab(jupyter) for _ in range(count)]
    try:
        with ThreadPoolExecutor(count) as pool:
            started = time.perf_counter()
            each = list(pool.map(Lab.start, labs))
            yield labs, time.perf_counter() - started, each
    finally:
        for one in labs:
            one.stop()
