from __future__ import annotations

import os
import subprocess
import sys
import time

from rebind.sandbox import processes


def test_born_tells_a_living_process() -> None:
    born = processes.born(os.getpid())
    assert born is not None
    assert processes.born(os.getpid()) == born
    assert processes.born(1 << 22) is None


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.born(child.pid) is None
    child.wait()


def test_end_waits_until_it_is_gone() -> None:
    child = subprocess.Popen(["sleep", "100"])
    born = processes.born(child.pid)
    assert born is not None
    processes.end(child.pid, born, 5)
    assert child.wait(5) == -15


def test_end_kills_what_does_not_listen() -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(99)"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    born = processes.born(child.pid)
    assert born is not None
    processes.end(child.pid, born, 0.05)
    assert child.wait(5) == -9
    child.stdout.close()


def test_end_leaves_a_stranger_with_the_same_pid_alone() -> None:
    child = subprocess.Popen(["sleep", "100"])
    born = processes.born(child.pid)
    assert born is not None
    processes.end(child.pid, born + 1, 0)
    time.sleep(0.05)
    assert child.poll() is None
    child.kill()
    child.wait()
    processes.end(child.pid, born, 0)  # gone: nothing happens
