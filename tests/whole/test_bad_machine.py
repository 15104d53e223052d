"""A machine that does not do its part: a full disk, no network, a directory that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import MakeRepository
from tests.whole.conftest import SMALL
from tests.whole.programs import REBIND, environment, rebind

pytestmark = [pytest.mark.session, pytest.mark.network]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, or leaves the network, as root")
Mount = Callable[[str], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Mount]:
    """A function that mounts a file system of a size, or gives the one that is mounted another size."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o755)

    def mount(options: str) -> Path:
        remount = "remount," if os.path.ismount(place) else ""
        subprocess.run(["mount", "-t", "tmpfs", "-o", remount + options, "tmpfs", str(place)], check=True)
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], check=False)


def last_event(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@as_root
@pytest.mark.parametrize("size", ["256k", "4M", "25M"], ids=["at once", "while locking", "while building"])
def test_a_full_disk(size: str, small_disk: Mount, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    disk = small_disk(f"size={size}")
    for command in (("build",), ("launch", "--no-open")):
        done = rebind(*command, path, "--json", data=disk)
        event = last_event(done)
        assert (done.returncode, event["phase"]) == (1, "failed"), event
        assert "No space left" in event["message"], event
        assert "rebind clean" in event["message"]
    if size == "25M":
        small_disk("size=2G")
        assert rebind("build", path, data=disk).returncode == 0


@as_root
def test_a_data_directory_on_a_read_only_disk(small_disk: Mount, make_repository: MakeRepository) -> None:
    small_disk("size=1M")
    disk = small_disk("ro")
    event = last_event(rebind("plan", make_repository(SMALL), "--json", data=disk))
    assert f"{disk} cannot be used: Read-only file system" in event["message"]
    assert "--data" in event["message"]


@pytest.mark.parametrize("command", ["plan", "build", "run", "launch", "serve"])
def test_a_data_directory_that_cannot_be(command: str, make_repository: MakeRepository) -> None:
    rest = {"run": ["--", "true"], "launch": ["--no-open"]}.get(command, [])
    address = [] if command == "serve" else [make_repository(SMALL)]
    done = rebind(command, *address, "--json", *rest, data=Path("/dev/null/data"))
    event = last_event(done)
    assert (done.returncode, event["phase"]) == (1, "failed")
    assert "/dev/null/data cannot be used: Not a directory" in event["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_data_directory_of_somebody_else(make_repository: MakeRepository) -> None:
    event = last_event(rebind("plan", make_repository(SMALL), "--json", data=Path("/var/lib/rebind-test")))
    assert "cannot be used: Permission denied" in event["message"]


LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as probe:
    fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 0x1))  # SIOCSIFFLAGS, IFF_UP
os.execvp(sys.argv[1], sys.argv[1:])
"""


def without_network(*arguments: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command where there is no network but loopback: as with the cable pulled."""
    command = ["unshare", "-n", sys.executable, "-c", LOOPBACK, *REBIND, *map(str, arguments)]
    return subprocess.run(command, env=environment(data=str(data)), capture_output=True, text=True, timeout=100)


@as_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux")
def test_a_network_that_is_away(data: Path, tmp_path: Path, make_repository: MakeRepository) -> None:
    path = make_repository(SMALL)
    assert rebind("build", path, data=data).returncode == 0
    # What was built before needs no network.
    done = without_network("run", path, "--", "python", "-c", "import six; print(6 * 7)", data=data)
    assert (done.returncode, done.stdout.strip()) == (0, "42"), done.stderr
    # A changed notebook neither.
    make_repository({"notebook.ipynb": "{}"})
    assert without_network("build", path, data=data).returncode == 0
    # Packages that nobody has asked for yet: from the index's cache if it has them, else a clear word.
    new = make_repository({"requirements.txt": "flit-scm\n"}, "new")
    done = without_network("build", new, "--json", data=data)
    event = last_event(done)
    assert (done.returncode, event["phase"]) == (1, "failed")
    assert "index does not answer" in event["message"]
    assert "network" in event["message"]
    # The first use of all.
    done = without_network("build", path, "--json", data=tmp_path / "fresh")
    assert "index does not answer" in last_event(done)["message"]


@as_root
@pytest.mark.parametrize("address", ["https://github.com/binder-examples/requirements", "git://example.org/lab"])
def test_a_repository_without_a_network(address: str, data: Path) -> None:
    done = without_network("build", address, "--json", data=data)
    event = last_event(done)
    assert (done.returncode, event["phase"]) == (1, "failed")
    assert address in event["message"]
    assert "network" in event["message"] or "Try again" in event["message"]
