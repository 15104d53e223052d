from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rebind.engines.process import ProcessEngine
from rebind.engines.process.answer import UnixConnection
from rebind.engines.suite import MakeRequest, get, quiet
from rebind.errors import SessionError
from rebind.sandbox import processes
from rebind.values import Environment, Layer, Limits, Session
from session_fixtures import Notebook

pytestmark = [pytest.mark.session, pytest.mark.network]

OpenNotebook = Callable[..., Notebook]


def _until(true: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def _keeper(session: Session) -> int:
    return int(Path(f"/proc/{session.pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_kernel_of_the_repositorys_environment_answers(
    engine: ProcessEngine, make_request: MakeRequest, open_notebook: OpenNotebook
) -> None:
    request = make_request("kernel")
    session = engine.start(request, quiet)
    notebook = open_notebook(session, request)
    assert notebook.run("import sys; print(6 * 7, sys.prefix)") == "42 /srv/conda/envs/notebook"
    assert notebook.run("import os; print(os.getcwd(), os.environ['USER'], os.getuid())") == "/home/jovyan jovyan 1000"
    assert notebook.run("open('kept', 'w').write('x'); open('/srv/kept', 'w').write('x')") == ""
    engine.stop(session)


def test_a_repositorys_files_are_there_and_writable(
    engine: ProcessEngine, make_request: MakeRequest, open_notebook: OpenNotebook, make_layer: Callable[..., Layer]
) -> None:
    below = make_layer({"a.txt": "below", "b.txt": "below"})
    top = make_layer({"b.txt": "top"})
    request = make_request("files", layers=(below, top))
    session = engine.start(request, quiet)
    notebook = open_notebook(session, request)
    assert notebook.run("print(open('a.txt').read(), open('b.txt').read())") == "below top"
    notebook.run("open('a.txt', 'a').write('!')")
    assert notebook.run("print(open('a.txt').read())") == "below!"
    assert (below.path / "home/a.txt").read_text() == "below"
    engine.stop(session)


def test_a_configuration_of_the_repository_is_honoured_but_not_over_ours(
    engine: ProcessEngine, make_request: MakeRequest, make_layer: Callable[..., Layer]
) -> None:
    text = "c.ServerApp.quit_button = False\nc.ServerApp.base_url = '/x/'\nc.IdentityProvider.token = 'known'\n"
    request = make_request("config", layers=(make_layer({".jupyter/jupyter_server_config.py": text}),))
    session = engine.start(request, quiet)
    assert b'"quitButton": false' in get(session, f"{request.base_url}lab", request.token)[1]
    assert get(session, f"{request.base_url}api/contents", "known")[0] == 403
    engine.stop(session)


def test_a_broken_configuration_does_not_stop_the_server(
    engine: ProcessEngine, make_request: MakeRequest, make_layer: Callable[..., Layer]
) -> None:
    layer = make_layer({".jupyter/jupyter_server_config.py": "1 / 0", ".jupyter/jupyter_server_config.json": "{"})
    session = engine.start(make_request("broken-config", layers=(layer,)), quiet)
    engine.stop(session)


def test_a_server_that_dies_is_told_with_its_last_lines(
    engine: ProcessEngine, make_request: MakeRequest, make_layer: Callable[..., Layer]
) -> None:
    layer = make_layer({"start": "#!/bin/sh\necho cannot go on\nexit 3\n"})
    with pytest.raises(SessionError, match="ended with code 3 before") as caught:
        engine.start(make_request("dies", layers=(layer,), start="start"), quiet)
    assert "cannot go on" in caught.value.detail
    assert caught.value.remedy
    assert not (engine.directory / "dies").exists()
    assert "cannot go on" in (engine.directory / "failed/dies.log").read_text()


def test_a_server_that_never_answers_is_ended(
    server: Path, sessions_folder: Path, make_request: MakeRequest, make_layer: Callable[..., Layer]
) -> None:
    engine = ProcessEngine(sessions_folder, server, timeout=0.5)
    layer = make_layer({"start": "#!/bin/sh\nexec sleep 1000\n"})
    with pytest.raises(SessionError, match="did not answer within"):
        engine.start(make_request("hangs", layers=(layer,), start="start"), quiet)
    assert engine.list() == ()
    assert not (sessions_folder / "hangs").exists()
    engine.close()


def test_a_huge_log_does_not_fill_the_disk(
    engine: ProcessEngine, make_request: MakeRequest, open_notebook: OpenNotebook
) -> None:
    request = make_request("floods")
    session = engine.start(request, quiet)
    notebook = open_notebook(session, request)
    flood = "import os\nfor _ in range(400): os.write(1, b'x' * 99_999 + b'\\n')"
    notebook.run(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {flood!r}], stdout=open('/proc/1/fd/1', 'w'))"
    )
    notebook.run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {flood!r}])")
    notebook.run("import os; [os.write(1, b'y' * 100_000) for _ in range(300)]; None")
    assert (engine.directory / "floods/log").stat().st_size <= 2 << 20
    assert get(session, f"{request.base_url}api")[0] == 200
    engine.stop(session)


