"""The whole step with uv, the egress proxy, the dated index and a small upstream; only its packages are empty."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_index import PYPROJECT, Upstream, backend

from rebind.errors import InterpreterError, LockError, NetworkError
from rebind.locks import Locker, UnresolvableError, read_pylock, write_pylock
from rebind.sandbox import capabilities
from rebind.values import Event, LocalPackage, LockedPlan, Plan, PythonNeed, Requirements

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
sandboxed = pytest.mark.skipif(not capabilities().isolation, reason="this machine allows no user namespaces")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Locking:
    """Asks for locks and remembers what was said."""

    def __init__(self, locker: Locker, root: Path) -> None:
        self.locker, self.root, self.events = locker, root, list[Event]()
        root.mkdir(exist_ok=True)

    def __call__(self, *lines: str, when: str = "2018-01-01", **more: object) -> LockedPlan:
        wanted = Requirements(lines=lines, **more)  # type: ignore[arg-type]
        plan = Plan(python=PythonNeed(HERE), requirements=wanted)
        return self.locker.lock(plan, self.root, moment(when), self.events.append, identity="test")

    @property
    def resolutions(self) -> int:
        return sum(event.message.startswith("Finding") for event in self.events)


@pytest.fixture
def lock(locker: Locker, upstream: Upstream, tmp_path: Path) -> Locking:
    upstream.kernel()
    return Locking(locker, tmp_path / "checkout")


def versions(locked: LockedPlan) -> dict[str, str]:
    return {package.name: package.version for package in locked.packages}


def test_packages_are_those_of_the_day_and_addresses_the_true_ones(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("numpy", "2.0", "2019-01-01T00:00:00Z")
    upstream.add("pandas", "1.0", "2017-01-01T00:00:00Z", ("numpy (>=0.1k)",))
    locked = lock("pandas")
    expected = {"ipykernel", "ipywidgets", "numpy", "pandas", "pip", "setuptools", "wheel"}
    assert versions(locked)["numpy"] == "1.0"
    assert set(versions(locked)) == expected - (set() if HERE < "3.12" else {"setuptools", "wheel"})
    pandas = next(package for package in locked.packages if package.name == "pandas")
    assert pandas.url == "http://upstream.test/files/pandas-1.0-py3-none-any.whl"
    assert pandas.uploaded == moment("2017-01-01")
    assert locked.date == moment("2018-01-01")
    assert locked.warnings == ()


def test_a_lock_that_is_there_asks_nobody(lock: Locking, upstream: Upstream, tmp_path: Path) -> None:
    first = lock("pip")
    upstream.down = True
    assert lock("pip") == first
    assert lock.resolutions == 1


def test_a_lock_of_another_date_serves_while_nothing_was_published(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("numpy", "2.0", "2018-06-01T00:00:00Z")
    first = lock("numpy", when="2018-01-01")
    later = lock("numpy", when="2018-03-01")
    earlier = lock("numpy", when="2017-03-01")
    assert lock.resolutions == 1
    assert first.environment == later.environment == earlier.environment
    assert (later.date, earlier.date) == (moment("2018-03-01"), moment("2017-03-01"))
    assert versions(lock("numpy", when="2018-07-01"))["numpy"] == "2.0"
    assert lock.resolutions == 2


def test_other_needs_have_other_locks(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("numpy", "1.1", "2017-01-01T00:00:00Z")
    assert versions(lock("numpy"))["numpy"] == "1.1"
    assert versions(lock("numpy", constraints=("numpy<1.1",)))["numpy"] == "1.0"
    assert versions(lock("numpy==1.0"))["numpy"] == "1.0"
    assert lock.resolutions == 3


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text.replace('version = "1.0"', 'version = "6.6"')])
def test_a_damaged_lock_is_set_aside_and_made_again(
    lock: Locking, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    first = lock("pip")
    (path,) = (tmp_path / "data" / "locks").glob("*/2018*.toml")
    path.write_text(damage(path.read_text()))
    assert lock("pip") == first
    assert lock.resolutions == 2
    assert path.with_suffix(".damaged").exists()


def test_two_at_once_resolve_once(lock: Locking) -> None:
    threads = [threading.Thread(target=lock, args=("pip",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lock.resolutions == 1


def test_uv_explains_what_cannot_be_met(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("pandas", "1.0", "2017-01-01T00:00:00Z", ("numpy>=5",))
    with pytest.raises(UnresolvableError) as caught:
        lock("pandas", "numpy")
    assert "numpy>=5" in caught.value.detail
    assert "2018-01-01" in str(caught.value)
    assert caught.value.remedy
    assert "rebind.internal" not in caught.value.text()


def test_a_pin_newer_than_the_date_moves_the_date(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("numpy", "2.0", "2018-06-01T00:00:00Z")
    upstream.add("numpy", "3.0", "2019-06-01T00:00:00Z")
    upstream.add("six", "1.0", "2018-05-01T00:00:00Z")
    locked = lock("numpy>=2", "six")
    assert (versions(locked)["numpy"], versions(locked)["six"]) == ("2.0", "1.0")
    assert "numpy>=2" in locked.warnings[0]
    assert "2018-06-01" in locked.warnings[0]
    again = lock("numpy>=2", "six", when="2018-02-01")
    assert (lock.resolutions, again.environment) == (1, locked.environment)


def test_an_upstream_away_is_a_network_error(lock: Locking, upstream: Upstream) -> None:
    upstream.down = True
    with pytest.raises(NetworkError, match=r"answered 503"):
        lock("numpy")


def test_the_kernels_setuptools_are_those_of_the_day(lock: Locking, upstream: Upstream) -> None:
    if HERE >= "3.12":
        pytest.skip("no setuptools from 3.12 on")
    upstream.add("setuptools", "40.8", "2019-02-01T00:00:00Z")
    assert versions(lock("pip"))["setuptools"] == "1.0"


def test_a_repository_may_want_newer_setuptools_than_the_day_had(lock: Locking, upstream: Upstream) -> None:
    upstream.add("setuptools", "40.8", "2019-02-01T00:00:00Z")
    assert versions(lock("setuptools>=40"))["setuptools"] == "40.8"


def test_a_stated_python_that_is_not_here(locker: Locker, tmp_path: Path) -> None:
    plan = Plan(python=PythonNeed("3.7" if HERE != "3.7" else "3.8", stated_in="runtime.txt"))
    with pytest.raises(InterpreterError, match=r"runtime\.txt"):
        locker.lock(plan, tmp_path, moment("2018-01-01"), lambda event: None)


def test_a_pinned_server_of_today_joins(lock: Locking, upstream: Upstream) -> None:
    for name, version in (("jupyterlab", "4.4"), ("notebook", "7.4"), ("jupyter-server", "2.17")):
        upstream.add(name, version, "2017-01-01T00:00:00Z")
    for name in ("jupyterhub", "jupyter-server-proxy", "nbgitpuller", "jupyter-resource-usage"):
        upstream.add(name, "1.0", "2017-01-01T00:00:00Z")
    upstream.add("voila", "1.0", "2017-01-01T00:00:00Z", ("jupyter-server",))
    upstream.add("ipympl", "1.0", "2017-01-01T00:00:00Z", ("jupyterlab; extra == 'docs'",))
    assert not lock("jupyterlab", "ipympl").joined
    pinned, extension = lock("jupyterlab==4.4"), lock("voila")
    assert pinned.joined
    assert extension.joined
    assert "jupyterhub" in versions(extension)


def test_a_server_extension_of_old_times_keeps_two_environments(lock: Locking, upstream: Upstream) -> None:
    upstream.add("notebook", "5.0", "2017-01-01T00:00:00Z")
    upstream.add("rise", "1.0", "2017-01-01T00:00:00Z", ("notebook",))
    locked = lock("rise")
    assert not locked.joined
    assert "rise" in locked.warnings[0]


def test_a_static_package_of_the_repository_needs_no_build(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("pytest", "1.0", "2017-01-01T00:00:00Z")
    text = '[project]\nname = "mine"\nversion = "1"\ndependencies = ["numpy"]\n'
    text += '[project.optional-dependencies]\ntest = ["pytest"]\nall = ["mine[test]"]\n'
    (lock.root / "pyproject.toml").write_text(text)
    locked = lock(local=(LocalPackage(".", extras=("all",)),))
    assert {"numpy", "pytest"} < set(versions(locked))
    assert "mine" not in versions(locked)


@pytest.mark.parametrize("path", ["..", "../checkout2", "/etc", "absent"])
def test_a_local_package_outside_the_repository_is_refused(lock: Locking, tmp_path: Path, path: str) -> None:
    (tmp_path / "checkout2").mkdir()
    with pytest.raises(LockError, match="not in the repository"):
        lock(local=(LocalPackage(path),))


@pytest.mark.parametrize("line", ["-e .", "--index-url http://evil/", "numpy\n--pre", "  -r /etc/passwd"])
def test_a_line_that_would_be_an_option_is_refused(lock: Locking, line: str) -> None:
    with pytest.raises(LockError, match="not understood"):
        lock(line)


@pytest.mark.session
@sandboxed
def test_a_source_package_is_built_in_the_sandbox_alone(lock: Locking, upstream: Upstream, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w') if os.path.isdir({str(tmp_path)!r}) else None"
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add_sdist("old", "1.0", "2017-01-01T00:00:00Z", ("numpy",), code)
    locked = lock("old")
    assert {"old", "numpy"} < set(versions(locked))
    old = next(package for package in locked.packages if package.name == "old")
    assert old.url == "http://upstream.test/files/old-1.0.tar.gz"
    assert old.sha256
    assert not mark.exists()


@pytest.mark.session
@sandboxed
def test_build_code_cannot_make_the_hub_read_its_files(lock: Locking, upstream: Upstream, tmp_path: Path) -> None:
    """It puts a link where the resolver's answer is read from, and waits for no answer to come."""
    secret = tmp_path / "secret"
    secret.write_text('lock-version = "1.0"\n')
    code = f"os.symlink({str(secret)!r}, '/tmp/lock/pylock.toml'); os.kill(os.getppid(), 9)"
    upstream.add_sdist("evil", "1.0", "2017-01-01T00:00:00Z", (), code)
    with pytest.raises(LockError):
        lock("evil")


