import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rebind.hub.owner import alive, born, myself
from rebind.hub.secrets import Secret, new_id, session_name
from rebind.hub.watch import Watchers


def test_this_process_is_alive_and_a_dead_one_is_not() -> None:
    assert alive(myself())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = f"{child.pid}:{born(child.pid)}"
    assert alive(owner)
    child.kill()  # a zombie until it is waited for: it does no work any more
    while born(child.pid) is not None:
        pass
    assert not alive(owner)
    child.wait()
    assert not alive(owner)


@pytest.mark.parametrize("owner", ["", ":", "x:y", "1", "{pid}:1", "-1:5", "../1:2"])
def test_odd_owners_are_dead(owner: str) -> None:
    assert not alive(owner.format(pid=os.getpid()))


def test_the_secret_is_kept_and_private(tmp_path: Path) -> None:
    secret = Secret(tmp_path / "a" / "secret")
    assert len(secret.read()) == 32
    assert secret.read() == Secret(secret.path).read()
    assert secret.path.stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["secret"]


def test_a_secret_made_by_many_at_once_is_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Secret(tmp_path / "secret").read(), range(32)))
    assert len(found) == 1


def test_tokens_differ_by_session_and_hub(tmp_path: Path) -> None:
    one, two = Secret(tmp_path / "1"), Secret(tmp_path / "2")
    tokens = {one.token("a"), one.token("b"), two.token("a")}
    assert len(tokens) == 3
    assert all(len(token) == 22 for token in tokens)
    assert one.token("a") == one.token("a")


def test_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("repository", "start"),
    [
        ("https://github.com/Ada/Lab.git", "ada-lab-"),
        ("/home/ada/My Notebooks", "ada-my-notebooks-"),
        ("https://example.org/" + "x" * 80 + "/y", "x" * 15 + "-"),
        ("https://example.org/", "session-"),
        ("https://example.org/..%2f..%2fetc/'\"<script>", "etc-script-"),
    ],
)
def test_session_names_are_plain(repository: str, start: str) -> None:
    name = session_name(repository)
    assert name.startswith(start)
    assert len(name) <= 41
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_watcher_is_woken_from_another_thread() -> None:
    watchers = Watchers()

    async def watch() -> bool:
        woken = watchers.waiter("launch")
        await asyncio.to_thread(watchers.wake, "launch")
        await asyncio.wait_for(woken.wait(), 5)
        other = watchers.waiter("other")
        watchers.forget("other", other)
        watchers.wake("other")
        return not other.is_set()

    assert asyncio.run(watch())
