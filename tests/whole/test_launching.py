"""From an address to a running session, through a real hub and the real command line."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from tests.conftest import MakeRepository
from tests.whole.conftest import SMALL, processes
from tests.whole.programs import REBIND, Hub, ask, environment, execute, rebind, wait_until

pytestmark = [pytest.mark.session, pytest.mark.network]


def test_run_gives_the_output_and_the_exit_code(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    done = rebind(
        "run", path, "--", "sh", "-c", "cat hello.txt; python -c 'import six'; id -un; pwd; exit 7", data=data
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.split() == ["hello", "jovyan", "/home/jovyan"]


def test_run_forwards_standard_input(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    command = [*REBIND, "run", str(path), "--", "tr", "a-z", "A-Z"]
    done = subprocess.run(command, env=environment(data=str(data)), input="hello", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "HELLO")


def test_plan_lock_and_build_agree_on_the_environment(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    digests = set()
    for command in ("plan", "lock", "build"):
        done = rebind(command, path, "--json", data=data)
        assert done.returncode == 0, done.stderr
        digests.add(json.loads(done.stdout.splitlines()[-1])["environment"])
    assert len(digests) == 1


def test_a_changed_notebook_shares_the_environment(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    first = rebind("build", path, data=data).stdout
    make_repository({"notebook.ipynb": "{}"}, date="2024-03-01T12:01:00Z")
    second = rebind("build", path, data=data)
    assert second.stdout == first
    assert "Installing" not in second.stderr
    assert "Fetching" not in second.stderr.replace("Fetching the repository", "")


def test_launch_from_the_command_line_and_ctrl_c(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    command = [*REBIND, "launch", str(path), "--no-open", "--json", "--path", "hello.txt"]
    with subprocess.Popen(command, env=environment(data=str(data)), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["phase"] in ("ready", "failed"):
                break
        ready = events[-1]
        assert ready["phase"] == "ready", events
        assert ask(ready["url"] + "lab", ready["token"])[0] == 200
        assert execute(ready["url"], ready["token"], "import six; print(6 * 7)").strip() == "42"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not processes(ready["url"].split("/")[-2])
    assert not list((data / "run").glob("launch-*"))


def test_a_killed_command_line_leaves_nothing(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    command = [*REBIND, "launch", str(path), "--no-open", "--json"]
    process = subprocess.Popen(command, env=environment(data=str(data)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = next(event for event in map(json.loads, process.stdout) if event["phase"] in ("ready", "failed"))
    assert ready["phase"] == "ready", ready
    process.kill()
    process.wait()
    process.stdout.close()
    mark = f"launch-{process.pid}"
    wait_until(lambda: not processes(mark), what="the end of the proxy")

    def refused() -> bool:
        try:
            ask(ready["url"] + "api", timeout=2)
        except OSError:
            return True
        return False

    wait_until(refused, what="the end of the session")


def test_a_launch_through_the_hub(hub: Hub, repository: str) -> None:
    events = list(hub.events(repository))
    phases = [event["phase"] for event in events]
    assert phases[-1] == "ready", events[-5:]
    assert phases.index("built") < phases.index("launching")
    ready = events[-1]
    assert ready["url"].startswith(hub.url + "/user/")
    assert ask(ready["url"] + "api/status", ready["token"])[0] == 200
    assert ask(ready["url"] + "api/status")[0] == 403
    again = [event["phase"] for event in hub.events(repository)]
    assert (again[0], again[-1]) == ("built", "ready")
    assert set(again[1:-1]) == {"launching"}


def test_a_kernel_over_a_websocket(hub: Hub, repository: str) -> None:
    ready = hub.launch(repository)
    code = "import os, sys; print(6 * 7, os.environ['BINDER_REPO_URL'], os.getcwd())"
    assert execute(ready["url"], ready["token"], code).split() == ["42", repository, "/home/jovyan"]


def test_ten_launches_at_once(hub: Hub, repository: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    hub.launch(repository)
    with ThreadPoolExecutor(10) as pool:
        ready = list(pool.map(lambda _: hub.launch(repository), range(10)))
    assert len({event["url"] for event in ready}) == 10
    assert all(ask(event["url"] + "api", event["token"])[0] == 200 for event in ready)


def test_one_session_is_closed_to_the_token_of_another(hub: Hub, repository: str) -> None:
    one, two = hub.launch(repository), hub.launch(repository)
    assert ask(one["url"] + "api/contents", two["token"])[0] == 403
    assert ask(two["url"] + "api/contents", one["token"])[0] == 403


def test_a_ref_that_is_not_there_is_told_in_the_words_that_clients_know(hub: Hub, repository: str) -> None:
    events = list(hub.events(repository, "no-such-branch"))
    assert events[-1]["phase"] == "failed"
    assert "Could not resolve ref for git:" in events[-1]["message"]
    assert "no-such-branch" in events[-1]["message"]
    assert hub.launch(repository)["phase"] == "ready"