@pytest.mark.session
@sandboxed
def test_a_package_of_the_repository_is_asked_in_the_sandbox(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    upstream.add("six", "1.0", "2017-01-01T00:00:00Z")
    (lock.root / "pyproject.toml").write_text(PYPROJECT)
    (lock.root / "backend.py").write_text(backend("mine", "1.0", ("numpy",)))
    locked = lock(local=(LocalPackage("."),))
    assert "numpy" in versions(locked)
    assert "mine" not in versions(locked)
    (lock.root / "notebook.ipynb").write_text("{}")
    lock(local=(LocalPackage("."),))
    assert lock.resolutions == 1
    (lock.root / "pyproject.toml").write_text(PYPROJECT + "\n# changed\n")
    lock(local=(LocalPackage("."),))
    assert lock.resolutions == 2


@sandboxed
def test_a_direct_address_is_locked_by_its_hash_and_reported_outside(lock: Locking, upstream: Upstream) -> None:
    name = upstream.add("direct", "1.0", "2019-01-01T00:00:00Z")
    locked = lock(f"direct @ http://upstream.test/files/{name}")
    direct = next(package for package in locked.packages if package.name == "direct")
    assert (direct.version, direct.filename) == ("1.0", name)
    assert direct.sha256


@pytest.mark.session
@sandboxed
def test_a_repositorys_own_index_is_honoured_and_reported(lock: Locking, upstream: Upstream) -> None:
    upstream.add("late", "1.0", "2019-01-01T00:00:00Z")
    locked = lock("late", options=("--extra-index-url http://upstream.test/simple",))
    assert versions(locked)["late"] == "1.0"
    assert "http://upstream.test/simple is outside the date" in locked.warnings[0]


def test_a_lock_is_a_standard_file_that_uv_reads(lock: Locking, tmp_path: Path, locker: Locker) -> None:
    from uv import find_uv_bin

    locked = lock("pip")
    (tmp_path / "pylock.toml").write_text(write_pylock(locked))
    argv = [find_uv_bin(), "pip", "install", "--dry-run", "--no-config", "--offline", "--no-cache"]
    argv += ["--target", str(tmp_path / "t"), "-p", sys.executable, "-r", "pylock.toml"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert "Would download" in done.stderr or "Would install" in done.stderr, done.stderr


def test_write_and_read_give_the_same(lock: Locking, interpreters: object) -> None:
    from rebind.locks import Interpreters

    assert isinstance(interpreters, Interpreters)
    locked = lock("pip")
    assert read_pylock(write_pylock(locked), interpreters.by_version(locked.python)) == locked
