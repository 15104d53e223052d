"""A hub for strangers (without allow_private_addresses) fetches nothing of its own machine or network."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import git
from tests.whole.conftest import Publish
from tests.whole.programs import Hub, rebind

pytestmark = [pytest.mark.session, pytest.mark.network]


class Trap:
    """Listens on all addresses of this machine and counts who comes."""

    def __init__(self) -> None:
        self.visitors: list[str] = []
        self.listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self.listening.accept()
            except OSError:
                return
            self.visitors.append(str(address))
            connection.close()

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture(scope="module")
def hub(data: Path, trap: Trap) -> Iterator[Hub]:
    """Its policy would let the trap's port be reached, so that nothing but the address is in the way."""
    hub = Hub(data, allow_private_addresses="false", egress_ports=f"80,443,22,9418,{trap.port}").start()
    yield hub
    hub.stop()


def refused(hub: Hub, repository: str) -> str:
    events = list(hub.events(repository))
    assert events[-1]["phase"] == "failed", events
    assert not any(event["phase"] == "building" for event in events)
    return str(events[-1]["message"])


WORDS = (
    "may not be fetched from here",
    "is not the address of a repository",
    "does not answer",
    "could not be fetched",
    "cannot be fetched",
)
HOSTS = (
    "127.0.0.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "2130706433",
    "0x7f000001", "0177.0.0.1", "127.0.0.1.", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "127%2e0%2e0%2e1",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["git", "http", "https", "ssh"])
def test_loopback_in_every_spelling(scheme: str, host: str, hub: Hub, trap: Trap) -> None:
    user = "git@" if scheme == "ssh" else ""
    text = refused(hub, f"{scheme}://{user}{host}:{trap.port}/ada/lab")
    assert any(words in text for words in WORDS), text
    assert not trap.visitors


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "[fd00::1]", "100.64.0.1"]
)
def test_private_addresses(host: str, hub: Hub) -> None:
    assert "may not be fetched from here" in refused(hub, f"http://{host}/latest/meta-data")


def test_a_name_that_leads_to_a_private_address(hub: Hub, trap: Trap) -> None:
    name = socket.gethostname()
    try:
        found = {ipaddress.ip_address(each[4][0]) for each in socket.getaddrinfo(name, None)}
    except OSError:
        pytest.skip("this machine's own name leads nowhere")
    if not all(address.is_private for address in found):
        pytest.skip("this machine's own name leads to a public address")
    assert "may not be fetched from here" in refused(hub, f"http://{name}:{trap.port}/ada/lab")
    assert not trap.visitors


@pytest.mark.parametrize(
    "spelling", ["{path}", "file://{path}", "file://localhost{path}", "FILE://{path}", "/proc/self/cwd", "~/.."]
)
def test_files_of_this_machine(spelling: str, hub: Hub, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "lab")
    git(tmp_path / "lab", "commit", "-q", "--allow-empty", "-m", "x")
    text = refused(hub, spelling.format(path=tmp_path / "lab"))
    assert any(words in text for words in ("may not be read here", "another machine", "not the address")), text


@pytest.mark.parametrize(
    "url", ["ext::sh -c id", "fd::17", "--upload-pack=id", "ssh://-oProxyCommand=id/x", "git@-oProxyCommand=id:x"]
)
def test_commands_in_place_of_an_address(url: str, hub: Hub) -> None:
    refused(hub, url)


def test_a_person_at_the_keyboard_may(data: Path, publish: Publish) -> None:
    """The same address is nobody's danger on the command line."""
    done = rebind("plan", publish("for-a-person", {}), "--json", data=data)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit"]


def test_nobody_came(trap: Trap) -> None:
    assert not trap.visitors
    with socket.create_connection(("127.0.0.1", trap.port)):
        pass  # and it would have been seen
