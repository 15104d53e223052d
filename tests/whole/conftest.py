"""One data directory for all tests of the whole program, so that the notebook server is installed once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import git
from tests.whole.programs import Hub, shared_data

from rebind.sandbox import capabilities


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not capabilities().isolation:
        pytest.skip("this machine does not allow user namespaces: " + " ".join(capabilities().statements()))
    return shared_data(lambda: tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose repositories the git server gives out."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def git_url(served: Path) -> Iterator[str]:
    """A real git server over the git protocol; repositories are below this URL."""
    from tests.providers.git_servers import git_daemon

    with git_daemon(served) as url:
        yield url.rstrip("/")


@pytest.fixture(scope="module")
def hub(data: Path) -> Iterator[Hub]:
    hub = Hub(data).start()
    yield hub
    hub.stop()


SMALL = {"requirements.txt": "six\n", "hello.txt": "hello\n"}
Publish = Callable[[str, dict[str, str]], str]


@pytest.fixture(scope="session")
def publish(served: Path, git_url: str) -> Publish:
    """A function that puts a repository of {path: text} behind a real git server under a name; gives its URL."""

    def make(name: str, files: dict[str, str]) -> str:
        root = served / name
        shutil.rmtree(root, ignore_errors=True)  # of an attempt before
        root.mkdir()
        git(root, "init", "-q", "-b", "main")
        for path, text in files.items():
            (root / path).write_text(text)
        git(root, "add", "-A")
        git(root, "commit", "-q", "--allow-empty", "-m", "files")
        return f"{git_url}/{name}"

    return make


@pytest.fixture(scope="session")
def repository(publish: Publish) -> str:
    """A small repository behind a real git server; gives its URL."""
    return publish("small", SMALL)


def processes(text: str) -> list[str]:
    """Command lines of living processes that hold a text."""
    found = subprocess.run(["pgrep", "-af", text], capture_output=True, text=True).stdout.splitlines()
    return [line for line in found if "pgrep" not in line]
