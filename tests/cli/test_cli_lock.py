from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rebind.cli.lock import FILE, _write
from rebind.errors import SettingsError


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("old")
    _write(tmp_path, "new")
    assert (tmp_path / FILE).read_text() == "new"
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("old")
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / FILE).symlink_to(tmp_path / "precious")
    _write(folder, "new")
    assert (tmp_path / "precious").read_text() == "old"
    assert not (folder / FILE).is_symlink()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not there"):
        _write(tmp_path / "absent", "new")
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsError, match="cannot be written"):
        _write(tmp_path, "new")
