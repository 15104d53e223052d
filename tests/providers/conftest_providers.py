"""Repositories, reports and checkouts as the tests of the providers use them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from rebind.values import Event

ENVIRONMENT = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file",
}


class Repository:
    """A work tree with short ways to do what tests do."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", *options)

    def git(self, *arguments: str, date: str = "2019-05-06T07:08:09Z", text: str = "") -> str:
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            env={**os.environ, **ENVIRONMENT, **dates},
            input=text,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str], message: str = "files", date: str = "2019-05-06T07:08:09Z") -> str:
        for path, text in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message, date=date)
        return self.git("rev-parse", "HEAD")

    def grow(self, count: int) -> list[str]:
        """Many commits at once; gives their ids, the oldest first."""
        old = self.git("rev-list", "--reverse", "HEAD").split() if self.git("branch", "--list", "main") else []
        lines = []
        for number in range(count):
            body = f"content {len(old) + number}\n"
            lines.append("commit refs/heads/main\ncommitter Ada <ada@example.org> 1557126489 +0000\ndata 1\nc\n")
            if number == 0 and old:
                lines.append(f"from {old[-1]}\n")
            lines.append(f"M 100644 inline f{number % 7}.txt\ndata {len(body)}\n{body}\n")
        self.git("fast-import", "--quiet", "--force", text="".join(lines))
        self.git("reset", "-q", "--hard", "main")
        return self.git("rev-list", "--reverse", "HEAD").split()

    @property
    def url(self) -> str:
        return f"file://{self.root}"


class Lines(list[str]):
    """A report that keeps what it is told."""

    def __call__(self, event: Event) -> None:
        self.append(event.message)

    @property
    def text(self) -> str:
        return "".join(self)


def in_checkout(into: Path, *arguments: str, check: bool = True) -> str:
    """git inside a checkout, as a session without a network has it."""
    environment = {**os.environ, **ENVIRONMENT, "GIT_ALLOW_PROTOCOL": "none", "HOME": str(into.parent)}
    done = subprocess.run(
        ["git", "-C", str(into), *arguments], env=environment, check=check, capture_output=True, text=True
    )
    return done.stdout.strip()
