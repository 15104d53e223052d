"""`run`: what its caller gets, from any thread."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sandbox_tools import Inside, plain_confinement

from rebind.errors import DeadlineError, SandboxError
from rebind.sandbox import Bind, run

ORDER = """
import sys
sys.path[:0] = {path!r}
from sandbox_tools import plain_confinement
from rebind.sandbox import run
sys.exit(run(plain_confinement(), ["sh", "-c", {script!r}]))
"""


def caller(script: str, **more: object) -> subprocess.Popen[bytes]:
    """A program of its own that runs the script with its own stdin, stdout and stderr."""
    code = ORDER.format(path=[str(Path(__file__).parent), *sys.path], script=script)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_exit_codes(inside: Inside, script: str, code: int) -> None:
    assert inside(script).code == code


def test_commands_that_cannot_be_run() -> None:
    lines: list[str] = []
    assert run(plain_confinement(), ["no-such-command"], on_line=lines.append) == 127
    assert run(plain_confinement(), ["/etc/passwd"], on_line=lines.append) == 126
    assert lines == ["rebind: no-such-command: No such file or directory", "rebind: /etc/passwd: Permission denied"]


def test_lines_of_both_streams_in_order(inside: Inside) -> None:
    found = inside("echo one; echo two >&2; printf 'three\\r\\n\\n'; printf 'no end \\377'")
    assert found.lines == ["one", "two", "three", "", "no end \ufffd"]


@pytest.mark.session
def test_lines_come_while_the_command_runs() -> None:
    times: list[float] = []
    run(
        plain_confinement(), ["sh", "-c", "echo a; sleep 0.5; echo b"], on_line=lambda _: times.append(time.monotonic())
    )
    assert times[1] - times[0] > 0.3


def test_endless_lines_are_cut(inside: Inside) -> None:
    found = inside("head -c 1000000 /dev/zero | tr '\\0' x")
    assert sum(map(len, found.lines)) == 1_000_000
    assert max(map(len, found.lines)) <= 1 << 17


def test_stdin_is_empty_with_lines(inside: Inside) -> None:
    assert inside("cat; echo end").text == "end"


def test_an_error_of_the_reader_ends_the_sandbox() -> None:
    def fail(line: str) -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(plain_confinement(), ["sh", "-c", "echo a; trap '' INT TERM; sleep 60"], on_line=fail)
    assert time.monotonic() - start < 30


def test_many_threads_at_once() -> None:
    results: list[tuple[int, list[str]]] = []

    def one(number: int) -> None:
        lines: list[str] = []
        code = run(
            plain_confinement(name=f"n{number}"), ["sh", "-c", f"echo {number}; exit {number}"], on_line=lines.append
        )
        results.append((code, lines))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, [str(number)]) for number in range(8)]


def test_a_wrong_working_folder_is_told() -> None:
    with pytest.raises(SandboxError, match="/nowhere"):
        run(plain_confinement(cwd="/nowhere"), ["true"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be root")
def test_a_sandbox_never_runs_as_root() -> None:
    with pytest.raises(SandboxError, match="root"):
        run(plain_confinement(owner=0), ["true"])


@pytest.mark.session
def test_locks_are_held_by_the_sandbox_and_out_of_its_reach(tmp_path: Path, inside: Inside) -> None:
    with open(tmp_path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        done: list[list[str]] = []

        def call() -> None:
            lines: list[str] = []
            run(
                plain_confinement(),
                ["sh", "-c", "ls /proc/self/fd; sleep 1"],
                on_line=lines.append,
                keep_fds=(lock.fileno(),),
            )
            done.append(lines)

        thread = threading.Thread(target=call)
        thread.start()
        time.sleep(0.5)
    with open(tmp_path / "lock") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        thread.join()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert len(done[0]) == 4  # 0, 1, 2 and the folder that ls reads


def test_descriptors_are_passed_when_asked() -> None:
    heard, tell = os.pipe()
    code = run(plain_confinement(), ["bash", "-c", f"echo hello >&{tell}"], on_line=lambda _: None, pass_fds=(tell,))
    os.close(tell)
    assert (code, os.read(heard, 100)) == (0, b"hello\n")
    os.close(heard)


def test_stdio_of_the_caller_is_the_commands() -> None:
    process = caller("read x; echo got $x; echo err >&2; exit 3")
    out, err = process.communicate(b"word\n", timeout=30)
    assert (process.returncode, out, err) == (3, b"got word\n", b"err\n")


MORE = [pytest.param(name, marks=pytest.mark.session) for name in ("HUP", "QUIT", "USR1", "USR2")]


@pytest.mark.parametrize("name", ["INT", "TERM", *MORE])
def test_signals_of_the_caller_go_to_the_command(name: str) -> None:
    process = caller(f"trap 'echo got; exit 9' {name}; echo up; while :; do sleep 0.05; done")
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(20) == 9
    assert process.stdout.readline() == b"got\n"
    process.communicate()


@pytest.mark.session
def test_ctrl_c_reaches_the_command_once() -> None:
    """A terminal sends it to the whole foreground group: the caller and whatever it started in its group."""
    process = caller("trap 'echo got' INT; echo up; sleep 0.7; sleep 0.7; exit 4", start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read() == b"got\n"
    assert process.wait(20) == 4
    process.communicate()


def test_a_deadline_with_the_callers_stdio() -> None:
    with pytest.raises(DeadlineError):
        run(plain_confinement(), ["sleep", "60"], timeout=0.3)


def test_nothing_is_left_open(inside: Inside, folder: Path) -> None:
    inside("true")
    before = set(Path("/proc/self/fd").iterdir())
    inside("true")
    with pytest.raises(SandboxError):
        inside("true", Bind(folder / "missing", "/x"))
    with pytest.raises(DeadlineError):
        inside("sleep 9", timeout=0.2)
    assert set(Path("/proc/self/fd").iterdir()) <= before  # what others left may be closed meanwhile
