"""A server environment and a kernel environment for tests that start sessions; made once per machine and reused."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from websockets.sync.client import unix_connect

from rebind.engines.process import ProcessEngine
from rebind.engines.process.answer import UnixConnection
from rebind.sandbox import SANDBOX_UID, capabilities
from rebind.values import NB_PREFIX, Environment, Interpreter, Layer, Session, SessionRequest

SERVER = "jupyterlab notebook jupyter-server jupyterhub jupyter-server-proxy nbgitpuller jupyter-resource-usage"
KERNEL = "ipykernel ipywidgets"
ROOT = os.geteuid() == 0
CACHE = Path(tempfile.gettempdir(), f"rebind-test-{os.geteuid()}")
PYTHON = Interpreter(
    platform.python_version(), Path(sys.base_prefix), Path(os.path.realpath(Path(sys.executable)))
)  # fmt: skip


def _uv(*arguments: str) -> None:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))}
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or "uv"
    subprocess.run([uv, *arguments, "--no-config", "--quiet"], check=True, env=kept)


def _once(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that is made whole or not at all, whoever asks at the same time."""
    CACHE.mkdir(mode=0o755, exist_ok=True)
    place = CACHE / f"{name}-{PYTHON.version}"
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            fill(place)
            (place / "complete").touch()
    return place


def _fill_server(place: Path) -> None:
    _uv("venv", "-p", str(PYTHON.executable), str(place / "prefix"))
    _uv("pip", "install", "-p", str(place / "prefix/bin/python"), *SERVER.split())


def _fill_environment(place: Path) -> None:
    _install(place, KERNEL)
    spec = place / NB_PREFIX.lstrip("/") / "share/jupyter/kernels/python3/kernel.json"
    spec.write_text(json.dumps(json.loads(spec.read_text()) | {"argv": [
        f"{NB_PREFIX}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"
    ]}))  # fmt: skip
    own(place)


def _fill_joined(place: Path) -> None:
    _install(place, f"{SERVER} {KERNEL}")
    own(place)


def _install(place: Path, packages: str) -> None:
    """As builds make it: its paths are those inside a session."""
    prefix = place / NB_PREFIX.lstrip("/")
    _uv("venv", "-p", str(PYTHON.executable), str(prefix))
    _uv("pip", "install", "--link-mode", "copy", "-p", str(prefix / "bin/python"), *packages.split())
    python = prefix / "bin/python"
    python.unlink()
    python.symlink_to(PYTHON.inside)
    home = PurePosixPath(PYTHON.inside).parent
    (prefix / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    for script in (prefix / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            script.write_bytes(script.read_bytes().replace(str(prefix).encode(), NB_PREFIX.encode()))


def own(place: Path) -> None:
    """As root: gives a tree to the sandbox's user, as the store does."""
    if ROOT:
        subprocess.run(["chown", "-R", f"{SANDBOX_UID}:{SANDBOX_UID}", str(place)], check=True)


@pytest.fixture(scope="session")
def server() -> Path:
    """Prefix of a server environment."""
    problem = capabilities().problem
    if problem:
        pytest.skip(problem)
    return _once("server", _fill_server) / "prefix"


@pytest.fixture(scope="session")
def environment() -> Environment:
    """A kernel environment with ipykernel."""
    return Environment("e" * 64, _once("kernel", _fill_environment), PYTHON)


@pytest.fixture(scope="session")
def joined() -> Environment:
    """An environment that holds its own server."""
    return Environment("f" * 64, _once("joined", _fill_joined), PYTHON, joined=True)


@pytest.fixture
def sessions_folder() -> Iterator[Path]:
    """Short enough for sockets, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="rb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def engine(server: Path) -> Iterator[ProcessEngine]:
    path = Path(tempfile.mkdtemp(prefix="rb-"))
    engine = ProcessEngine(path / "s", server)
    try:
        engine.prepare()
        yield engine
        for session in engine.list():
            engine.stop(session)
    finally:
        engine.close()
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_request(environment: Environment) -> Callable[..., SessionRequest]:
    def make(id: str, **changes: object) -> SessionRequest:
        token = uuid.uuid4().hex
        request = SessionRequest(id, f"ada-{id}", f"/user/ada-{id}/", token, environment, ())
        return replace(request, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_layer(tmp_path: Path) -> Iterator[Callable[..., Layer]]:
    made = []

    def make(files: dict[str, str], mode: int = 0o755) -> Layer:
        place = Path(tempfile.mkdtemp(prefix="rb-layer-"))
        made.append(place)
        place.chmod(0o755)
        for name, text in files.items():
            path = place / "home" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
        own(place)
        return Layer(uuid.uuid4().hex, place)

    yield make
    for place in made:
        shutil.rmtree(place, ignore_errors=True)


def ask(
    session: Session,
    request: SessionRequest,
    path: str,
    *,
    method: str = "GET",
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body; with the token, if no headers are given."""
    connection = UnixConnection(session.socket, 60)
    try:
        text = None if body is None else json.dumps(body)
        sent = {"Authorization": f"token {request.token}"} if headers is None else headers
        connection.request(method, request.base_url + path, text, sent)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


class Notebook:
    """A kernel of a session, over its websocket."""

    def __init__(self, session: Session, request: SessionRequest, kernel: str) -> None:
        query = f"session_id={uuid.uuid4().hex}&token={request.token}"
        url = f"ws://localhost{request.base_url}api/kernels/{kernel}/channels?{query}"
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(unix_connect(str(session.socket), url, max_size=None))

    def run(self, code: str, timeout: float = 60) -> str:
        """What the code prints, or the name of its exception."""
        id = uuid.uuid4().hex
        self._socket.send(json.dumps(_execute(id, code)))
        printed = ""
        while True:
            message = json.loads(self._socket.recv(timeout))
            if message["parent_header"].get("msg_id") != id:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                printed += content["text"]
            elif message["msg_type"] == "error":
                printed += f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return printed.strip()

    def close(self) -> None:
        self._stack.close()


def _execute(id: str, code: str) -> dict[str, object]:
    header = {"msg_id": id, "username": "ada", "session": "s", "msg_type": "execute_request", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    return {
        "header": header | {"date": "2024-01-01T00:00:00Z"},
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "content": content,
        "buffers": [],
    }
