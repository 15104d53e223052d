"""A hub, a browser and repositories behind a real git server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser.chromium import Lab, chromium
from tests.conftest import git
from tests.whole.conftest import data, git_url, hub, served

__all__ = ["browser", "data", "git_url", "hub", "repository", "served", "window"]


@pytest.fixture(scope="module")
def window() -> Iterator[Lab]:
    if not shutil.which("chromedriver") or not shutil.which("chromium"):
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    with chromium() as lab:
        yield lab


@pytest.fixture
def browser(window: Lab) -> Lab:
    """The window, without what an earlier test left."""
    window.forget()
    return window


def notebook(*cells: str) -> str:
    """The text of a notebook."""
    made = [
        {"cell_type": "code", "id": f"cell-{number}", "execution_count": None, "metadata": {}, "outputs": [],
         "source": source}
        for number, source in enumerate(cells)
    ]  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def put(served: Path, name: str, files: dict[str, str], date: str = "2024-03-01T12:00:00Z") -> None:
    """A repository of these files, of this date, below the git server's folder."""
    root = served / name
    shutil.rmtree(root, ignore_errors=True)  # of an attempt before
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "files", date=date)


PICTURE = """\
import struct, zlib
from IPython.display import Image
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = b"".join(b"\\0" + bytes([x * 4, y * 4, 128] * 1)[:3] * 64 for y in range(64) for x in [y])
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">2I5B", 64, 64, 8, 2, 0, 0, 0))
Image(png + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))"""
SLIDER = """\
import ipywidgets
slider = ipywidgets.IntSlider(value=3, description="size")
def write(change):
    open("moved.txt", "w").write(str(change["new"]))
slider.observe(write, "value")
slider"""
CELLS = ("import six\nprint(six.moves.range(6)[-1] + 37, 6 * 7)", PICTURE, SLIDER)
UNUSUAL = "Übung 1/zwei Blätter & mehr.ipynb"


@pytest.fixture(scope="session")
def repository(served: Path, git_url: str) -> str:
    """A repository with notebooks; gives its URL."""
    files = {"requirements.txt": "six\n", "index.ipynb": notebook(*CELLS), UNUSUAL: notebook("print('grün', 6 * 7)")}
    put(served, "lab", files)
    return f"{git_url}/lab"
