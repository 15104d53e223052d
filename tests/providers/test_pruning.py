from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from rebind.providers.pruning import prune

OLD = 10 * 86400.0


def cache(root: Path, name: str, age: float = OLD) -> Path:
    path = root / name
    (path / "full").mkdir(parents=True)
    (path / "full" / "pack").write_bytes(b"x" * 100_000)
    (path / "lock").touch()
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_old_ones_go_and_the_used_stay(tmp_path: Path) -> None:
    root = tmp_path / "git"
    old, new, other = cache(root, "a-1"), cache(root, "b-2", 60), root / "home-files"
    other.mkdir()
    os.utime(other, (0, 0))
    before = time.time() - 86400
    assert prune(root, before, dry_run=True) == (prune(root, before, dry_run=True)[0], ("git/a-1",))
    assert old.exists()
    freed, names = prune(root, before)
    assert freed >= 100_000
    assert names == ("git/a-1",)
    assert not old.exists()
    assert new.exists()
    assert other.exists()
    assert not list(root.glob("gone*"))


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    held = cache(tmp_path / "git", "a-1")
    with open(held / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert prune(tmp_path / "git", time.time()) == (0, ())
    assert prune(tmp_path / "git", time.time())[1] == ("git/a-1",)


def test_nothing_there(tmp_path: Path) -> None:
    assert prune(tmp_path / "git", time.time()) == (0, ())


def test_a_link_in_place_of_a_cache_leads_nowhere(tmp_path: Path) -> None:
    precious = cache(tmp_path / "elsewhere", "x-1")
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "a-1").symlink_to(precious)
    prune(tmp_path / "git", time.time())
    assert (precious / "full" / "pack").exists()
