"""Entries are whole or absent, made once, and stay while they are used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tiny import Lines

from rebind.builds.cleaning import clean
from rebind.builds.store import Store
from rebind.errors import BuildError

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.start()
    return made


def make(store: Store, kind: str = "downloads", digest: str = ONE, text: str = "x") -> Path:
    with store.making(kind, digest) as making:
        if making.found:
            return making.found
        (making.work / "file").write_text(text)
        return making.keep()


def test_nothing_happens_in_the_constructor(tmp_path: Path) -> None:
    Store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_made_once_and_then_found(store: Store) -> None:
    assert store.find("downloads", ONE) is None
    place = make(store)
    assert make(store, text="other") == place == store.find("downloads", ONE)
    assert (place / "file").read_text() == "x"


def test_what_is_not_kept_leaves_nothing(store: Store) -> None:
    with store.making("wheels", ONE) as making:
        (making.work / "file").write_text("half")
    assert store.find("wheels", ONE) is None
    assert list((store.path / "tmp").iterdir()) == []


def test_a_place_without_its_mark_is_not_whole(store: Store) -> None:
    (store.path / "downloads" / ONE).mkdir()
    assert store.find("downloads", ONE) is None
    assert make(store).is_dir()
    assert store.find("downloads", ONE)


def test_an_entry_of_another_boot_is_believed_only_if_it_was_settled(store: Store) -> None:
    make(store, digest=ONE)
    assert store.settle(older_than=-1) == (f"downloads-{ONE}",)
    make(store, digest=TWO)
    (store.path / "downloads" / TWO / "complete").write_text("another boot")
    assert store.find("downloads", ONE)
    assert store.find("downloads", TWO) is None
    assert store.settle(older_than=-1) == ()
    assert (store.path / "downloads" / ONE / "complete").read_text() == "settled"


def test_what_was_just_made_is_not_forced_to_the_disk(store: Store) -> None:
    make(store)
    assert store.settle() == ()
    assert list((store.path / "unsettled").iterdir())


@pytest.mark.parametrize("digest", ["../x", "/etc", "", "1" * 15, "x" * 64, f"{ONE}/..", f"{ONE}\n", "1" * 200])
def test_attack_by_digest(store: Store, digest: str) -> None:
    for use in (store.place, store.find, store.hold):
        with pytest.raises(BuildError):
            use("wheels", digest)
    with pytest.raises(BuildError):
        store.find("../wheels", ONE)


def test_threads_make_an_entry_once(store: Store) -> None:
    made = []

    def work() -> None:
        with store.making("layers", ONE) as making:
            if not making.found:
                made.append(1)
                time.sleep(0.05)
                making.keep()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_who_waits_long_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebind.builds.store.WAIT_UNSAID", 0.0)
    lines = Lines()
    inside, go = threading.Event(), threading.Event()

    def first() -> None:
        with store.making("layers", ONE) as making:
            inside.set()
            go.wait(10)
            making.keep()

    def second() -> None:
        with store.making("layers", ONE, lines.say) as making:
            assert making.found

    one, two = threading.Thread(target=first), threading.Thread(target=second)
    one.start()
    inside.wait(10)
    two.start()
    while not lines.lines:
        time.sleep(0.01)
    go.set()
    one.join()
    two.join()
    assert "Waiting for another build" in lines


KILLED = """
import sys, time
from pathlib import Path
from rebind.builds.store import Store
store = Store(Path(sys.argv[1]))
with store.making("wheels", "1" * 64) as making:
    (making.work / "sub").mkdir()
    (making.work / "sub/file").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_not_before(store: Store) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(store.path)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    assert store.sweep() == ()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(store.sweep()) == 1
    assert list((store.path / "tmp").iterdir()) == []
    assert make(store, "wheels").is_dir()


def test_checkouts_of_others_in_tmp_are_left_for_a_day(store: Store) -> None:
    strange = store.path / "tmp" / "checkout-abc"
    strange.mkdir()
    assert store.sweep() == ()
    os.utime(strange, (time.time() - 90_000,) * 2)
    assert store.sweep() == (strange,)


