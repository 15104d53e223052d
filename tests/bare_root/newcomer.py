"""What a newcomer does in a bare root (see .ci/bare-root): pastes the README's commands, uses the session, ends it.

Runs as root and pid 1 with the system's Python; the commands run as the user that is named. Exits with 1 and a sentence
if something is not as promised.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

GIVEN = Path("/bare-root")
URL = re.compile(r"(http://127\.0\.0\.1:\d+/user/[^/\s]+/)lab\?token=([\w-]+)")
PATIENCE = 600


def fail(sentence: str) -> None:
    print(f"FAILED: {sentence}", flush=True)
    sys.exit(1)


class Newcomer:
    """One user with clean clones of the project."""

    def __init__(self, name: str) -> None:
        self.entry = pwd.getpwnam(name)
        self.home = Path(self.entry.pw_dir)

    def environment(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "USER": self.entry.pw_name, "LOGNAME": self.entry.pw_name, "TERM": "dumb"}
        return {**os.environ, **own}

    def give(self, what: str, name: str) -> Path:
        """A copy of something of ours in their home directory."""
        target = self.home / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(GIVEN / what, target, symlinks=True)
        subprocess.run(["chown", "-R", f"{self.entry.pw_uid}:{self.entry.pw_gid}", target], check=True)
        return target

    def paste(self, command: str, folder: Path) -> subprocess.Popen[str]:
        """Starts a command line as a terminal would: a session of its own, so that Ctrl-C reaches all of it."""
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=self.environment(),
            user=self.entry.pw_uid,
            group=self.entry.pw_gid,
            extra_groups=[],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def processes() -> dict[int, str]:
    """All processes of this pid namespace but this one."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if state != "Z":  # orphans that have ended wait for pid 1, which is us
                found[int(entry.name)] = line
    return found


def mounts() -> set[str]:
    return {line.split(" ", 4)[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def groups() -> set[str]:
    """Control groups of rebind below our own (.ci/bare-root made them where it could)."""
    found = set()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if "bare-root-" in own:
            folder = Path("/sys/fs/cgroup", controllers.split(",")[0], own.lstrip("/"))
            found |= {str(path) for path in folder.glob("**/*rebind*") if path.is_dir()}
    return found


def follow(running: subprocess.Popen[str], found: list[tuple[str, str]]) -> None:
    assert running.stdout is not None
    for line in running.stdout:
        print(f"  | {line}", end="", flush=True)
        if match := URL.search(line):
            found.append((match[1], match[2]))


def ask(url: str, token: str, method: str = "GET", body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Authorization": f"token {token}"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def compute(url: str, token: str) -> str:
    """What a kernel of the session answers to `6*7`, asked as JupyterLab does: REST, then a websocket."""
    kernel = json.loads(ask(f"{url}api/kernels", token, "POST", b"{}"))["id"]
    client = Path("/opt/newcomer")
    if not client.exists():
        subprocess.run([sys.executable, "-m", "venv", client], check=True)
        subprocess.run([client / "bin/pip", "install", "-q", "websockets"], check=True)
    program = """
import json, sys
from websockets.sync.client import connect
address, token = sys.argv[1:]
header = {"msg_id": "1", "username": "", "session": "s", "msg_type": "execute_request", "version": "5.3", "date": ""}
message = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
           "content": {"code": "6*7", "silent": False, "store_history": False, "user_expressions": {},
                       "allow_stdin": False}}
with connect(address, additional_headers={"Authorization": f"token {token}"}, max_size=None) as socket:
    socket.send(json.dumps(message))
    while True:
        answer = json.loads(socket.recv(timeout=60))
        if answer["msg_type"] == "execute_result":
            print(answer["content"]["data"]["text/plain"])
            break
        if answer["msg_type"] == "error":
            sys.exit(str(answer["content"]))
"""
    address = f"ws{url.removeprefix('http')}api/kernels/{kernel}/channels"
    argv = [str(client / "bin/python"), "-c", program, address, token]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def launch(newcomer: Newcomer) -> None:
    folder = newcomer.give("project", "rebind")
    repository = newcomer.give("repository", "repository")
    command = (GIVEN / "launch-command").read_text().strip().replace("/bare-root/repository", str(repository))
    before = mounts(), groups()
    print(f"  $ {command}", flush=True)
    started = time.monotonic()
    running = newcomer.paste(command, folder)
    found: list[tuple[str, str]] = []
    reader = threading.Thread(target=follow, args=(running, found))
    reader.start()
    while not found and running.poll() is None and time.monotonic() - started < PATIENCE:
        time.sleep(0.1)
    if not found:
        fail("the launch command printed no address of a session")
    print(f"  a session after {time.monotonic() - started:.1f} s", flush=True)
    url, token = found[0]
    if b"jupyter-config-data" not in ask(f"{url}lab", token):
        fail("/lab does not answer with JupyterLab's page")
    if (answer := compute(url, token)) != "42":
        fail(f"the kernel answered {answer!r} to 6*7")
    print("  /lab answers, and a kernel says 42 through the proxy", flush=True)
    end(running, reader, before)


def end(running: subprocess.Popen[str], reader: threading.Thread, before: tuple[set[str], set[str]]) -> None:
    """Ctrl-C, and what is left."""
    os.killpg(running.pid, signal.SIGINT)
    try:
        running.wait(60)
    except subprocess.TimeoutExpired:
        fail("it did not end within a minute of Ctrl-C")
    reader.join(10)
    deadline = time.monotonic() + 5
    while (processes() or groups() - before[1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left := processes():
        fail(f"processes were left: {left}")
    if left_over := (mounts() ^ before[0]) | (groups() - before[1]):
        fail(f"mounts or control groups were left: {sorted(left_over)}")
    print("  Ctrl-C: no process, no mount, no control group is left", flush=True)


def test(newcomer: Newcomer) -> None:
    folder = newcomer.give("project", "rebind-tests")
    command = (GIVEN / "test-command").read_text().strip()
    print(f"  $ {command}", flush=True)
    running = newcomer.paste(command, folder)
    follow(running, [])
    if running.wait():
        fail(f"the test command ended with {running.returncode}")
    if left := processes():
        fail(f"the tests left processes: {left}")


if __name__ == "__main__":
    {"launch": launch, "test": test}[sys.argv[1]](Newcomer(sys.argv[2]))
    print(f"  as promised for {sys.argv[2]}", flush=True)
