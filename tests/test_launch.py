from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from rebind import launch
from rebind.errors import AddressError
from rebind.launch import moment
from rebind.plugins import Installation
from rebind.providers.git import GitProvider
from rebind.providers.local import LocalProvider
from rebind.settings import load
from rebind.values import Commit, Environment, Interpreter, Layer, Plan, Spec

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
COMMIT = Commit(Spec("git", "https://x.org/a"), "a" * 40, datetime(2019, 3, 4, 5, 6, 7, tzinfo=UTC), "git/x.org/a")


def test_the_commits_date_decides_if_nothing_else_does() -> None:
    assert moment(None, Plan(), COMMIT, NOW) == COMMIT.date


def test_runtime_txt_beats_the_commit_and_means_the_end_of_its_day() -> None:
    found = moment(None, Plan(date=date(2018, 1, 2)), COMMIT, NOW)
    assert (found.date(), found.hour, found.minute) == (date(2018, 1, 2), 23, 59)


def test_the_asked_date_beats_all() -> None:
    assert moment("2017-05-06", Plan(date=date(2018, 1, 2)), COMMIT, NOW).date() == date(2017, 5, 6)
    assert moment("today", Plan(), COMMIT, NOW) == NOW
    assert moment("2017-05-06T01:02:03+02:00", Plan(), COMMIT, NOW) == datetime(2017, 5, 5, 23, 2, 3, tzinfo=UTC)


def test_today_by_its_date_is_now() -> None:
    assert moment("2026-05-01", Plan(), COMMIT, NOW) == NOW


def test_a_commit_from_the_future_is_now() -> None:
    assert moment(None, Plan(), replace(COMMIT, date=datetime(2099, 1, 1, tzinfo=UTC)), NOW) == NOW


@pytest.mark.parametrize("text", ["2026-05-02", "2099-01-01T00:00:00Z"])
def test_the_future_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="future"):
        moment(text, Plan(), COMMIT, NOW)


@pytest.mark.parametrize(
    "text", ["yesterday", "2019", "2019-13-01", "2019-02-30", "01.02.2019", "--", "2019-01-01; rm"]
)
def test_nonsense_is_no_date(text: str) -> None:
    with pytest.raises(AddressError, match="not a date"):
        moment(text, Plan(), COMMIT, NOW)


def test_the_first_provider_that_knows_an_address_has_it(tmp_path: Path) -> None:
    providers = (LocalProvider(cache=tmp_path / "c"), GitProvider(cache=tmp_path / "c"))
    (tmp_path / "folder").mkdir()
    assert launch.find(providers, str(tmp_path / "folder")).provider == "local"
    assert launch.find(providers, "https://github.com/a/b").provider == "git"
    with pytest.raises(AddressError, match="Nothing is known"):
        launch.find(providers, "no such thing")
    with pytest.raises(AddressError, match="No provider found for prefix"):
        launch.provider_of(providers, "xx")


def _installation(tmp_path: Path) -> Installation:
    return Installation(load({"data": tmp_path}, {})[0])


@pytest.mark.parametrize("subdir", ["..", "a/../..", "link", "absent", "file"])
def test_a_subdir_that_leads_out_or_nowhere_is_refused(tmp_path: Path, subdir: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to("/etc")
    (tmp_path / "tree" / "file").write_text("")
    with pytest.raises(AddressError, match="no directory"):
        launch._subdir(tmp_path / "tree", subdir)


def test_what_was_prepared_is_remembered_while_all_of_it_is_there(tmp_path: Path) -> None:
    with _installation(tmp_path / "data").opened() as installation:
        steps, store = installation.steps, installation.builds
        one, two = "1" * 64, "2" * 64
        for kind, digest in (("environments", one), ("layers", two)):
            with store.making(kind, digest) as making:
                making.keep()
        python = Interpreter("3.11.7", Path("/usr"), Path("/bin/sh"))
        environment = Environment(one, store.place("environments", one), python)
        prepared = launch.Prepared(COMMIT, environment, (Layer(two, store.place("layers", two)),), "start")
        wanted = launch.Wanted(COMMIT.spec)
        assert launch.remembered(steps, wanted, COMMIT) is None
        launch._remember(steps, wanted, prepared)
        assert launch.remembered(steps, wanted, COMMIT) == prepared
        assert launch.remembered(steps, replace(wanted, as_of="today"), COMMIT) is None
        assert launch.remembered(steps, replace(wanted, as_of="2019-01-01"), COMMIT) is None
        assert launch.remembered(steps, wanted, replace(COMMIT, id="b" * 40)) is None
        store.discard(store.place("layers", two))
        assert launch.remembered(steps, wanted, COMMIT) is None


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    with _installation(tmp_path / "data").opened() as installation:
        steps, wanted = installation.steps, launch.Wanted(COMMIT.spec)
        path = launch._memory(steps, wanted, COMMIT)
        path.parent.mkdir(parents=True)
        for text in ("", "{", "[]", "{}", '{"python": []}', "null"):
            path.write_text(text)
            assert launch.remembered(steps, wanted, COMMIT) is None
