"""One data directory for all tests of the whole program, so that the notebook server is installed once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import git
from tests.whole.programs import Hub

from rebind.sandbox import capabilities


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not capabilities().isolation:
        pytest.skip("this machine does not allow user namespaces: " + " ".join(capabilities().statements()))
    kept = os.environ.get("TEST_DATA")
    path = Path(kept) if kept else tmp_path_factory.mktemp("whole")
    path.mkdir(parents=True, exist_ok=True)
    return path


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


@pytest.fixture(scope="session")
def repository(served: Path, git_url: str) -> str:
    """A small repository behind a real git server; gives its URL."""
    root = served / "small"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for name, text in SMALL.items():
        (root / name).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "files")
    return f"{git_url}/small"


def processes(text: str) -> list[str]:
    """Command lines of living processes that hold a text."""
    found = subprocess.run(["pgrep", "-af", text], capture_output=True, text=True).stdout.splitlines()
    return [line for line in found if "pgrep" not in line]