def test_limits_hold(engine: ProcessEngine, make_request: MakeRequest, open_notebook: OpenNotebook) -> None:
    request = make_request("limits", limits=Limits(memory=1 << 30, processes=80, disk=20 << 20))
    session = engine.start(request, quiet)
    notebook = open_notebook(session, request)
    assert "No space left" in notebook.run("open('big', 'wb').write(bytes(30 << 20))")
    notebook.run("import os; os.unlink('big')")
    forks = "import subprocess\nwith __import__('contextlib').suppress(OSError):\n"
    forks += "    many = []\n    for _ in range(200): many.append(subprocess.Popen(['sleep', '30']))\n"
    assert int(notebook.run(f"{forks}print(len(many))")) < 80
    notebook.run("[each.kill() for each in many]; [each.wait() for each in many]; None")
    assert notebook.run("import os; print(os.environ['MEM_LIMIT'])") == str(1 << 30)
    engine.stop(session)


def test_a_memory_hog_ends_itself_not_the_session(
    engine: ProcessEngine, make_request: MakeRequest, open_notebook: OpenNotebook
) -> None:
    request = make_request("hog", limits=Limits(memory=400 << 20))
    session = engine.start(request, quiet)
    notebook = open_notebook(session, request)
    hog = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'bytearray(900 << 20)'],"
    assert notebook.run(f"{hog} stderr=subprocess.DEVNULL).returncode != 0)") == "True"
    assert get(session, f"{request.base_url}api")[0] == 200
    engine.stop(session)


def test_what_a_session_uses_is_locked(
    engine: ProcessEngine, make_request: MakeRequest, make_layer: Callable[..., Layer], environment: Environment
) -> None:
    def in_use(path: Path) -> bool:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    layer = make_layer({"a": "a"})
    session = engine.start(make_request("locks", layers=(layer,)), quiet)
    used = (layer.path, environment.path, engine.server.parent)
    assert [in_use(path) for path in used] == [True, True, True]
    engine.stop(session)
    assert _until(lambda: not in_use(layer.path))


def test_starts_leave_no_descriptor_open(engine: ProcessEngine, make_request: MakeRequest) -> None:
    engine.stop(engine.start(make_request("first"), quiet))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(3):
        engine.stop(engine.start(make_request(f"leaks-{number}"), quiet))
        with pytest.raises(SessionError):
            engine.start(make_request(f"leaks-{number}", start="none"), quiet)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_death_of_the_session_is_seen(engine: ProcessEngine, make_request: MakeRequest) -> None:
    session = engine.start(make_request("killed"), quiet)
    keeper = _keeper(session)
    os.kill(session.pid, signal.SIGKILL)
    assert _until(lambda: not engine.poll(session))
    assert _until(lambda: processes.born(keeper) is None)
    assert session not in engine.list()
    assert not (engine.directory / "killed").exists()
    assert (engine.directory / "failed/killed.log").exists()


def test_a_session_ends_with_its_keeper(engine: ProcessEngine, make_request: MakeRequest) -> None:
    session = engine.start(make_request("unkept"), quiet)
    os.kill(_keeper(session), signal.SIGKILL)
    assert _until(lambda: not engine.poll(session))


def test_a_killed_warm_parent_takes_no_session_along_and_comes_back(
    engine: ProcessEngine, make_request: MakeRequest
) -> None:
    before = make_request("before")
    session = engine.start(before, quiet)
    parent = engine.parent
    assert parent is not None
    os.kill(parent, signal.SIGKILL)
    after = engine.start(make_request("after"), quiet)
    assert engine.parent != parent
    assert get(session, f"{before.base_url}api")[0] == 200
    engine.stop(after)
    engine.stop(session)


