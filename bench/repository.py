"""Small git repositories for the benchmarks."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

SCIENTIFIC = ("numpy", "pandas", "matplotlib")
ONE_MORE = "toolz"
PYTHON = "3.11"
"""Debian bookworm's, so that both sides install the same wheels."""

_IDENTITY = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false")


def _git(folder: Path, *argv: str) -> str:
    done = subprocess.run(["git", *_IDENTITY, *argv], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def notebook(text: str) -> str:
    """A notebook of one cell."""
    cell: dict[str, object] = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": text,
        "id": "a",
    }
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def files(requirements: tuple[str, ...]) -> dict[str, str]:
    """A repository of our kind: requirements, the Python that is wanted, a notebook."""
    return {
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
        "runtime.txt": f"python-{PYTHON}\n",
        "index.ipynb": notebook("6 * 7"),
    }


def make(folder: Path, content: Mapping[str, str]) -> str:
    """A new repository at `folder` (replaced if it is there) with one commit; gives the commit's id."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main")
    return commit(folder, content)


def commit(folder: Path, content: Mapping[str, str]) -> str:
    """Writes the files and commits them; gives the commit's id."""
    for name, text in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "change")
    return _git(folder, "rev-parse", "HEAD")
