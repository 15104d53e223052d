"""What a session's code tries against its neighbours, the host, the hub and the warm parent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rebind.engines.process import ProcessEngine
from rebind.engines.suite import MakeRequest, get, quiet
from rebind.errors import SessionError
from rebind.values import Environment, Layer, Session, SessionRequest
from session_fixtures import Notebook, ask

pytestmark = [pytest.mark.session, pytest.mark.network]

SECRET = "hub-secret-4f1b"


@dataclass
class Pair:
    """Attacker and victim."""

    notebook: Notebook
    session: Session
    request: SessionRequest
    victim: Session
    victim_request: SessionRequest
    engine: ProcessEngine


@pytest.fixture(scope="module")
def pair(server: Path, environment: Environment) -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    os.environ["HUB_SECRET"] = SECRET
    engine = ProcessEngine(folder / "s", server)
    engine.prepare()
    requests = [
        SessionRequest(id, id, f"/user/{id}/", uuid.uuid4().hex, environment, ()) for id in ("attacker", "victim")
    ]
    mine, theirs = (engine.start(request, quiet) for request in requests)
    _, _, body = ask(mine, requests[0], "api/kernels", method="POST", body={})
    notebook = Notebook(mine, requests[0], json.loads(body)["id"])
    try:
        yield Pair(notebook, mine, requests[0], theirs, requests[1], engine)
    finally:
        notebook.close()
        for session in (mine, theirs):
            engine.stop(session)
        engine.close()
        del os.environ["HUB_SECRET"]
        shutil.rmtree(folder)


def test_no_file_of_the_sessions_folder_is_there(pair: Pair) -> None:
    for path in (pair.engine.directory, pair.victim.socket, pair.session.socket, pair.engine.directory.parent):
        assert pair.notebook.run(f"import os; print(os.path.lexists({str(path)!r}))") == "False"


def test_only_its_own_processes_are_seen(pair: Pair) -> None:
    seen = pair.notebook.run(
        "import glob\nfor p in glob.glob('/proc/[0-9]*/cmdline'): print(open(p).read().replace(chr(0), ' '))"
    ).splitlines()
    assert len(seen) == 3  # first process, server, kernel
    assert pair.notebook.run("print(sorted(int(p[6:]) for p in __import__('glob').glob('/proc/[0-9]*'))[0])") == "1"
    code = f"import os; os.kill({pair.victim.pid}, 9)"
    assert "ProcessLookupError" in pair.notebook.run(code)


def test_no_environment_inside_tells_of_the_hub(pair: Pair) -> None:
    code = (
        "import glob\nfor p in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: print(open(p, 'rb').read())\n    except OSError: print('refused')"
    )
    said = pair.notebook.run(code)
    assert SECRET not in said
    assert "REBIND" not in said
    assert pair.victim_request.token not in said


def test_no_memory_inside_tells_of_the_hub_or_a_neighbour(pair: Pair) -> None:
    """All readable memory of the server, which was forked from the warm parent."""
    secrets = [SECRET.encode().hex(), pair.victim_request.token.encode().hex()]
    code = f"""
import os, re
found = []
wanted = [bytes.fromhex(each) for each in {secrets!r}]
mine = bytes.fromhex({pair.request.token.encode().hex()!r})
for pid in [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]:
    try:
        with open(f'/proc/{{pid}}/maps') as maps, open(f'/proc/{{pid}}/mem', 'rb', 0) as memory:
            for line in maps:
                start, end = (int(x, 16) for x in line.split()[0].split('-'))
                if 'r' not in line.split()[1] or '[v' in line: continue
                try:
                    memory.seek(start); data = memory.read(end - start)
                except (OSError, OverflowError): continue
                found += [each.decode()[:4] for each in (*wanted, mine) if each in data]
    except OSError: pass
print(set(found))
"""
    assert pair.notebook.run(code) == f"{{{pair.request.token[:4]!r}}}"  # its own is there, so that the search works


def test_descriptors_of_the_server_are_its_own(pair: Pair) -> None:
    code = (
        "import os\nparent = os.getppid()\n"
        "for fd in sorted(os.listdir(f'/proc/{parent}/fd'), key=int):\n"
        "    print(os.readlink(f'/proc/{parent}/fd/{fd}'))"
    )
    links = pair.notebook.run(code).splitlines()
    strange = [
        link for link in links if not link.startswith(("socket:", "pipe:", "anon_inode:", "/home/", "/dev/null"))
    ]
    assert strange == []
    assert not any(str(pair.engine.directory) in link for link in links)


def test_unix_sockets_of_the_host_are_out_of_reach(pair: Pair) -> None:
    """Neither by path nor by abstract name; the warm parent's control socket has no name at all."""
    said = pair.notebook.run("print(open('/proc/net/unix').read())")
    assert "@" not in "".join(line.split()[-1] for line in said.splitlines()[1:] if len(line.split()) > 7)
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(pair.victim.socket)!r})"
    assert "FileNotFoundError" in pair.notebook.run(code)


