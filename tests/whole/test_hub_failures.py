"""Launches that fail on a hub: one `failed` event, the log kept, nothing else lost, and the next launch works."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.whole.conftest import Publish, processes
from tests.whole.programs import Hub, ask, execute, rebind, wait_until

pytestmark = [pytest.mark.session, pytest.mark.network]


@pytest.fixture(scope="module")
def hub(data: Path) -> Iterator[Hub]:
    hub = Hub(data, build_timeout="3s", start_timeout="20s").start()
    yield hub
    hub.stop()


def kept(hub: Hub) -> tuple[str, str]:
    """State and whole log of the newest launch, from the store."""
    with sqlite3.connect(hub.data / "rebind.db") as connection:
        id, state = connection.execute("SELECT id, state FROM launches ORDER BY created DESC LIMIT 1").fetchone()
        rows = connection.execute("SELECT message FROM events WHERE launch = ? ORDER BY number", (id,)).fetchall()
    return state, "".join(row[0] for row in rows)


def failed(hub: Hub, repository: str, ref: str = "HEAD") -> str:
    """The text of the one `failed` event of a launch, which is also what the store has of it."""
    events = list(hub.events(repository, ref))
    assert [event["phase"] for event in events].count("failed") == 1
    assert events[-1]["phase"] == "failed", events[-3:]
    state, log = kept(hub)
    assert state == "failed"
    assert log == "".join(event["message"] for event in events)
    return str(events[-1]["message"])


CASES = {
    "bad-runtime": ({"runtime.txt": "garbage"}, ("runtime.txt: 'garbage'", "python-3.10")),
    "bad-pins": (
        {"requirements.txt": "pandas==2.0.0\nnumpy==1.0\n"},
        ("cannot all be met", "you require numpy==1.0"),
    ),
    "bad-name": ({"requirements.txt": "rebind-no-such-package\n"}, ("rebind-no-such-package was not found",)),
    "bad-script": ({"postBuild": "echo the last line; exit 3"}, ("postBuild ended with code 3", "the last line")),
    "endless-script": ({"postBuild": "echo begun; sleep 23456"}, ("postBuild took longer than 3 seconds", "begun")),
    "dying-server": ({"start": "#!/bin/sh\necho it dies; exit 3\n"}, ("code 3", "it dies")),
    "forgetful-start": ({"start": "#!/bin/sh\necho forgot\n"}, ("code 0", "forgot")),
    "silent-server": ({"start": "#!/bin/sh\nsleep 23457\n"}, ("20 s",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_launch_that_fails(name: str, hub: Hub, publish: Publish) -> None:
    files, words = CASES[name]
    text = failed(hub, publish(name, files))
    assert all(word in text for word in words), text
    assert not processes("sleep 2345[67]")
    with sqlite3.connect(hub.data / "rebind.db") as connection:
        left = connection.execute("SELECT id FROM sessions WHERE state IN ('starting', 'running')").fetchall()
    real = {path.parent.name for path in (hub.data / "run" / "sessions").glob("*/session.json")}
    assert {row[0] for row in left} == real


def test_a_repository_or_ref_that_is_not_there(hub: Hub, repository: str, git_url: str) -> None:
    for wrong, ref in ((f"{git_url}/nothing", "HEAD"), (repository, "v9"), (repository, "master")):
        text = failed(hub, wrong, ref)
        assert "Could not resolve ref" in text
    assert "'main'" in text or "main" in text


def test_the_next_launch_works_and_sessions_go_on(hub: Hub, repository: str, publish: Publish) -> None:
    running = hub.launch(repository)
    failed(hub, publish("bad-again", {"postBuild": "exit 1"}))
    assert execute(running["url"], running["token"], "print(6 * 7)").strip() == "42"
    again = hub.launch(repository)
    assert ask(again["url"] + "api/status", again["token"])[0] == 200


def test_a_start_without_interpreter_line(hub: Hub, publish: Publish) -> None:
    ready = hub.launch(publish("plain-start", {"start": 'export FROM_START=seen\nexec "$@"\n'}))
    code = "import os; print(os.environ['FROM_START'])"
    assert execute(ready["url"], ready["token"], code).strip() == "seen"


def test_everything_in_use_outlives_clean(hub: Hub, repository: str, tmp_path: Path) -> None:
    running = hub.launch(repository)
    done = rebind("clean", "--all", data=hub.data)
    assert (done.returncode, done.stdout.split()[0]) == (0, "freed"), done.stderr
    code = "import six, json, ipywidgets; print(six.__name__)"
    assert execute(running["url"], running["token"], code).strip() == "six"
    assert ask(running["url"] + "lab", running["token"])[0] == 200
    again = hub.launch(repository)
    assert execute(again["url"], again["token"], "import six; print(6 * 7)").strip() == "42"


def test_a_hub_that_is_stopped_while_a_script_is_silent(data: Path, hub: Hub, publish: Publish) -> None:
    """It does not wait for the script; the next hub goes on with the launch. Last: it stops this module's hub."""
    slow = publish("silent", {"postBuild": "echo begun; sleep 2; touch made"})
    for event in hub.events(slow):
        if "begun" in event["message"]:
            break
    hub.stop()
    assert not processes("sleep 2$")
    assert kept(hub)[0] == "running"
    hub.start()
    wait_until(lambda: kept(hub)[0] == "ready", 60, "the launch that was begun before")
