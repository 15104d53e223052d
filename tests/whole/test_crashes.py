"""`kill -9` of the hub at every stage: what runs goes on, what was begun is not forgotten, no orphan stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import git
from tests.whole.conftest import processes
from tests.whole.programs import Hub, ask, execute, wait_until

pytestmark = [pytest.mark.session, pytest.mark.network]


@pytest.fixture
def hub(data: Path) -> Iterator[Hub]:
    hub = Hub(data).start()
    yield hub
    hub.stop()


@pytest.fixture
def slow(served: Path, git_url: str, request: pytest.FixtureRequest) -> str:
    """A repository whose postBuild takes a few seconds; another one for every test."""
    root = served / f"slow-{abs(hash(request.node.name))}"
    shutil.rmtree(root, ignore_errors=True)  # of an attempt before
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "requirements.txt").write_text("six\n")
    (root / "postBuild").write_text(f"#!/bin/sh\necho begun {root.name}\nsleep 4\ntouch made\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "files")
    return f"{git_url}/{root.name}"


def follow(hub: Hub, repository: str, until: str) -> list[dict[str, Any]]:
    """Events up to one whose message holds a text."""
    seen = []
    for event in hub.events(repository):
        seen.append(event)
        if until in event["message"]:
            return seen
    raise AssertionError(f"{until!r} was never said: {seen[-5:]}")


def launches(hub: Hub) -> list[tuple[str, str]]:
    import sqlite3

    with sqlite3.connect(hub.data / "rebind.db") as connection:
        return connection.execute("SELECT id, state FROM launches ORDER BY created").fetchall()


def state(hub: Hub, id: str) -> str:
    return dict(launches(hub))[id]


def test_killed_while_sessions_run(hub: Hub, repository: str, data: Path) -> None:
    ready = hub.launch(repository)
    url, token = ready["url"], ready["token"]
    assert (
        ask(url + "api/contents/note.txt", token, "PUT", {"type": "file", "format": "text", "content": "x"})[0] == 201
    )
    hub.kill()
    assert ask(url + "api/status", token)[0] == 200  # the proxy and the session go on without a hub
    assert execute(url, token, "print(6 * 7)").strip() == "42"
    status, _ = ask(hub.url + "/")
    assert status == 503
    before = hub.url
    hub.start()
    assert hub.url == before
    assert hub.announced["adopted"]
    assert ask(url + "api/contents/note.txt", token)[0] == 200
    fetch = "import urllib.request as r; print(r.urlopen('https://pypi.org/simple/six/').status)"
    assert execute(url, token, fetch).strip() == "200"  # its way out leads through the new hub
    assert hub.launch(repository)["url"] != url


def test_killed_during_a_build_the_launch_goes_on(hub: Hub, slow: str) -> None:
    follow(hub, slow, "begun")
    id = launches(hub)[-1][0]
    hub.kill()
    wait_until(lambda: not processes("sleep 4$"), what="the end of the build's processes")
    assert state(hub, id) == "running"
    hub.start()
    wait_until(lambda: state(hub, id) == "ready", 60, "the launch that was begun before")
    with __import__("sqlite3").connect(hub.data / "rebind.db") as connection:
        extra = connection.execute("SELECT extra FROM events WHERE launch = ? AND phase = 'ready'", (id,)).fetchone()[0]
    url = dict(json.loads(extra))["url"]
    assert ask(url + "api")[0] == 200
    ready = hub.launch(slow)
    assert ask(ready["url"] + "api/contents/made", ready["token"])[0] == 200


@pytest.mark.parametrize("after", ["Built image", "Launching server", "Starting the session"])
def test_killed_while_a_session_starts(hub: Hub, repository: str, after: str) -> None:
    hub.launch(repository)
    follow(hub, repository, after)
    id = launches(hub)[-1][0]
    hub.kill()
    hub.start()
    wait_until(lambda: state(hub, id) in ("ready", "failed"), 60, "the end of the launch")
    assert state(hub, id) == "ready"
    with __import__("sqlite3").connect(hub.data / "rebind.db") as connection:
        rows = connection.execute("SELECT id FROM sessions WHERE state = 'running'").fetchall()
    real = {path.parent.name for path in (hub.data / "run" / "sessions").glob("*/session.json")}
    assert {row[0] for row in rows} == real


def test_an_asked_stop_ends_everything(hub: Hub, repository: str, data: Path) -> None:
    ready = hub.launch(repository)
    hub.stop()
    assert not processes(str(data))
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the kernel likes
        ask(ready["url"] + "api")


def test_a_second_hub_on_the_same_directory_is_refused(hub: Hub, data: Path) -> None:
    from tests.whole.programs import rebind

    done = rebind("serve", "--port", "0", data=data, timeout=30)
    assert done.returncode == 1
    assert "Another hub" in done.stderr
