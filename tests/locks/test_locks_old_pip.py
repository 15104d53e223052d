"""What strangers' build code may leave for the reader of an old pip's downloads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rebind.errors import LockError
from rebind.locks.old_pip import _left, _projects
from rebind.locks.workplace import read_untrusted


def test_plain_files_are_taken(tmp_path: Path) -> None:
    (tmp_path / "a-1.0.tar.gz").write_text("x")
    assert list(_left(tmp_path)) == [tmp_path / "a-1.0.tar.gz"]


def test_links_folders_and_other_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(LockError):
        list(_left(tmp_path / "link"))
    for number, make in enumerate(
        (
            lambda path: (path / "a-1.0.tar.gz").symlink_to("/etc/passwd"),
            lambda path: (path / "a-1.0.tar.gz").mkdir(),
            lambda path: os.mkfifo(path / "a-1.0.tar.gz"),
            lambda path: (path / "a-1.0.sh").write_text(""),
            lambda path: (path / "a\n-1.0.tar.gz").write_text(""),
            lambda path: (path / ".hidden-1.0.tar.gz").write_text(""),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder)
        with pytest.raises(LockError):
            list(_left(folder))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), Path.mkdir, Path.touch])
def test_an_answer_that_is_no_plain_file_is_refused(tmp_path: Path, make: object) -> None:
    make(tmp_path / "pylock.toml")  # type: ignore[operator]
    with pytest.raises(LockError):
        read_untrusted(tmp_path / "pylock.toml")


def test_names_that_a_file_may_be_of() -> None:
    assert list(_projects("functools32-3.2.3-2.tar.gz")) == ["functools32", "functools32-3-2-3"]
    assert list(_projects("a_b-1.0-py3-none-any.whl")) == ["a-b"]
    assert list(_projects("plain.tar.gz")) == []
