"""The entry point of images, run by every Python of this machine that an image could have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "src" / "rebind" / "images" / "entrypoint.py"
FOUND = sorted(Path("/root/.pyenv/versions").glob("3.*/bin/python3")) if os.access("/root", os.X_OK) else []
PYTHONS = [sys.executable, *(str(path) for path in FOUND)]


def run(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": os.environ["PATH"], "REPO_DIR": str(cwd), **variables}
    return subprocess.run([sys.executable, PROGRAM, *command], cwd=cwd, env=env, capture_output=True, timeout=30)


@pytest.mark.parametrize("python", PYTHONS)
def test_output_goes_on_and_into_the_log(tmp_path: Path, python: str) -> None:
    command = [python, str(PROGRAM), "sh", "-c", "echo out; echo err >&2; exit 7"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=30)
    assert done.returncode == 7
    assert done.stdout == b"out\nerr\n"
    assert (tmp_path / ".jupyter-server-log.txt").read_bytes() == b"out\nerr\n"


def test_the_start_script_gets_the_command(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.write_text('#!/bin/sh\nexport FOO=bar\nexec "$@"\n')
    start.chmod(0o755)
    done = run("sh", "-c", 'echo "$FOO"', cwd=tmp_path, R2D_ENTRYPOINT=str(start))
    assert done.stdout == b"bar\n"


def test_o_20_a_start_script_without_a_first_line_is_run_by_the_shell(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start.write_text('export FOO=bar\nexec "$@"\n')
    start.chmod(0o755)
    assert run("sh", "-c", 'echo "$FOO"', cwd=tmp_path, R2D_ENTRYPOINT=str(start)).stdout == b"bar\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE])
def test_signals_are_forwarded(tmp_path: Path, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f'trap "echo got {name}; exit 3" {name}; touch ready; while :; do sleep 0.05; done'
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "bash", "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin"},
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == (f"got {name}\n".encode(), 3)


def test_a_command_that_is_killed_is_said_so_by_the_code(tmp_path: Path) -> None:
    assert run("sh", "-c", "kill -9 $$", cwd=tmp_path).returncode == 137


def test_an_unknown_command_ends_with_127(tmp_path: Path) -> None:
    assert run("no-such-program", cwd=tmp_path).returncode == 127


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_stops_the_copy_and_not_the_server(tmp_path: Path) -> None:
    (tmp_path / ".jupyter-server-log.txt").symlink_to("/dev/full")
    done = run("sh", "-c", "echo one; sleep 0.2; echo two", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"one\ntwo\n")


def test_a_closed_output_does_not_end_the_server(tmp_path: Path) -> None:
    script = 'trap "" PIPE; sleep 0.3; echo one; sleep 0.2; echo two; touch done'
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "sh", "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert process.stdout
    process.stdout.close()
    assert process.wait(timeout=20) == 0
    assert (tmp_path / ".jupyter-server-log.txt").read_text() == "one\ntwo\n"


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs root to become nobody")
def test_the_log_falls_back_to_the_temporary_folder(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    program = shared / "entrypoint.py"
    program.write_bytes(PROGRAM.read_bytes())
    command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", program, "echo", "x"]
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(shared), "REPO_DIR": "/nonexistent"}
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert (shared / ".jupyter-server-log.txt").read_text() == "x\n"