def test_sweeping_does_not_follow_links(store: Store, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    left = store.path / "tmp" / ("a" * 16)
    left.mkdir()
    (left / "link").symlink_to(precious)
    (store.path / "tmp" / ("b" * 16)).symlink_to(precious)
    store.sweep()
    assert (precious / "file").exists()
    assert not left.exists()


def test_trees_made_unreadable_are_removed_as_well(store: Store) -> None:
    left = store.path / "tmp" / ("a" * 16)
    (left / "deep" / "deeper").mkdir(parents=True)
    (left / "deep" / "deeper" / "file").touch()
    (left / "deep" / "deeper").chmod(0)
    (left / "deep").chmod(0o500)
    store.sweep()
    assert not left.exists()


def environment(store: Store, digest: str, wheels: tuple[str, ...]) -> None:
    with store.making("environments", digest) as making:
        (making.work / "wheels").write_text("".join(f"{key}\n" for key in wheels))
        making.keep()


def test_clean_removes_what_nobody_has(store: Store) -> None:
    make(store, "wheels", ONE)
    make(store, "wheels", TWO)
    make(store, "downloads", ONE)
    make(store, "layers", ONE)
    environment(store, ONE, (ONE,))
    freed, removed = clean(store, timedelta(days=1))
    assert (freed, removed) == (0, ())
    held = store.hold("environments", ONE)
    freed, removed = clean(store, None, dry_run=True)
    assert set(removed) == {f"layers/{ONE}", f"wheels/{TWO}", f"downloads/{ONE}"}
    assert freed > 0
    assert store.find("layers", ONE)
    assert clean(store, None) == (freed, removed)
    assert store.find("wheels", ONE)
    assert store.find("wheels", TWO) is None
    os.close(held)
    assert set(clean(store, None)[1]) == {f"environments/{ONE}", f"wheels/{ONE}"}
    assert [path for kind in ("environments", "wheels", "tmp", "locks") for path in (store.path / kind).iterdir()] == []


def test_clean_keeps_what_was_used_lately(store: Store) -> None:
    for digest in (ONE, TWO):
        make(store, "layers", digest)
        os.utime(store.path / "layers" / digest / "complete", (time.time() - 40 * 86400,) * 2)
    store.touch("layers", TWO)
    assert clean(store, timedelta(days=30))[1] == (f"layers/{ONE}",)


def test_clean_leaves_the_parts_of_an_environment_that_is_being_made(store: Store) -> None:
    make(store, "wheels", ONE)
    with store.in_use():
        assert clean(store, None)[1] == ()
    assert clean(store, None)[1] == (f"wheels/{ONE}",)


def test_clean_leaves_what_was_just_asked_for(store: Store) -> None:
    make(store, "environments", ONE)
    assert store.lease("environments", ONE)
    assert clean(store, None)[1] == ()
    assert store.lease("environments", TWO) is None


def test_leases_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make(store, "layers", ONE)
    store.lease("layers", ONE)
    monkeypatch.setattr("rebind.builds.store.LEASE", -1.0)
    store.lease("layers", TWO)
    assert clean(store, None)[1] == (f"layers/{ONE}",)


def test_what_was_removed_cannot_be_held(store: Store) -> None:
    make(store)
    clean(store, None)
    with pytest.raises(BuildError, match="not in the store"):
        store.hold("downloads", ONE)


def test_a_held_entry_stays_held_in_a_child(store: Store) -> None:
    make(store)
    fd = store.hold("downloads", ONE)
    child = subprocess.Popen(["sleep", "60"], pass_fds=(fd,))
    os.close(fd)
    assert clean(store, None)[1] == ()
    child.kill()
    child.wait()
    assert clean(store, None)[1] == (f"downloads/{ONE}",)


FULL = """
import sys
from pathlib import Path
from rebind.builds.store import Store, room
from rebind.errors import DiskError
store = Store(Path(sys.argv[1]) / "store")
store.start()
try:
    with store.making("wheels", "1" * 64) as making, room(store.path, 5_000_000):
        (making.work / "large").write_bytes(bytes(5_000_000))
        making.keep()
except DiskError as error:
    print(error, error.remedy)
print(store.find("wheels", "1" * 64), len(list((store.path / "tmp").iterdir())))
"""


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("needs the program unshare")
    small = tmp_path / "small"
    small.mkdir()
    command = f'mount -t tmpfs -o size=1m none {small} && exec "$0" "$@"'
    argv = ["unshare", "-Urm", "sh", "-c", command, sys.executable, "-c", FULL, str(small)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"this machine allows no user namespaces: {done.stderr}")
    assert "No space left on the disk of" in done.stdout
    assert "5 MB are needed" in done.stdout
    assert "rebind clean" in done.stdout
    assert done.stdout.splitlines()[-1] == "None 0"
