"""The proxy as a process: started, outliving its starter, found again, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_routes import Database

from rebind.errors import SettingsError
from rebind.routes.process import ProxyProcess

Make = Callable[..., ProxyProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made = []
    Database(tmp_path / "rebind.db").connection.close()

    def make(port: int = 0, **options: object) -> ProxyProcess:
        process = ProxyProcess(
            "127.0.0.1", port, tmp_path / "rebind.db", tmp_path / "hub.sock", tmp_path / "run", **options
        )
        made.append(process)
        return process

    yield make
    for process in made:
        process.stop()


def code(url: str) -> int:
    try:
        return int(urllib.request.urlopen(url, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_starts_serves_and_stops(make: Make) -> None:
    process = make()
    assert process.start() is False
    assert process.alive
    assert code(process.url + "/user/x/") == 424
    assert code(process.url + "/") == 503
    url = process.url
    process.stop()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_making_one_does_nothing(make: Make, tmp_path: Path) -> None:
    make()
    assert not (tmp_path / "run").exists()


def test_the_next_hub_takes_it_over(make: Make) -> None:
    first = make()
    first.start()
    second = make(port=int(first.url.rpartition(":")[2]))
    assert second.start() is True
    assert second.url == first.url
    second.stop()
    assert not first.alive


def test_outlives_a_starter_that_is_killed(make: Make, tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; from rebind.routes.process import ProxyProcess\n"
        f"d = Path({str(tmp_path)!r}); p = ProxyProcess('127.0.0.1', 0, d / 'rebind.db', d / 'hub.sock', d / 'run')\n"
        "p.start(); print(p.url, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    url = starter.stdout.readline().strip()
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert code(url + "/user/x/") == 424
    process = make()
    assert process.start() is True
    assert process.url == url


def test_a_proxy_with_other_settings_is_replaced(make: Make) -> None:
    first = make()
    first.start()
    second = make(upload_limit=5)
    assert second.start() is False
    assert not first.alive
    assert second.alive


def test_a_reused_pid_is_not_taken_for_the_proxy(make: Make, tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    time.sleep(0.05)  # start times are told apart by hundredths of a second
    try:
        first = make()
        first.start()
        record = tmp_path / "run" / "proxy.json"
        text = record.read_text()
        pid = text.partition('"pid": ')[2].partition(",")[0]
        record.write_text(text.replace(f'"pid": {pid}', f'"pid": {bystander.pid}'))
        second = make()
        assert second.start() is False
        second.stop()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "options": 3}'])
def test_a_broken_record_is_no_record(make: Make, tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "proxy.json").write_text(text)
    process = make()
    assert process.start() is False


def test_a_taken_port_is_said(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SettingsError, match=r"Cannot listen on 127\.0\.0\.1 port") as caught:
            make(port=taken.getsockname()[1]).start()
        assert "--port" in caught.value.remedy


def test_a_proxy_that_died_is_noticed_and_started_again(make: Make, tmp_path: Path) -> None:
    process = make()
    process.start()
    pid = int((tmp_path / "run" / "proxy.json").read_text().partition('"pid": ')[2].partition(",")[0])
    os.kill(pid, signal.SIGKILL)
    while process.alive:
        time.sleep(0.01)
    again = make(port=int(process.url.rpartition(":")[2]))
    assert again.start() is False
    assert again.url == process.url
