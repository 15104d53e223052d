"""An image under podman, as people and hubs would use it. `TEST_BASE` names a base.tar, to save its making."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conftest import git
from tests.images.registries import Registry, free_port

pytestmark = [pytest.mark.peer, pytest.mark.session, pytest.mark.network, pytest.mark.timeout(1800)]

_CONTAINERS = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{room}/storage"\nrunroot = "{room}/run"\n'
_PACKAGES = "ca-certificates,git,curl,less,unzip,locales,libexpat1,libsqlite3-0,libssl3,libffi8,libreadline8"
_POST_BUILD = (
    "echo built > built.txt\nrm gone.txt\nrm -r folder\nmkdir folder\ntouch folder/new\npip uninstall -y six\n"
)
_VERIFY = """#!/usr/bin/env python
import getpass, os, sys
assert os.environ["FOO"] == "bar"
assert not os.path.exists("gone.txt")
assert os.listdir("folder") == ["new"]
assert open("built.txt").read() == "built\\n"
assert (os.getuid(), os.getgid(), getpass.getuser()) == (1000, 1000, "jovyan")
assert os.getcwd() == os.environ["HOME"] == os.environ["REPO_DIR"] == "/home/jovyan"
assert os.environ["CONDA_PREFIX"] == os.environ["NB_PYTHON_PREFIX"] == sys.prefix
assert not {os.stat(os.path.join(d, f)).st_uid for d, _, names in os.walk(".") for f in names} - {1000}
open(os.path.join(sys.prefix, "writable"), "w").close()
try:
    import six
except ImportError:
    sys.exit(42)
"""


class Podman:
    def __init__(self, room: Path) -> None:
        for program in ("podman", "runc"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")
        if os.getuid() != 0:
            pytest.skip("podman is tried as root here")
        self.room = room
        (room / "containers.conf").write_text(_CONTAINERS)
        (room / "storage.conf").write_text(_STORAGE.format(room=room))

    def __call__(self, *argv: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "CONTAINERS_CONF": str(self.room / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.room / "storage.conf"),
        }
        environ = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"} | settings
        return subprocess.run(["podman", *argv], env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    room = Path("/var/tmp") / tmp_path_factory.mktemp("podman").name  # not on an overlay or tmpfs
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    made = Podman(room)
    yield made
    made("rm", "-fa")
    made("rmi", "-fa")  # never `system reset`: it reaches beyond this storage
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("TEST_BASE"):
        return Path(os.environ["TEST_BASE"])
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    path = tmp_path_factory.mktemp("base") / "base.tar"
    subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", path], check=True)
    return path


@pytest.fixture(scope="module")
def image(podman: Podman, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    registry = Registry(tmp_path_factory.mktemp("registry")).start()
    root = tmp_path_factory.mktemp("repository")
    git(root, "init", "-q", "-b", "main")
    files = {
        "requirements.txt": "six\n",
        "postBuild": _POST_BUILD,
        "start": '#!/bin/bash\nexport FOO=bar\nexec "$@"\n',
        "gone.txt": "",
        "folder/old": "",
        "verify": _VERIFY,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "verify").chmod(0o755)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "files")
    data = os.environ.get("TEST_DATA") or str(tmp_path_factory.mktemp("data"))
    name = f"{registry.host}/test/one:1"
    argv = [sys.executable, "-m", "rebind", "build", str(root), "--data", data, "--base", f"tar:{base}"]
    subprocess.run([*argv, "--image", name, "--push"], check=True)
    pulled = podman("pull", "-q", "--tls-verify=false", name)
    assert pulled.returncode == 0, pulled.stderr
    yield name
    registry.kill()


def test_a_command_runs_through_the_entry_point(podman: Podman, image: str) -> None:
    done = podman("run", "--rm", image, "./verify")
    assert done.returncode == 42, done.stderr


def test_the_default_command_serves(podman: Podman, image: str) -> None:
    port = free_port()
    started = podman("run", "-d", "-e", f"JUPYTER_PORT={port}", "-e", "JUPYTER_TOKEN=t", image)
    container = started.stdout.strip()
    try:
        for _ in range(240):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api").close()
                break
            time.sleep(0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api") as answer:
            assert "version" in json.load(answer)
        for path in ("lab", "tree", "api/kernelspecs"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}?token=t") as answer:
                assert answer.status == 200
    finally:
        podman("rm", "-f", container)


def test_the_programs_of_the_contract_are_on_the_path(podman: Podman, image: str) -> None:
    programs = "jupyter jupyter-lab jupyter-notebook jupyterhub-singleuser pip python git"
    done = podman("run", "--rm", image, "sh", "-c", f"for p in {programs}; do command -v $p || exit 1; done")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_left_over_is_small(podman: Podman, image: str) -> None:
    done = podman("run", "--rm", "-u", "root", "--entrypoint", "du", image, "-s", "-m", "/tmp", "/home", "/root")
    assert all(int(line.split()[0]) <= 1 for line in done.stdout.splitlines()), done.stdout


def test_labels_and_user_are_those_of_the_contract(podman: Podman, image: str) -> None:
    (found,) = json.loads(podman("image", "inspect", image).stdout)
    assert found["Config"]["User"] == "jovyan"
    assert found["Config"]["Labels"]["repo2docker.repo"] == "local"
