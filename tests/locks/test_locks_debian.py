"""What apt says, read; apt itself is asked in the tests that need the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rebind.errors import LockError, NetworkError
from rebind.locks import DebianLocker, debian_host, mirror_hosts
from rebind.locks.debian import failure, lacking, read_packages
from rebind.sandbox import SANDBOX_UID, Egress, EgressPolicy, capabilities, run
from rebind.values import DebianPackage

SHA = "a" * 64
NOW = datetime.now(UTC)


def test_files_of_apt_are_read():
    line = f"'http://deb.example.org/p/g/gfortran_12%7e2.deb' gfortran_4%3a12~2_amd64.deb 1428 SHA256:{SHA}"
    url = "http://deb.example.org/p/g/gfortran_12%7e2.deb"
    lines = ["Inst gfortran (4:12~2 Debian:12 [amd64])", line]
    assert read_packages(lines) == [DebianPackage("gfortran", "4:12~2", "amd64", url, SHA, 1428)]


@pytest.mark.parametrize(
    "line",
    [
        f"'file:/etc/shadow' a_1_all.deb 1 SHA256:{SHA}",
        f"'ftp://x.org/a.deb' a_1_all.deb 1 SHA256:{SHA}",
        "'http://x.org/a.deb' a_1_all.deb 1 MD5Sum:0123456789abcdef0123456789abcdef",
        "'http://x.org/a.deb' a_1_all.deb 1 ",
        f"'http://x.org/a.deb' ../a_1_all.deb 1 SHA256:{SHA}",
        f"'http://x.org/a.deb' -a_1_all.deb 1 SHA256:{SHA}",
        f"'http://x.org/a.deb' a_1/../2_all.deb 1 SHA256:{SHA}",
        f"'http://x.org/a.deb' a_1_all.deb 99999999999999 SHA256:{SHA}",
        f"'http://x.org/a.deb' a_1_all.deb 1 SHA256:{SHA}0",
    ],
)
def test_files_from_elsewhere_or_without_a_hash_are_refused(line):
    with pytest.raises(LockError, match="cannot be fetched"):
        read_packages([line])


def test_only_what_is_not_installed_is_asked_for():
    there = frozenset(("vim", "bash"))
    assert lacking(("bash", "ed", "vim=2*"), there) == ("ed", "vim=2*")
    assert lacking(("bash", "vim"), there) == ()
    assert lacking(("-t sid", "bash"), there) == ("-t sid", "bash")


def test_unknown_names_are_named():
    lines = [
        "E: Unable to locate package nosuch",
        "E: Version '3*' for 'vim' was not found",
        "E: Package 'gone' has no installation candidate",
        "E: Release 'x' for 'ed' was not found",
    ]
    assert "nosuch, vim, gone, ed" in str(failure(lines))
    assert "from zz" in str(
        failure(["E: The value 'zz' is invalid for APT::Default-Release as such a release is not available"])
    )
    other = failure(["The following packages have unmet dependencies:", " a : Depends: b but it is not installable"])
    assert "Depends: b" in other.detail


def test_hosts_of_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example.org/ x\ndeb [signed-by=/k] https://u:p@A.example.org:8443/d x main\n"
    )
    (tmp_path / "sources.list.d/b.sources").write_text("Types: deb\nURIs: http://b.example.org/debian\n")
    (tmp_path / "sources.list.d/c.sources.off").write_text("URIs: http://c.example.org/debian\n")
    monkeypatch.setattr(debian_host, "_APT", tmp_path)
    assert mirror_hosts() == {"a.example.org:8443", "b.example.org"}


def test_settings_of_the_host_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dump = tmp_path / "apt-config"
    dump.write_text(
        "#!/bin/sh\ncat <<'E'\n"
        'APT::Update::Post-Invoke:: "touch /tmp/x";\nAcquire::Check-Valid-Until "false";\nDir::Etc "/x";\n'
        'Acquire::http::Proxy-Auto-Detect "/tmp/x";\nAcquire::AllowInsecureRepositories "1";\nAcquire::Retries "3";\n'
        'Acquire::https::CaInfo "/a"; DPkg::Pre-Invoke:: "id";\nDir::Bin::gpg "/tmp/x";\nE\n'
    )
    dump.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert debian_host.settings() == 'Acquire::Check-Valid-Until "false";\nAcquire::Retries "3";\n'


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(debian_host, "STATUS", tmp_path / "none")
    locker = DebianLocker(tmp_path, tmp_path / "none.sock", run, None)
    assert locker.lock((), NOW, lambda event: None).packages == ()
    with pytest.raises(LockError, match=r"no Debian packages|has no apt-get") as caught:
        locker.lock(("vim",), NOW, lambda event: None)
    assert "Debian or Ubuntu" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


Make = Callable[..., DebianLocker]


@pytest.fixture
def locker() -> Iterator[Make]:
    """Makes lockers that reach the mirrors, or nothing."""
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)
    try:
        debian_host.check_host()
    except LockError as error:
        pytest.skip(str(error))
    with TemporaryDirectory(prefix="rb-") as name:
        place = Path(name)
        place.chmod(0o711)
        (place / "out").mkdir(mode=0o711)
        egress = Egress(EgressPolicy(False, mirror_hosts(), frozenset({80, 443})), place / "out/e.sock", {})
        egress.start()
        nobody = place / "out/nobody.sock"

        def make(*, reachable: bool = True) -> DebianLocker:
            owner = SANDBOX_UID if os.geteuid() == 0 else None
            return DebianLocker(place / "data", egress.socket if reachable else nobody, run, owner)

        yield make
        egress.stop()


def quiet(event: object) -> None: ...


@pytest.mark.network
@pytest.mark.session
def test_apt_is_asked(locker: Make):
    if "cowsay" in debian_host.installed():
        pytest.skip("cowsay is installed on this machine")
    said: list[str] = []
    found = locker().lock(("cowsay", "dpkg"), NOW, lambda event: said.append(event.message))
    assert [package.name for package in found.packages if package.name in ("cowsay", "dpkg")] == ["cowsay"]
    assert all(package.url.startswith("http") and len(package.sha256) == 64 for package in found.packages)
    assert found.warnings == ()
    assert any("Fetching the lists" in line for line in said)

    said.clear()
    old = locker(reachable=False).lock(
        ("cowsay", "dpkg"), datetime(2020, 1, 1, tzinfo=UTC), lambda e: said.append(e.message)
    )
    assert old.packages == found.packages
    assert "not of 2020-01-01" in old.warnings[0]
    assert said == []

    with pytest.raises(LockError, match="no-such-package-1, no-such-package-2"):
        locker().lock(("cowsay", "no-such-package-1", "no-such-package-2=3"), NOW, quiet)
    with pytest.raises(LockError, match="no-such-suite"):
        locker().lock(("-t no-such-suite", "cowsay"), NOW, quiet)
    with pytest.raises(LockError, match="cowsay"):
        locker().lock(("cowsay=0.1*",), NOW, quiet)
    assert locker().lock(("cowsay=3*",), NOW, quiet).packages == found.packages
    # a name that is no package is no pattern either
    with pytest.raises(LockError):
        locker().lock(("cowsa.",), NOW, quiet)


@pytest.mark.session
def test_mirrors_that_do_not_answer(locker: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(debian_host, "LISTS", tmp_path / "none")
    with pytest.raises(NetworkError, match="mirrors"):
        locker(reachable=False).lock(("no-such-package",), NOW, quiet)
