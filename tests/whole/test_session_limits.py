"""What a session may use and see, from inside of it: its limits hold, and nothing of the host or of others is there."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.whole.programs import Hub, ask, execute

from rebind.sandbox import capabilities

pytestmark = [pytest.mark.session, pytest.mark.network]

CANARY = "a-secret-of-the-hub-7f3a"


@pytest.fixture(scope="module")
def hub(data: Path) -> Iterator[Hub]:
    hub = Hub(data, session_memory="600M", session_processes="80", session_disk="50M", max_sessions="10")
    os.environ["GIT_CREDENTIAL_ENV"] = f"username=ada\npassword={CANARY}"
    try:
        hub.start()
    finally:
        del os.environ["GIT_CREDENTIAL_ENV"]
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def ready(hub: Hub, repository: str) -> dict[str, Any]:
    return hub.launch(repository)


@pytest.fixture(scope="module")
def inside(ready: dict[str, Any]) -> Any:
    """A function that runs code in a kernel of the session and gives what it printed."""
    return lambda code: execute(ready["url"], ready["token"], code).strip()


def still_answers(ready: dict[str, Any], inside: Any) -> None:
    assert ask(ready["url"] + "api/status", ready["token"])[0] == 200
    assert inside("print(6 * 7)") == "42"


@pytest.mark.skipif(not capabilities().memory, reason="this machine lets nobody limit memory")
def test_memory(ready: dict[str, Any], inside: Any) -> None:
    code = """
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "x = bytearray(100 << 20); print('small')"]).returncode)
print(subprocess.run([sys.executable, "-c", "x = bytearray(900 << 20); print('large')"]).returncode)
"""
    small, large = inside(code).split()[-2:]
    assert small == "0"
    assert large != "0"
    still_answers(ready, inside)


@pytest.mark.skipif(not capabilities().processes, reason="this machine lets nobody limit processes")
def test_processes(ready: dict[str, Any], inside: Any) -> None:
    code = """
import subprocess
started = []
try:
    for _ in range(200):
        started.append(subprocess.Popen(["sleep", "60"]))
except OSError as error:
    print(type(error).__name__, len(started) < 90)
for process in started:
    process.kill()
    process.wait()
"""
    assert inside(code) == "BlockingIOError True"
    still_answers(ready, inside)


def test_disk(ready: dict[str, Any], inside: Any) -> None:
    code = """
import os
for place in ("/home/jovyan/big", "/tmp/big", "/srv/conda/envs/notebook/big", "/dev/shm/big", "/var/tmp/big"):
    written = 0
    try:
        with open(place, "wb") as file:
            while written < 200 << 20:
                written += file.write(bytes(1 << 20))
        print(place, "all of it")
    except OSError as error:
        print(place, error.strerror) if written > 60 << 20 else None
    finally:
        if os.path.exists(place):
            os.unlink(place)
print("done")
"""
    assert inside(code) == "done"
    still_answers(ready, inside)


def test_the_host_is_not_reachable(hub: Hub, inside: Any) -> None:
    visitors = []
    with unusual_port() as listening:

        def accept() -> None:
            try:
                while True:
                    visitors.append(listening.accept())
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        hub_port = int(hub.url.rpartition(":")[2])
        names = ["127.0.0.1", "::1", "localhost", socket.gethostname(), "169.254.169.254", *own_addresses()]
        code = f"""
import socket, urllib.request
for port in {port, hub_port}:
    for name in {names!r}:
        try:
            socket.create_connection((name, port), 2).close()
            print("direct:", name, port)
        except OSError:
            pass
        host = f"[{{name}}]" if ":" in name else name
        for opener in (urllib.request.build_opener(), urllib.request.build_opener(
                urllib.request.ProxyHandler({{"http": "http://127.0.0.1:3128"}}))):
            try:
                opener.open(f"http://{{host}}:{{port}}/", timeout=2)
                print("answered:", name, port)
            except OSError:
                pass
        with socket.create_connection(("127.0.0.1", 3128), 2) as way:
            way.sendall(f"CONNECT {{host}}:{{port}} HTTP/1.1\\r\\nHost: {{host}}:{{port}}\\r\\n\\r\\n".encode())
            answer = way.recv(100)
            if b" 403 " not in answer and b" 400 " not in answer:
                print("tunnel:", name, port, answer)
