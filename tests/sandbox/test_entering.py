"""Entering from the child of a warm process, as sessions do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_tools import give, plain_confinement

from rebind.sandbox import Bind, Confinement, become, enter, open_sources, receive_sources, send_sources
from rebind.sandbox.sources import close


def start(confinement: Confinement, serve: Callable[[int], int], **more: object) -> tuple[int, int, str]:
    """(pid of the first process, reading end of a pipe that `serve` has, error). The child ends at once."""
    heard, tell = os.pipe()
    answer, say = os.pipe()
    sources = open_sources(confinement) if os.geteuid() == 0 else None
    child = os.fork()
    if child == 0:
        try:
            os.environ["SECRET_OF_THE_WARM_PARENT"] = "hunter2"
            become(confinement.owner)
            pid = enter(confinement, sources, lambda: serve(tell), pass_fds=(tell,), **more)  # type: ignore[arg-type]
            os.write(say, f"{pid} ".encode())
        except BaseException as error:
            os.write(say, f"0 {error}".encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.close(say)
    close(sources or [])
    os.waitpid(child, 0)
    pid, _, error = os.read(answer, 4096).decode().partition(" ")
    os.close(answer)
    return int(pid), heard, error


def everything(descriptor: int) -> str:
    with open(descriptor) as file:
        return file.read()


def test_serve_runs_inside_with_only_its_variables() -> None:
    def serve(tell: int) -> int:
        numbers = sorted(int(each.name) for each in Path("/proc/self/fd").iterdir())
        text = f"{os.getpid()} {os.getuid()} {Path.cwd()} {sorted(os.environ)} {set(numbers) - {tell}}"
        os.write(tell, text.encode() + Path("/proc/self/environ").read_bytes())
        return 0

    _, heard, error = start(plain_confinement(), serve)
    text = everything(heard)
    assert error == ""
    assert text.startswith("2 1000 /tmp ['HOME', 'PATH'] {0, 1, 2, ")
    assert "hunter2" not in text
    assert "PYTEST" not in text


def test_the_sandbox_outlives_the_process_that_entered() -> None:
    def serve(tell: int) -> int:
        time.sleep(0.5)
        os.write(tell, b"later")
        return 0

    pid, heard, _ = start(plain_confinement(), serve)
    assert Path(f"/proc/{pid}").exists()
    assert everything(heard) == "later"


def test_killing_the_first_process_ends_all() -> None:
    def serve(tell: int) -> int:
        for number in range(1, 32):
            if number not in (9, 17, 19):
                signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        os.write(tell, b".")
        time.sleep(60)
        return 0

    pid, heard, _ = start(plain_confinement(), serve)
    assert len(os.read(heard, 1)) == 1
    os.kill(pid, signal.SIGKILL)
    assert everything(heard) in ("", ".")


def test_the_lifeline_ends_all() -> None:
    lifeline, alive = os.pipe()

    def serve(tell: int) -> int:
        os.write(tell, b".")
        time.sleep(60)
        return 0

    _, heard, _ = start(plain_confinement(), serve, lifeline=lifeline)
    os.close(lifeline)
    assert os.read(heard, 1) == b"."
    os.close(alive)
    assert everything(heard) == ""


def test_a_passed_socket_still_listens_outside(folder: Path) -> None:
    """The socket was made before the sandbox; it is how a session without a network is reached."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s"))
    listener.listen()
    heard, tell = os.pipe()
    confinement = plain_confinement()
    sources = open_sources(confinement) if os.geteuid() == 0 else None
    child = os.fork()
    if child == 0:

        def serve() -> int:
            stream, _ = listener.accept()
            stream.sendall(os.uname().nodename.encode())
            stream.close()
            return 0

        become(confinement.owner)
        enter(confinement, sources, serve, pass_fds=(listener.fileno(),))
        os._exit(0)
    os.waitpid(child, 0)
    for descriptor in (heard, tell, *(sources or ())):
        os.close(descriptor)
    listener.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "s"))
        assert client.recv(100) == b"tests"


def test_errors_are_told_to_the_one_that_enters() -> None:
    pid, heard, error = start(plain_confinement(cwd="/nowhere"), lambda _: 0)
    os.close(heard)
    assert pid == 0
    assert "/nowhere" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be root")
def test_root_may_not_enter() -> None:
    from rebind.errors import SandboxError

    with pytest.raises(SandboxError, match="root"):
        enter(plain_confinement(), None, lambda: 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user opens its files inside")
@pytest.mark.parametrize("count", [1, 450])
def test_sources_over_a_socket(folder: Path, count: int) -> None:
    for number in range(3):
        (folder / str(number)).mkdir()
    give(folder)
    mounts = tuple(Bind(folder / str(number % 3), f"/opt/{number}") for number in range(count))
    sources = open_sources(plain_confinement(*mounts))
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        send_sources(ours, sources)
        os._exit(0)
    received = receive_sources(theirs)
    os.waitpid(child, 0)
    kinds = [os.fstat(each).st_ino for each in received]
    assert kinds == [os.fstat(each).st_ino for each in sources]
    assert not any(os.get_inheritable(each) for each in received)
    close(received)
    close(sources)
    ours.close()
    with pytest.raises(EOFError):
        receive_sources(theirs)
    theirs.close()


def test_the_inner_part_needs_only_the_standard_library() -> None:
    """A warm parent runs in the server's environment, where nothing of rebind's own dependencies is."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "src")!r})
import rebind.sandbox, rebind.values
print(sorted({{name.partition('.')[0] for name in sys.modules}} - set(sys.stdlib_module_names) - {{"rebind"}}))
print([name for name in ("asyncio", "subprocess", "http", "email", "tempfile", "socketserver") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['__main__']\n[]\n"
