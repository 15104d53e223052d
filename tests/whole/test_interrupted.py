"""Ctrl-C and kill -9 in the middle: everything is gone, nothing half-made is taken for whole, the next one works."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import MakeRepository
from tests.whole.conftest import SMALL, processes
from tests.whole.programs import REBIND, environment, rebind, wait_until

pytestmark = [pytest.mark.session, pytest.mark.network]

PIPE = subprocess.PIPE
INT, KILL = signal.SIGINT, signal.SIGKILL


Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """A function that starts a command; what still runs after the test is ended."""
    begun = []

    def begin(*arguments: str | Path, data: Path) -> subprocess.Popen[str]:
        command = [*REBIND, *map(str, arguments), "--json"]
        variables = environment(data=str(data))
        begun.append(subprocess.Popen(command, env=variables, stdout=PIPE, stderr=PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def end(process: subprocess.Popen[str], number: signal.Signals, data: Path) -> None:
    """Ends a command that is at work, and looks whether all of it went and what it said."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors, errors
    if number is INT:
        assert process.returncode == 130
        assert json.loads(output.splitlines()[-1])["phase"] == "failed"
        assert not processes(str(data))
        tmp = data / "store" / "tmp"
        assert not tmp.exists() or not list(tmp.iterdir())
    wait_until(lambda: not processes(str(data)), what="the end of its processes")


def at(process: subprocess.Popen[str], words: str) -> bool:
    """Waits until a command says something; False if it ended without."""
    assert process.stdout is not None
    return any(words in line for line in process.stdout)


def fingerprint(environment: Path) -> dict[str, str]:
    """The files of an environment. Compiled ones by name alone: equal sources may compile to unequal bytes."""
    found = {}
    for path in sorted(environment.rglob("*")):
        name = str(path.relative_to(environment))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = "" if path.suffix == ".pyc" else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


MOMENTS = (
    ("Copying", INT),
    ("Finding the packages", KILL),
    ("Finding the packages", INT),
    ("Fetching", KILL),
    ("Fetching", INT),
    ("Downloading", KILL),
    ("Installing", INT),
    ("Installing", KILL),
)


def test_builds_that_are_ended_at_any_moment(
    begin: Begin, data: Path, tmp_path: Path, make_repository: MakeRepository
) -> None:
    path = make_repository(SMALL)
    chance = random.Random(time.time_ns())
    for words, number in MOMENTS:
        process = begin("build", path, data=tmp_path / "d")
        if at(process, words):
            time.sleep(chance.random() * 0.4)
        end(process, number, tmp_path / "d")
        if process.returncode == 0:
            break  # it was quicker
    whole = json.loads(rebind("build", path, "--json", data=tmp_path / "d").stdout.splitlines()[-1])
    usual = json.loads(rebind("build", path, "--json", data=data).stdout.splitlines()[-1])
    assert whole["environment"] == usual["environment"]
    found, wanted = (fingerprint(Path(built["path"]) / "srv") for built in (whole, usual))
    assert found == wanted
    done = rebind("run", path, "--", "python", "-c", "import six, ipykernel; print(6 * 7)", data=tmp_path / "d")
    assert done.stdout.strip() == "42", done.stderr
    assert not list((tmp_path / "d/store/tmp").iterdir())
    # And it can all be had back.
    before = size(tmp_path / "d/store")
    assert before > 30e6
    said = json.loads(rebind("clean", "--all", "--json", data=tmp_path / "d").stdout)
    assert said["freed"] > 0.9 * (before - size(tmp_path / "d/store")) > 20e6
    assert size(tmp_path / "d/store") < 1e6


def size(path: Path) -> int:
    return int(subprocess.run(["du", "-s", "-B1", path], capture_output=True, text=True).stdout.split()[0])


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and never says a word; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    taken.append(listening.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


@pytest.mark.parametrize("number", [INT, KILL], ids=["Ctrl-C", "kill -9"])
@pytest.mark.parametrize("scheme", ["git", "http"])
def test_ended_while_a_repository_is_fetched(begin: Begin, scheme: str, number: signal.Signals, data: Path) -> None:
    with silent_server() as port:
        mark = f"127.0.0.1:{port}"
        process = begin("build", f"{scheme}://{mark}/ada/lab", data=data)
        wait_until(lambda: any("ls-remote" in line or "fetch" in line for line in processes(mark)), what="git")
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == (130 if number is INT else -9)
        assert number is KILL or "Stopped" in output
        wait_until(lambda: not processes(mark), what="the end of git")


def test_ended_while_a_post_build_runs(begin: Begin, data: Path, make_repository: MakeRepository) -> None:
    path = make_repository({"postBuild": "echo begun; sleep 45678; touch made\n"})
    for number in (INT, KILL):
        process = begin("build", path, data=data)
        assert at(process, "begun")
        process.send_signal(number)
        process.communicate(timeout=30)
        wait_until(lambda: not processes("sleep 45678"), what="the end of the script")
    make_repository({"postBuild": "echo begun; touch made\n"})
    done = rebind("run", path, "--", "ls", "made", data=data)
    assert (done.returncode, done.stdout.strip()) == (0, "made"), done.stderr


@pytest.mark.parametrize("moment", ["Copying", "begun"])
def test_ctrl_c_while_a_launch_is_under_way(
    begin: Begin, moment: str, data: Path, make_repository: MakeRepository
) -> None:
    path = make_repository({"postBuild": f"echo begun; sleep 34567  # {moment}\n"})
    process = begin("launch", path, "--no-open", data=data)
    assert at(process, moment)
    process.send_signal(INT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert json.loads(output.splitlines()[-1])["phase"] == "failed"
    assert "Traceback" not in errors
    assert not processes("sleep 34567")
    assert not list((data / "run").glob(f"launch-{process.pid}"))


def test_two_builds_at_once_make_one_environment(data: Path, make_repository: MakeRepository) -> None:
    files = {"requirements.txt": "six==1.16.0\ncolorama\n", "postBuild": "echo the script runs; sleep 1\n"}
    path = make_repository(files)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: rebind("build", path, "--json", data=data), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert len({json.loads(one.stdout.splitlines()[-1])["environment"] for one in done}) == 1
    said = "".join(one.stdout for one in done)
    assert said.count("Installing") <= 1  # a directory kept from an earlier run has it already
    assert said.count('"the script runs') <= 1