_OTHER = """
    import os, pickle, signal, sys, time
    from pathlib import Path
    from rebind.engines.process import ProcessEngine
    from rebind.engines.suite import quiet

    directory, server, moment = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    request = pickle.loads(sys.stdin.buffer.read())
    engine = ProcessEngine(directory, server)
    if moment == "before go":
        from rebind.engines.process.starting import Keeper
        Keeper.go = lambda self: os.kill(os.getpid(), signal.SIGKILL)
    if moment == "before the record":
        from rebind.engines.process.place import Place
        Place.write = lambda self, session: os.kill(os.getpid(), signal.SIGKILL)
    if moment == "before the order":
        from rebind.engines.process.starting import Keeper
        Keeper.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    engine.start(request, quiet)
    print(engine.parent, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _killed_engine(directory: Path, server: Path, request: object, moment: str) -> str:
    """An engine in a process of its own that is killed at a moment of its first start; gives what it printed."""
    import pickle

    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_OTHER), str(directory), str(server), moment],
        input=pickle.dumps(request),
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert process.returncode == -signal.SIGKILL
    return process.stdout.decode().strip()


def test_sessions_outlive_a_killed_engine_and_are_found_again(
    server: Path, sessions_folder: Path, make_request: MakeRequest
) -> None:
    request = make_request("orphan")
    parent = int(_killed_engine(sessions_folder, server, request, "after the start"))
    assert _until(lambda: processes.born(parent) is None)
    engine = ProcessEngine(sessions_folder, server)
    (session,) = engine.list()
    assert (session.id, session.name) == ("orphan", request.name)
    assert get(session, f"{request.base_url}api/contents", request.token)[0] == 200
    keeper = _keeper(session)
    engine.stop(session)
    assert engine.list() == ()
    assert _until(lambda: processes.born(keeper) is None)
    engine.close()


def test_a_bound_session_ends_with_its_engine(server: Path, sessions_folder: Path, make_request: MakeRequest) -> None:
    _killed_engine(sessions_folder, server, make_request("bound", bound=True), "after the start")
    engine = ProcessEngine(sessions_folder, server)
    assert _until(lambda: engine.list() == ())
    assert _until(lambda: not _mentions(sessions_folder))
    engine.close()


@pytest.mark.parametrize("moment", ["before go", "before the record", "before the order"])
def test_an_engine_killed_in_the_middle_leaves_no_orphan(
    server: Path, sessions_folder: Path, make_request: MakeRequest, moment: str
) -> None:
    _killed_engine(sessions_folder, server, make_request("half"), moment)
    engine = ProcessEngine(sessions_folder, server)
    assert _until(lambda: engine.list() == () and not (sessions_folder / "half").exists())
    assert _until(lambda: not _mentions(sessions_folder))
    engine.close()


def _mentions(folder: Path) -> list[int]:
    """Processes that have something below the folder open: all that a session of it can leave."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                names = [os.readlink(each) for each in (path / "fd").iterdir()]  # noqa: PTH115
            except OSError:
                continue
            if any(name.startswith(f"{folder}/") for name in names) and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


def test_closing_ends_bound_sessions_and_no_other(
    server: Path, sessions_folder: Path, make_request: MakeRequest
) -> None:
    engine = ProcessEngine(sessions_folder, server)
    bound = engine.start(make_request("closing", bound=True), quiet)
    free = engine.start(make_request("staying"), quiet)
    engine.close()
    assert not engine.poll(bound)
    assert engine.list() == (free,)
    engine.stop(free)


def test_two_engines_share_a_folder(engine: ProcessEngine, server: Path, make_request: MakeRequest) -> None:
    other = ProcessEngine(engine.directory, server)
    session = other.start(make_request("shared"), quiet)
    assert session in engine.list()
    engine.stop(session)
    assert session not in other.list()
    other.close()


def test_a_start_script_without_a_first_line_is_run_by_a_shell(
    engine: ProcessEngine, make_request: MakeRequest, open_notebook: OpenNotebook, make_layer: Callable[..., Layer]
) -> None:
    layer = make_layer({"binder/start": 'export GREETING="hello there"\nexec "$@"\n'})
    request = make_request("script", layers=(layer,), start="binder/start")
    session = engine.start(request, quiet)
    notebook = open_notebook(session, request)
    assert notebook.run("import os; print(os.environ['GREETING'])") == "hello there"
    assert notebook.run("print(os.environ['R2D_ENTRYPOINT'])") == "/home/jovyan/binder/start"
    engine.stop(session)


def test_terminals_answer(engine: ProcessEngine, make_request: MakeRequest) -> None:
    from websockets.sync.client import unix_connect

    request = make_request("terminal")
    session = engine.start(request, quiet)
    connection = UnixConnection(session.socket, 30)
    connection.request("POST", f"{request.base_url}api/terminals", "{}", {"Authorization": f"token {request.token}"})
    name = json.loads(connection.getresponse().read())["name"]
    connection.close()
    url = f"ws://localhost{request.base_url}terminals/websocket/{name}?token={request.token}"
    with unix_connect(str(session.socket), url) as terminal:
        terminal.send(json.dumps(["stdin", "echo $((6*7))-$USER-$(pwd)\r"]))
        said = ""
        while "42-jovyan-/home/jovyan" not in said:
            said += str(json.loads(terminal.recv(30))[1])
    engine.stop(session)