print("done")
"""
        told = inside(code)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert not visitors
    assert told == "done"


def unusual_port() -> socket.socket:
    """Listens on all addresses, on a port that no kernel of a session picks by chance in its own network."""
    for port in range(21000, 30000):
        with suppress(OSError):
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    raise AssertionError("no port is free")


def own_addresses() -> list[str]:
    """Addresses under which this machine is known in its networks."""
    try:
        return sorted({str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)})
    except OSError:
        return []


def test_nothing_of_the_hub_can_be_seen(hub: Hub, data: Path, inside: Any) -> None:
    places = [
        str(data),
        "/root/.bashrc",
        "/root/.ssh",
        "/var/lib/rebind",
        "/etc/shadow",
        "/etc/sudoers",
        "/run/docker.sock",
        "/boot",
        "/lost+found",
    ]
    places += [
        str(path) for path in (data / "secret", data / "rebind.db", data / "run", data / "run" / "out", data / "git")
    ]
    code = f"""
import os
for place in {places!r}:
    try:
        print(place, os.listdir(place) if os.path.isdir(place) else open(place, "rb").read(10))
    except OSError:
        pass
for found, folders, files in os.walk("/", onerror=None):
    folders[:] = [f for f in folders if os.path.join(found, f) not in ("/proc", "/sys", "/usr")]
    for name in files:
        if name in ("rebind.db", "secret", "hub.sock", "hub.lock") or name.endswith("cookie_secret"):
            print("found", found, name)
print(open("/proc/self/status").read().partition("CapEff:")[2].split()[0])
print(sorted(line.split()[4] for line in open("/proc/self/mountinfo") if {str(data)!r} in line.split()[4]))
"""
    capabilities_left, mounted = inside(code).splitlines()[-2:]
    rest = inside(code).splitlines()[:-2]
    # The notebook server is seen at its own path, and nothing else of the directory.
    assert not [line for line in rest if "'store'" not in line or "'rebind.db'" in line], rest
    assert int(capabilities_left, 16) == 0
    assert all("/store/environments/" in path for path in json.loads(mounted.replace("'", '"'))), mounted


def test_no_secret_in_any_variable(hub: Hub, data: Path, inside: Any) -> None:
    code = """
import glob, os
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    try:
        print(open(path, "rb").read())
    except OSError:
        pass
print(dict(os.environ))
"""
    shown = inside(code)
    secret = (data / "secret").read_bytes()
    assert CANARY not in shown
    assert "GIT_CREDENTIAL_ENV" not in shown
    assert "REBIND_" not in shown
    for spelling in (repr(secret)[2:-1], secret.hex()):
        assert spelling not in shown


def test_binder_variables(hub: Hub, repository: str, inside: Any) -> None:
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('BINDER_')}))"
    found = json.loads(inside(code))
    assert found.pop("BINDER_CLIENT_IP")
    persistent = found.pop("BINDER_PERSISTENT_REQUEST")
    assert found.pop("BINDER_REF_URL").startswith(repository)
    assert found == {
        "BINDER_REPO_URL": repository,
        "BINDER_LAUNCH_HOST": hub.url + "/",
        "BINDER_REQUEST": hub.build_url(repository).removeprefix(hub.url + "/build/").join(["v2/", ""]),
    }
    assert persistent.startswith("v2/git/")
    assert len(persistent.rpartition("/")[2]) == 40


def test_other_sessions(hub: Hub, repository: str, inside: Any, ready: dict[str, Any]) -> None:
    other = hub.launch(repository)
    execute(
        other["url"], other["token"], "open('/tmp/mine', 'w').write('x'); open('/home/jovyan/mine', 'w').write('x')"
    )
    code = """
import glob, os
print(os.path.exists("/tmp/mine"), os.path.exists("/home/jovyan/mine"))
print(b" ".join(open(path, "rb").read() for path in glob.glob("/proc/[0-9]*/cmdline")))
print(len(glob.glob("/proc/[0-9]*")) < 20)
"""
    files, commands, few = inside(code).splitlines()
    assert (files, few) == ("False False", "True")
    name = other["url"].rstrip("/").rpartition("/")[2]
    assert name not in commands
    assert other["token"] not in commands
    path = f"{hub.url}/user/{name}/api/contents"
    reached = f"""
import urllib.request
try:
    print(urllib.request.urlopen("{path}?token={other["token"]}", timeout=3).status)
except OSError as error:
    print("no")
"""
    assert inside(reached) == "no"
