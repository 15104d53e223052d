from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rebind.engines.process.place import Place, places
from rebind.errors import SessionError
from rebind.values import Session


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "a/b", "/etc", "a\0b", ".new-x", "-rf", "failed", "a" * 101, "é"]
)
def test_an_id_is_never_a_path(tmp_path: Path, id: str) -> None:
    with pytest.raises(SessionError):
        Place(tmp_path, id)


def test_one_id_is_one_folder(tmp_path: Path) -> None:
    with Place(tmp_path, "a") as place:
        place.make()
        with Place(tmp_path, "a") as other, pytest.raises(SessionError, match="already"):
            other.make()
        assert not place.abandoned()
    assert place.abandoned()
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_of_many_makers_at_once_one_wins(tmp_path: Path) -> None:
    def make(_: int) -> bool:
        place = Place(tmp_path, "a")
        try:
            place.make()
        except SessionError:
            place.close()
            return False
        return True  # the winner goes on holding it

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(8))) == [False] * 7 + [True]
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_session_that_holds_the_lock_is_not_abandoned(tmp_path: Path) -> None:
    with Place(tmp_path, "a") as place:
        place.make()
        copy = os.dup(place.lock)
    assert not place.abandoned()
    os.close(copy)
    assert place.abandoned()


def test_the_record_comes_back_as_it_was(tmp_path: Path) -> None:
    place = Place(tmp_path, "a")
    place.make()
    session = Session("a", "ada-lab", "process", place.socket_path, 42, 4711)
    assert place.read() is None
    place.write(session)
    assert place.read() == session
    (place.folder / "session.json").write_text('{"id": "a"')
    assert place.read() is None
    place.close()


def test_sockets_of_long_paths_are_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep = tmp_path / ("x" * 90)
    with Place(deep, "a") as place:
        place.make()
        path = place.socket_path
        assert len(os.fsencode(path)) < 100 or len(os.fsencode(tmp_path)) > 40
        assert path.parent == tmp_path / f"rebind-{os.getuid()}"
        assert path != Place(deep, "b").socket_path


def test_a_folder_of_somebody_else_is_not_used_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"rebind-{os.getuid()}").symlink_to("theirs")
    with pytest.raises(SessionError, match="somebody else"):
        _ = Place(tmp_path / ("x" * 90), "a").socket_path
    (tmp_path / f"rebind-{os.getuid()}").unlink()
    (tmp_path / f"rebind-{os.getuid()}").mkdir()
    (tmp_path / f"rebind-{os.getuid()}").chmod(0o777)
    with pytest.raises(SessionError, match="somebody else"):
        _ = Place(tmp_path / ("x" * 90), "a").socket_path


def test_removing_keeps_the_log_on_request_and_only_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebind.engines.process.place._KEPT", 3)
    for number in range(5):
        with Place(tmp_path, f"a{number}") as place:
            place.make()
            os.write(place.log, f"said {number}\n".encode())
            os.utime(place.folder / "log", (number, number))
            assert place.last_lines() == f"said {number}"
        place.remove(keep_log=True)
    assert sorted(path.name for path in (tmp_path / "failed").iterdir()) == ["a2.log", "a3.log", "a4.log"]
    assert list(places(tmp_path)) == []


def test_drafts_are_nobodys_sessions_and_old_free_ones_go(tmp_path: Path) -> None:
    old, held, young = (tmp_path / f".new-{name}" for name in ("old", "held", "young"))
    for draft in (old, held, young):
        draft.mkdir()
        (draft / "lock").touch()
    with open(held / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for draft in (old, held):
            os.utime(draft, (0, 0))
        assert list(places(tmp_path)) == []
    assert {path.name for path in tmp_path.iterdir()} == {".new-held", ".new-young"}


def test_only_its_maker_may_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Place(tmp_path / "s", "a") as place:
        place.make()
        with place.listen():
            assert place.socket_path.stat().st_mode & 0o777 == 0o600
            assert place.folder.stat().st_mode & 0o777 == 0o700
            assert place.directory.stat().st_mode & 0o777 == 0o700
