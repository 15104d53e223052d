"""What every test needs: a clean environment and small real repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MakeRepository = Callable[..., Path]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine, and no git or pip configuration of it, decides a test."""
    for name in list(os.environ):
        if name.startswith(("REBIND_", "GIT_CONFIG", "GIT_DIR", "GIT_WORK")):
            monkeypatch.delenv(name)


def git(path: Path, *arguments: str, date: str = "2024-03-01T12:00:00Z") -> str:
    """Runs git in `path` with a fixed author and date; gives its output."""
    environment = {
        **os.environ,
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    command = ["git", "-C", str(path), "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def make_repository(tmp_path: Path) -> MakeRepository:
    """A function that makes a git repository out of {path: text} and gives its folder."""

    def make(files: dict[str, str | bytes], name: str = "repository", date: str = "2024-03-01T12:00:00Z") -> Path:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        if not (root / ".git").exists():
            git(root, "init", "-q", "-b", "main")
        for path, text in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text if isinstance(text, bytes) else text.encode())
        git(root, "add", "-A")
        git(root, "commit", "-q", "--allow-empty", "-m", "files", date=date)
        return root

    return make
