"""What a repository's own lock fixes is taken exactly, with a small index and the real resolver for the rest."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_index import KERNEL, Upstream, make_wheel

from rebind.errors import LockError, NetworkError
from rebind.locks import Locker, read_pylock, write_pylock
from rebind.locks.pinned import applying
from rebind.locks.tags import abi
from rebind.values import Event, Interpreter, LockedPlan, Package, Plan, PythonNeed, Requirements
from rebind.values.pinned import Pinned, PinnedDependency, PinnedFile, PinnedPackage

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHON = Interpreter("3.11.7", Path("/usr"), Path("/usr/bin/python3.11"))
A, B = "a" * 64, "b" * 64


def sha256(name: str, version: str) -> str:
    return hashlib.sha256(make_wheel(name, version)).hexdigest()


class Locking:
    def __init__(self, locker: Locker, root: Path) -> None:
        self.locker, self.root, self.events = locker, root, list[Event]()
        root.mkdir(exist_ok=True)

    def __call__(self, *packages: PinnedPackage, when: str = "2018-01-01", **more: object) -> LockedPlan:
        pinned = Pinned("some.lock", packages, joined=more.pop("joined", None))  # type: ignore[arg-type]
        plan = Plan(python=PythonNeed(HERE), pinned=pinned, requirements=Requirements(**more))  # type: ignore[arg-type]
        return self.of(plan, when)

    def of(self, plan: Plan, when: str = "2018-01-01") -> LockedPlan:
        moment = datetime.fromisoformat(when).replace(tzinfo=UTC)
        return self.locker.lock(plan, self.root, moment, self.events.append)


@pytest.fixture
def lock(locker: Locker, upstream: Upstream, tmp_path: Path) -> Locking:
    upstream.kernel()
    return Locking(locker, tmp_path / "checkout")


def versions(locked: LockedPlan) -> dict[str, str]:
    return {package.name: package.version for package in locked.packages}


def by_hash(name: str, version: str, *hashes: str) -> PinnedPackage:
    return PinnedPackage(name, version, hashes=hashes)


def test_a_version_is_exact_whatever_is_newer_and_nothing_comes_along(lock: Locking, upstream: Upstream) -> None:
    for version in ("1.0", "2.0", "3.0"):
        upstream.add("pandas", version, "2017-01-01T00:00:00Z", ("numpy",))
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    locked = lock(by_hash("pandas", "2.0"))
    assert versions(locked)["pandas"] == "2.0"
    assert "numpy" not in versions(locked)
    assert set(KERNEL[:3]) < set(versions(locked))
    pandas = next(package for package in locked.packages if package.name == "pandas")
    assert pandas.url == "http://upstream.test/files/pandas-2.0-py3-none-any.whl"
    assert locked.warnings == ()


def test_what_is_resolved_beside_moves_nothing(lock: Locking, upstream: Upstream) -> None:
    upstream.add("traitlets", "4.0", "2016-01-01T00:00:00Z")
    upstream.add("traitlets", "5.0", "2017-01-01T00:00:00Z")
    upstream.add("ipykernel", "2.0", "2017-01-01T00:00:00Z", ("traitlets>=4",))
    upstream.add("ipykernel", "3.0", "2017-06-01T00:00:00Z", ("traitlets>=5",))
    assert versions(lock())["ipykernel"] == "3.0"
    locked = lock(by_hash("traitlets", "4.0"))
    assert (versions(locked)["traitlets"], versions(locked)["ipykernel"]) == ("4.0", "2.0")


def test_a_lock_that_leaves_no_room_for_a_kernel_is_named(lock: Locking, upstream: Upstream) -> None:
    upstream.add("traitlets", "4.0", "2014-01-01T00:00:00Z")
    upstream.add("traitlets", "5.0", "2014-01-01T00:00:00Z")
    for row in upstream.pages.pop("ipykernel"):
        del upstream.files[str(row["filename"])]
    upstream.add("ipykernel", "3.0", "2015-01-01T00:00:00Z", ("traitlets>=5",))
    with pytest.raises(LockError, match=r"^some\.lock leaves no room for .*ipykernel") as caught:
        lock(by_hash("traitlets", "4.0"))
    assert "traitlets" in caught.value.detail
    assert caught.value.remedy


def test_pins_newer_than_the_date_move_the_date_of_the_rest(lock: Locking, upstream: Upstream) -> None:
    upstream.add("traitlets", "5.0", "2019-01-01T00:00:00Z")
    for row in upstream.pages.pop("ipykernel"):
        del upstream.files[str(row["filename"])]
    upstream.add("ipykernel", "3.0", "2017-01-01T00:00:00Z", ("traitlets",))
    locked = lock(by_hash("traitlets", "5.0"))
    assert versions(locked)["traitlets"] == "5.0"
    assert "some.lock" in locked.warnings[0]
    assert "2019-01-01" in locked.warnings[0]


def test_the_hash_decides_among_the_files_of_a_version(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z", ("six",))
    upstream.put("numpy", "numpy-1.0-2-py3-none-any.whl", make_wheel("numpy", "1.0"), "2017-06-01T00:00:00Z")
    built = next(p for p in lock(by_hash("numpy", "1.0")).packages if p.name == "numpy")
    assert built.filename == "numpy-1.0-2-py3-none-any.whl"
    first = hashlib.sha256(upstream.files["numpy-1.0-py3-none-any.whl"]).hexdigest()
    chosen = next(p for p in lock(by_hash("numpy", "1.0", A, first)).packages if p.name == "numpy")
    assert chosen.sha256 == first


def test_a_file_that_was_changed_is_refused(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    with pytest.raises(
        LockError, match=r"^no file of numpy 1\.0 in the package index has a hash that some\.lock states"
    ):
        lock(by_hash("numpy", "1.0", A))


def test_a_version_that_is_not_there_is_refused(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    for package in (by_hash("numpy", "9.0"), by_hash("absent", "1.0")):
        with pytest.raises(LockError, match=r"^some\.lock takes .* which the package index does not have"):
            lock(package)


def test_an_index_away_is_a_network_error(lock: Locking, upstream: Upstream) -> None:
    upstream.down = True
    with pytest.raises(NetworkError):
        lock(by_hash("numpy", "1.0"))


def test_files_with_addresses_need_no_index(lock: Locking, upstream: Upstream) -> None:
    """A lock that holds everything asks nobody anything."""
    upstream.down = True
    names = ("ipykernel", "ipywidgets", "pip", "setuptools", "wheel", "six")
    pins = [
        PinnedPackage(name, "1.0", files=(PinnedFile(f"{name}-1.0-py3-none-any.whl", f"https://h.org/{name}.whl", A),))
        for name in names
    ]
    locked = lock(*pins)
    assert versions(locked) == dict.fromkeys(names, "1.0")
    assert upstream.asked == []


def test_the_best_file_of_the_lock_for_the_interpreter(lock: Locking, upstream: Upstream) -> None:
    digits = HERE.replace(".", "")
    names = [
        "x-1.tar.gz",
        "x-1-py3-none-any.whl",
        f"x-1-cp{digits}-{abi(HERE)}-win_amd64.whl",
        f"x-1-cp{digits}-{abi(HERE)}-manylinux1_x86_64.whl",
        "x-1-cp36-cp36m-manylinux1_x86_64.whl",
    ]
    files = tuple(PinnedFile(name, f"https://h.org/{name}", A) for name in names)
    best = next(p for p in lock(PinnedPackage("x", "1", files=files)).packages if p.name == "x")
    assert best.filename == names[3]
    with pytest.raises(LockError, match=rf"^some\.lock has no file of x 1 for Python {HERE}"):
        lock(PinnedPackage("x", "1", files=(files[2], files[4])))


def test_a_checkout_of_a_lock(lock: Locking) -> None:
    address = f"git+https://h.org/x@{'1' * 40}#subdirectory=sub/x"
    locked = lock(PinnedPackage("x", "", checkout=address))
    checkout = next(package for package in locked.packages if package.name == "x")
    assert (checkout.url, checkout.sha256) == (address, "")
    again = read_pylock(write_pylock(locked), Interpreter(locked.python, Path("/usr"), Path("/usr/bin/python3")))
    assert again.environment == locked.environment


def test_a_lock_is_kept_and_another_is_another(lock: Locking, upstream: Upstream) -> None:
    for version in ("1.0", "2.0"):
        upstream.add("numpy", version, "2017-01-01T00:00:00Z")
    first = lock(by_hash("numpy", "1.0"))
    upstream.asked.clear()
    assert lock(by_hash("numpy", "1.0")) == first
    assert upstream.asked == []
    assert lock(by_hash("numpy", "2.0")).environment != first.environment


def test_a_server_extension_in_a_lock_joins(lock: Locking, upstream: Upstream) -> None:
    for name, version in (("jupyterlab", "4.4"), ("notebook", "7.4"), ("jupyter-server", "2.17")):
        upstream.add(name, version, "2017-01-01T00:00:00Z")
    for name in ("jupyterhub", "jupyter-server-proxy", "nbgitpuller", "jupyter-resource-usage"):
        upstream.add(name, "1.0", "2017-01-01T00:00:00Z")
    upstream.add("jupyterlab", "4.5", "2017-06-01T00:00:00Z")
    upstream.add("voila", "1.0", "2017-01-01T00:00:00Z", ("jupyter-server",))
    locked = lock(by_hash("jupyterlab", "4.4"))
    assert (locked.joined, versions(locked)["jupyterlab"]) == (False, "4.4")
    locked = lock(by_hash("jupyterlab", "4.4"), by_hash("voila", "1.0"))
    assert (locked.joined, versions(locked)["jupyterlab"]) == (True, "4.4")
    assert "jupyterhub" in versions(locked)
    assert not lock(by_hash("jupyterlab", "4.4"), by_hash("voila", "1.0"), joined=False).joined


def test_a_resolved_extension_of_the_server_keeps_the_pins(lock: Locking, upstream: Upstream) -> None:
    for name, version in (("jupyterlab", "4.4"), ("notebook", "7.4"), ("jupyter-server", "2.17")):
        upstream.add(name, version, "2017-01-01T00:00:00Z")
    for name in ("jupyterhub", "jupyter-server-proxy", "nbgitpuller", "jupyter-resource-usage"):
        upstream.add(name, "1.0", "2017-01-01T00:00:00Z")
    upstream.add("jupyterlab", "4.5", "2017-06-01T00:00:00Z")
    upstream.add("voila", "1.0", "2017-01-01T00:00:00Z", ("jupyter-server",))
    locked = lock(by_hash("jupyterlab", "4.4"), lines=("voila",))
    assert locked.joined
    assert versions(locked)["jupyterlab"] == "4.4"


def test_what_rebind_wrote_gives_the_same_environment(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z")
    first = lock.of(Plan(python=PythonNeed(HERE), requirements=Requirements(("numpy",))))
    upstream.add("numpy", "2.0", "2017-01-02T00:00:00Z")
    upstream.down = True
    pins = tuple(
        PinnedPackage(p.name, p.version, files=(PinnedFile(p.filename, p.url, p.sha256, p.size, p.uploaded),))
        for p in first.packages
    )
    again = lock(*pins, joined=first.joined, when="2025-01-01")
    assert again.environment == first.environment


# Hashes of requirements


def test_hashes_of_requirements_decide_the_file(lock: Locking, upstream: Upstream) -> None:
    upstream.add("numpy", "1.0", "2017-01-01T00:00:00Z", ("six",))
    upstream.add("six", "1.0", "2017-01-01T00:00:00Z")
    upstream.put(
        "numpy", "numpy-1.0-2-py3-none-any.whl", make_wheel("numpy", "1.0", ("six>0",)), "2017-06-01T00:00:00Z"
    )
    first = hashlib.sha256(upstream.files["numpy-1.0-py3-none-any.whl"]).hexdigest()
    plan = Plan(python=PythonNeed(HERE), requirements=Requirements(("numpy==1.0",)))
    without = next(p for p in lock.of(plan).packages if p.name == "numpy")
    assert without.sha256 != first
    stated = replace(plan, requirements=replace(plan.requirements, hashes=(("numpy", (A, first)),)))
    assert next(p for p in lock.of(stated).packages if p.name == "numpy").sha256 == first
    wrong = replace(plan, requirements=replace(plan.requirements, hashes=(("numpy", (A, B)),)))
    with pytest.raises(LockError, match=r"^no file of numpy 1\.0 for Python .* has a hash that is stated for it"):
        lock.of(wrong)


# Which packages count


def names(pinned: Pinned, python: Interpreter = PYTHON) -> dict[str, str]:
    return {package.name: package.version for package in applying(pinned, python)}


def test_markers_of_a_flat_list() -> None:
    packages = (
        PinnedPackage("a", "1", "python_version < '3.9'"),
        PinnedPackage("a", "2", "python_version >= '3.9'"),
        PinnedPackage("b", "1", "sys_platform == 'win32' or extra == 'x'"),
        PinnedPackage("c", "1", "'dev' in dependency_groups and 'x' not in extras"),
        PinnedPackage("d", "1", "'docs' in dependency_groups"),
    )
    assert names(Pinned("l", packages, groups=("dev",))) == {"a": "2", "c": "1"}


def test_two_versions_of_one_package_are_refused() -> None:
    packages = (PinnedPackage("a", "1"), PinnedPackage("a", "2", "python_version > '3'"))
    with pytest.raises(LockError, match=r"^l fixes two versions of a \(1, 2\) for Python 3\.11\.7"):
        names(Pinned("l", packages))


def test_conditions_of_a_lock() -> None:
    a = (PinnedPackage("a", "1"),)
    with pytest.raises(LockError, match=r"^l is for Python <3\.9, not for 3\.11\.7"):
        names(Pinned("l", a, requires_python="<3.9"))
    with pytest.raises(LockError, match=r"^l is not for Python 3\.11\.7 on linux"):
        names(Pinned("l", a, environments=("sys_platform == 'win32'", "python_version < '3'")))
    assert names(Pinned("l", a, environments=("sys_platform == 'win32'", "python_version > '3'"))) == {"a": "1"}
    with pytest.raises(LockError, match=r"^l takes a 1, which is for Python >=3\.12"):
        names(Pinned("l", (PinnedPackage("a", "1", requires_python=">=3.12"),)))


def edge(
    name: str, marker: str = "", *, versions: tuple[str, ...] = (), extras: tuple[str, ...] = ()
) -> PinnedDependency:
    return PinnedDependency(name, versions, marker, extras)


def test_a_graph_is_walked_by_markers_versions_and_extras() -> None:
    packages = (
        PinnedPackage("root", "", own=True, dependencies=(edge("a", extras=("x",)), edge("w", "os_name == 'nt'"))),
        PinnedPackage("a", "1", dependencies=(edge("root"), edge("b", versions=("2",))), extras=(("x", (edge("c"),)),)),
        PinnedPackage("b", "1"),
        PinnedPackage("b", "2"),
        PinnedPackage("c", "1", "python_version < '3.9'"),
        PinnedPackage("c", "2", "python_version >= '3.9'"),
        *(PinnedPackage("w", "1"), PinnedPackage("unneeded", "1")),
    )
    assert names(Pinned("l", packages, (edge("root"),))) == {"a": "1", "b": "2", "c": "2"}


def test_a_graph_with_a_hole_is_refused() -> None:
    packages = (PinnedPackage("root", "", own=True, dependencies=(edge("gone"),)),)
    with pytest.raises(LockError, match=r"^l lacks gone, which it needs on Python 3\.11\.7"):
        names(Pinned("l", packages, (edge("root"),)))
    with pytest.raises(LockError, match="lacks root"):
        names(Pinned("l", (), (edge("root"),)))


def test_a_marker_that_cannot_be_evaluated_is_an_error_of_the_lock() -> None:
    with pytest.raises(LockError, match=r"^l has a marker that cannot be read"):
        names(Pinned("l", (PinnedPackage("a", "1", "python_version ~= 'x' and os_name ~= 'y'"),)))


@pytest.mark.timeout(20)
def test_a_graph_of_all_to_all_ends_soon() -> None:
    edges = tuple(edge(f"p{n}", "python_version > '3'") for n in range(400))
    packages = tuple(PinnedPackage(f"p{n}", "1", dependencies=edges) for n in range(400))
    assert len(names(Pinned("l", packages, (edge("p0"),)))) == 400


def test_old_pythons_have_their_own_tags() -> None:
    package = Package("a", "1", "u", A, "a-1-cp27-cp27mu-manylinux1_x86_64.whl")
    assert package.is_wheel
    python = Interpreter("2.7.18", Path("/usr"), Path("/usr/bin/python2.7"))
    assert names(Pinned("l", (PinnedPackage("a", "1", "python_version < '3'"),)), python) == {"a": "1"}