def test_the_first_process_cannot_be_traced_or_robbed(pair: Pair) -> None:
    for path in ("/proc/1/mem", "/proc/1/environ"):
        assert "PermissionError" in pair.notebook.run(f"open({path!r}, 'rb').read(1)")
    assert "PermissionError" in pair.notebook.run("import os; os.listdir('/proc/1/fd')")
    code = "import os, ctypes; print(ctypes.CDLL(None).ptrace(16, 1, 0, 0), ctypes.CDLL(None).syscall(438, 0, 0, 0))"
    assert pair.notebook.run(code) == "-1 -1"


def test_the_servers_environment_cannot_be_changed(pair: Pair) -> None:
    for path in ("/opt/rebind/server/x", "/opt/rebind/server/bin/x", f"{pair.engine.server}/x", "/usr/bin/x", "/x"):
        said = pair.notebook.run(f"open({path!r}, 'w')")
        assert said.startswith(("OSError", "PermissionError")), path


def test_there_is_no_network(pair: Pair) -> None:
    assert pair.notebook.run(
        "import os; print(os.listdir('/sys/class/net') if os.path.isdir('/sys/class/net') else [])"
    ) in (
        "[]",
        "['lo']",
    )
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    assert "Error" in pair.notebook.run(code)


def test_a_neighbours_token_or_cookie_opens_nothing(pair: Pair) -> None:
    url = f"{pair.request.base_url}api/contents"
    assert get(pair.session, url, pair.victim_request.token)[0] == 403
    _, headers, _ = ask(pair.victim, pair.victim_request, f"api/contents?token={pair.victim_request.token}")
    cookie = headers["set-cookie"].split(";")[0]
    url = f"{pair.victim_request.base_url}api/contents"
    status, _, _ = ask(pair.victim, pair.victim_request, "api/contents", headers={"Cookie": cookie})
    assert status == 200
    status, _, _ = ask(pair.session, pair.request, "api/contents", headers={"Cookie": cookie})
    assert status == 403  # another cookie secret signed it


def test_children_of_one_parent_draw_different_numbers(
    server: Path, sessions_folder: Path, make_request: MakeRequest, make_layer: Callable[..., Layer]
) -> None:
    """In the server process itself, which both have from one parent: its configuration file draws them."""
    text = (
        "import os, random, secrets, ssl, tempfile, uuid\n"
        "numbers = [random.random(), random.getrandbits(64), uuid.uuid4().hex, secrets.token_hex(), "
        "ssl.RAND_bytes(16).hex(), next(tempfile._get_candidate_names())]\n"
        "open('/home/jovyan/numbers.txt', 'w').write('\\n'.join(map(str, numbers)))\n"
    )
    layer = make_layer({".jupyter/jupyter_server_config.py": text})
    engine = ProcessEngine(sessions_folder, server)
    drawn = []
    try:
        for number in range(2):
            request = make_request(f"draws-{number}", layers=(layer,))
            session = engine.start(request, quiet)
            status, body = get(session, f"{request.base_url}files/numbers.txt", request.token)
            assert status == 200
            drawn.append(body.decode().splitlines())
            engine.stop(session)
    finally:
        engine.close()
    assert len(drawn[0]) == len(drawn[1]) == 6
    assert not set(drawn[0]) & set(drawn[1])


def test_the_warm_parent_has_no_secret_and_no_strangers_file(pair: Pair) -> None:
    parent = pair.engine.parent
    assert parent is not None
    environ = Path(f"/proc/{parent}/environ").read_bytes()
    assert SECRET.encode() not in environ
    assert {each.split(b"=")[0] for each in environ.split(b"\0") if each} == {
        b"HOME", b"USER", b"LOGNAME", b"SHELL", b"PATH", b"LANG", b"JUPYTER_PATH",
    }  # fmt: skip
    for link in Path(f"/proc/{parent}/fd").iterdir():
        assert str(link.readlink()).startswith(("socket:", "/dev/null", str(pair.engine.directory / "parent.log")))
    assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1
    maps = Path(f"/proc/{parent}/maps").read_text()
    assert "/srv/conda" not in maps


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_warm_parent_and_its_children_are_not_root(pair: Pair) -> None:
    for pid in (pair.engine.parent, pair.session.pid, pair.victim.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        ids = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:", "Groups:"))]
        assert ids == [["61000"] * 4, ["61000"] * 4, []]


def test_a_start_script_cannot_put_another_socket_in_its_place(
    engine: ProcessEngine, make_request: MakeRequest, make_layer: Callable[..., Layer]
) -> None:
    """The server's socket is inside; whatever the script makes of it, the host connects to nothing else of its own."""
    host = engine.directory.parent / "host.sock"
    script = f"#!/bin/sh\nln -s {host} /run/rebind-server.sock\nsleep 2\nexit 5\n"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host))
        listener.listen()
        listener.settimeout(0.1)
        with pytest.raises(SessionError, match="code 5"):
            engine.start(make_request("link", layers=(make_layer({"start": script}),), start="start"), quiet)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_start_script_outside_of_the_repository_is_inside_the_sandbox(
    engine: ProcessEngine, make_request: MakeRequest, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    up = "../" * 12
    with pytest.raises(SessionError):
        engine.start(make_request("outside", start=f"{up}{script}"), quiet)
    time.sleep(0.1)
    assert not mark.exists()
