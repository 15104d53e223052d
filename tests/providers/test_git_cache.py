"""The cache: thrown away when broken, never half-made, never needed by a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import http_server

from rebind.errors import RefNotFoundError, RepositoryError
from rebind.providers.git import GitProvider
from rebind.values import Spec

pytestmark = pytest.mark.slow


def stores(provider: GitProvider, kind: str) -> Path:
    return next(provider.cache.glob(f"*/{kind}/HEAD")).parent


def take(provider: GitProvider, url: str, ref: str | None, into: Path) -> str:
    provider.fetch(provider.resolve(Spec("git", url, ref)), into, Lines())
    in_checkout(into, "fsck")
    return in_checkout(into, "rev-list", "--count", "HEAD")


def _truncate(store: Path) -> None:
    for pack in store.glob("objects/pack/*.pack"):
        pack.chmod(0o644)
        with pack.open("r+b") as file:
            file.truncate(40)


def _flip(store: Path) -> None:
    for pack in store.glob("objects/pack/*.pack"):
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        for at in range(20, len(data) - 20, 7):
            data[at] ^= 0xFF
        pack.write_bytes(bytes(data))


def _empty(store: Path) -> None:
    shutil.rmtree(store / "objects")
    (store / "objects").mkdir()


def _no_config(store: Path) -> None:
    (store / "config").write_text("[core\n")


def _stale_locks(store: Path) -> None:
    for name in ("shallow.lock", "packed-refs.lock", "config.lock", "HEAD.lock"):
        (store / name).write_text("")


def _zero_refs(store: Path) -> None:
    for ref in (store / "refs").rglob("*"):
        if ref.is_file():
            ref.write_text("")


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty, _no_config, _stale_locks, _zero_refs])
@pytest.mark.parametrize(("ref", "newer"), [(None, True), ("main", False), ("main", True)])
def test_a_broken_cache_is_made_again(
    damage: object, ref: str | None, newer: bool, provider: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    repository.grow(10)
    take(provider, repository.url, ref, tmp_path / "first")
    damage(stores(provider, "full" if ref else "one"))  # type: ignore[operator]
    if newer:
        repository.grow(1)
    length = take(provider, repository.url, ref, tmp_path / "second")
    assert length == ("1" if ref is None else "11" if newer else "10")
    assert take(provider, repository.url, ref, tmp_path / "third") == length


def test_broken_notes_of_dates_are_asked_again(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.grow(3)
    date = provider.resolve(Spec("git", repository.url)).date
    for path in provider.cache.glob("*/dates/*"):
        path.write_text("\0nonsense")
    _flip(stores(provider, "meta"))
    assert provider.resolve(Spec("git", repository.url)).date == date


def test_a_checkout_outlives_the_cache(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.grow(5)
    take(provider, repository.url, "main", tmp_path / "out")
    shutil.rmtree(provider.cache)
    shutil.rmtree(repository.root)
    in_checkout(tmp_path / "out", "fsck")
    assert in_checkout(tmp_path / "out", "log", "--format=%s").split() == ["c"] * 5


def test_a_missing_commit_leaves_the_cache_alone(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    ids = repository.grow(5)
    take(provider, repository.url, "main", tmp_path / "out")
    before = stores(provider, "full").stat().st_ino
    with pytest.raises(RefNotFoundError):
        provider.resolve(Spec("git", repository.url, "e" * 40))
    assert stores(provider, "full").stat().st_ino == before
    shutil.rmtree(repository.root)
    with pytest.raises(RepositoryError):
        provider.resolve(Spec("git", repository.url, "main"))
    # What was fetched once can be launched by its id for ever.
    assert take(provider, repository.url, ids[-1], tmp_path / "again") == "5"


def test_moved_branches_are_followed(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    repository.grow(5)
    take(provider, repository.url, "main", tmp_path / "one")
    repository.git("reset", "-q", "--hard", "HEAD~3")
    forced = repository.commit({"forced": "x"})
    assert take(provider, repository.url, "main", tmp_path / "two") == "3"
    assert in_checkout(tmp_path / "two", "rev-parse", "HEAD") == forced


def test_killed_at_any_moment(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(40)
    (repository.root / "big").write_bytes(os.urandom(3_000_000))
    repository.commit({})
    code = (
        "import sys\nfrom pathlib import Path\nfrom rebind.providers.git import GitProvider\n"
        "from rebind.values import Spec\n"
        "p = GitProvider(cache=Path(sys.argv[1]))\n"
        "p.fetch(p.resolve(Spec('git', sys.argv[2], 'main')), Path(sys.argv[3]), lambda event: None)\n"
    )
    provider = GitProvider(cache=tmp_path / "cache")
    with http_server(served) as server:
        url = f"{server.url}/repository"
        for number in range(4):
            command = [sys.executable, "-c", code, str(tmp_path / "cache"), url, str(tmp_path / f"killed-{number}")]
            process = subprocess.Popen(command)
            time.sleep(0.25 + 0.1 * number)
            process.kill()
            process.wait()
        assert take(provider, url, "main", tmp_path / "out") == "41"


def test_many_small_fetches_are_joined(
    provider: GitProvider, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebind.providers.cache._MOST_PACKS", 3)
    for number in range(4):
        repository.grow(2)
        take(provider, repository.url, "main", tmp_path / f"out-{number}")
        take(provider, repository.url, None, tmp_path / f"one-{number}")
    assert len(list(stores(provider, "full").glob("objects/pack/*.pack"))) <= 4
    repository.grow(1)
    assert take(provider, repository.url, "main", tmp_path / "last") == "9"
    assert take(provider, repository.url, None, tmp_path / "last-one") == "1"


def test_spellings_do_not_share_what_they_may_read(repository: Repository, tmp_path: Path) -> None:
    from rebind.providers.addresses import parse_url
    from rebind.providers.cache import Cache

    provider = GitProvider(cache=tmp_path)
    one, two = parse_url("https://github.com/a/b"), parse_url("git@github.com:a/b")
    assert one.identity == two.identity
    assert Cache(tmp_path, one, provider.git).path != Cache(tmp_path, two, provider.git).path
