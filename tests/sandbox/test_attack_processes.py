"""Strangers' code against other processes, against its own limits and against its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sandbox_tools import IN_USR, PYTHON, Inside, plain_confinement

from rebind.errors import DeadlineError
from rebind.sandbox import capabilities, run
from rebind.values import Limits


def test_only_its_own_processes_are_seen(inside: Inside) -> None:
    pids = inside("ls /proc | grep -E '^[0-9]+$'").text.split()
    assert len(pids) <= 5
    assert str(os.getpid()) not in pids or os.getpid() < 10


def test_a_process_outside_cannot_be_killed(inside: Inside) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        found = inside(f"kill -9 {victim.pid}; kill -9 -1; echo alive")
        assert victim.poll() is None
        assert "No such process" in found.text
    finally:
        victim.kill()
        victim.wait()


def test_init_cannot_be_killed_or_traced_from_inside(inside: Inside) -> None:
    script = """
import ctypes, os, signal
for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT):
    os.kill(1, number)
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())  # PTRACE_ATTACH
print(libc.syscall(438, os.pidfd_open(1), 3, 0) < 0)  # pidfd_getfd
"""
    assert inside(script, python=True).lines == ["-1 1", "True"]


def test_when_memory_runs_out_strangers_go_first(inside: Inside) -> None:
    assert int(inside("cat /proc/self/oom_score_adj").text) >= 500


def test_no_keys_of_the_owner(inside: Inside) -> None:
    assert [line for line in inside("cat /proc/keys").lines if "_ses" in line and "_ses.0" in line] == []


def test_its_own_children_can_be_traced(inside: Inside) -> None:
    """Debuggers must work."""
    script = """
import ctypes, os, time
pid = os.fork()
if not pid: time.sleep(5)
print(ctypes.CDLL(None, use_errno=True).ptrace(0x4206, pid, 0, 0))  # PTRACE_SEIZE
os.kill(pid, 9)
"""
    assert inside(script, python=True).text == "0"


def test_variables_of_the_host_stay_out(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    found = inside("env; cat /proc/*/environ")
    assert "hunter2" not in found.text
    assert "HOME=/tmp" in found.lines


def test_a_fork_bomb_ends_at_the_limit(inside: Inside) -> None:
    script = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        count += 1
except OSError as error:
    print(count, error.errno)
"""
    count, number = inside(script, python=True, limits=Limits(processes=40)).text.split()
    assert int(count) < 40
    assert int(number) == 11
    assert os.fork is not None
    subprocess.run(["true"], check=True)  # the host goes on


@pytest.mark.session
def test_two_sandboxes_do_not_share_the_count(inside: Inside) -> None:
    """They have one user id on the host, yet each its own number of processes."""
    limits = Limits(processes=30)
    holding = threading.Thread(
        target=lambda: inside("for i in $(seq 20); do sleep 1 & done; wait", limits=limits, name="a")
    )
    holding.start()
    time.sleep(0.3)
    found = inside("for i in $(seq 20); do sleep 0.1 & done; wait; echo fine", limits=limits, name="b")
    holding.join()
    assert found.text == "fine"


EATER = "x = []\nwhile True: x.append(bytearray(1 << 20))"


def test_memory_of_one_process_ends_at_the_limit(inside: Inside) -> None:
    found = inside(EATER, python=True, limits=Limits(memory=256 << 20))
    assert found.code == 137 or "MemoryError" in found.text


def test_memory_of_many_processes_ends_at_the_limit(inside: Inside) -> None:
    if not capabilities().memory:
        pytest.skip("no control group for memory here: " + " ".join(capabilities().statements()))
    script = "import os\nfor _ in range(3): os.fork()\nx = bytearray(60 << 20)\nimport time; time.sleep(1); print('ok')"
    found = inside(script, python=True, limits=Limits(memory=128 << 20))
    assert found.lines.count("ok") < 4


def test_files_in_memory_count_as_memory(inside: Inside) -> None:
    if not capabilities().memory:
        pytest.skip("no control group for memory here: " + " ".join(capabilities().statements()))
    script = "dd if=/dev/zero of=/tmp/x bs=1M count=300; echo survived"
    found = inside(script, limits=Limits(memory=64 << 20))
    assert "300+0 records out" not in found.text


def test_cpu_is_limited(inside: Inside) -> None:
    if not capabilities().cpus:
        pytest.skip("no control group for CPU here: " + " ".join(capabilities().statements()))
    script = """
import time
start = time.monotonic()
while time.process_time() < 0.1: pass
print(time.monotonic() - start > 0.25)
"""
    assert inside(script, python=True, limits=Limits(cpus=0.2)).text == "True"


def test_background_processes_end_with_the_command(inside: Inside) -> None:
    mark = f"sleep {os.getpid()}.25"
    assert inside(f"setsid {mark} & (trap '' TERM HUP; setsid {mark}) & echo done").text == "done"
    assert _count(mark) == 0


def test_a_deadline_ends_everything(inside: Inside) -> None:
    mark = f"sleep {os.getpid()}.5"
    with pytest.raises(DeadlineError):
        inside(f"trap '' TERM INT HUP; setsid {mark} & {mark}; {mark}", timeout=0.7)
    assert _count(mark) == 0


OWNER = """
import os, sys
sys.path[:0] = {path!r}
from sandbox_tools import plain_confinement
from rebind.sandbox import run
run(plain_confinement(), ["sh", "-c", {script!r}], on_line=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_everything_ends_with_its_owner(way: int) -> None:
    mark = f"sleep {os.getpid()}.{way}"
    script = f"trap '' TERM INT HUP; (setsid {mark} &) ; echo up; {mark}; {mark}"
    code = OWNER.format(path=[str(Path(__file__).parent), *sys.path], script=script)
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline() == b"up\n"
        while _count(mark) < 2:
            time.sleep(0.02)
        owner.send_signal(way)
        owner.wait()
    finally:
        owner.kill()
        owner.communicate()
    _wait_until_gone(mark)


def test_everything_ends_with_the_starter() -> None:
    """The small process between the owner and the sandbox may be killed as well."""
    mark = f"sleep {os.getpid()}.75"
    done: list[int] = []
    thread = threading.Thread(
        target=lambda: done.append(run(plain_confinement(), mark.split(), on_line=lambda _: None))
    )
    thread.start()
    while _count(mark) == 0:
        time.sleep(0.02)
    parents = [pid for pid in _processes("starter.py") if _parent(pid) == os.getpid()]
    os.kill(parents[0], signal.SIGKILL)
    thread.join(10)
    assert done == [137]
    _wait_until_gone(mark)


def _processes(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _count(mark: str) -> int:
    return sum(_name(pid) == "sleep" for pid in _processes(mark))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # gone since it was listed
        return ""


def _wait_until_gone(mark: str) -> None:
    deadline = time.monotonic() + 10
    while _count(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _count(mark) == 0


def test_the_terminal_of_the_owner_cannot_be_typed_into(inside: Inside) -> None:
    script = """
import fcntl, pty, os
master, slave = pty.openpty()
for command in (0x5412, 0x541C, 0x5412 | 1 << 32):
    try:
        import ctypes
        result = ctypes.CDLL(None, use_errno=True).ioctl(slave, ctypes.c_ulong(command), b"x")
        print(result, ctypes.get_errno() if result else 0)
    except OSError as error:
        print(-1, error.errno)
"""
    assert inside(script, python=True).lines == ["-1 1"] * 3


def test_pythons_of_the_host_work_inside(inside: Inside) -> None:
    assert PYTHON.startswith("/usr" if IN_USR else "/opt/rebind/python/")
    assert inside("import ssl, ctypes, sqlite3; print('ok')", python=True).text == "ok"
