"""Debian packages as layers: dpkg itself, in a sandbox, over the programs of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from debs import deb, entry, serve
from tiny import Lines, Served, interpreter, lock, serving

from rebind.builds import Builder, Store
from rebind.errors import BuildError
from rebind.sandbox import SANDBOX_UID, capabilities, run, session_confinement
from rebind.values import Commit, Environment, Layer, Limits, Plan, Spec

pytestmark = pytest.mark.session

OWNER = SANDBOX_UID if os.geteuid() == 0 else None
COMMIT = Commit(Spec("git", "https://example.org/a"), "1" * 40, datetime(2024, 1, 1, tzinfo=UTC), "a")
ALTERNATIVE = """#!/bin/sh
set -e
update-alternatives --install /usr/bin/rebind-any rebind-any /usr/bin/rebind-one 10
chown root:mail /usr/share/rebind-one.txt
chown nobody /etc/rebind-one.conf
adduser --system --group --no-create-home rebindone >/dev/null 2>&1 || true
echo "set up" > /var/lib/rebind-one.state
"""
ONE = (
    ("./usr/bin/rebind-one", b"#!/bin/sh\necho one\n"),
    ("./usr/share/rebind-one.txt", b"text\n"),
    ("./etc/rebind-one.conf", b"setting\n"),
    ("./opt/rebind-one/data", b"data\n"),
    ("./lib/rebind-one/old-place", b"old\n"),
)


@pytest.fixture(scope="module", autouse=True)
def _dpkg() -> None:
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)
    if not shutil.which("dpkg") or not Path("/lib").is_symlink():
        pytest.skip("this machine has no dpkg, or /lib is not a part of /usr")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(store=Store(tmp_path_factory.mktemp("debian") / "store", OWNER), egress=None, proxy_url=None)


@pytest.fixture(scope="module")
def report() -> Lines:
    return Lines()


def in_session(environment: Environment, layers: tuple[Layer, ...], script: str) -> str:
    lines: list[str] = []
    made = session_confinement(environment, layers, limits=Limits(), egress=None, name="tests")
    run(made, ("/bin/sh", "-c", script), on_line=lines.append, timeout=60)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def empty(builder: Builder) -> Environment:
    return builder.build(lock(()), interpreter(), Lines())


@pytest.fixture(scope="module")
def one(builder: Builder, served: Served, report: Lines) -> Layer:
    made = deb("rebind-one", ONE, {"postinst": ALTERNATIVE}, Conflicts="libc6, coreutils", Pre_Depends="dpkg")
    layer = builder.system((serve(served, "rebind-one", made),), report)
    assert layer is not None
    return layer


def test_a_package_is_seen_in_sessions(one: Layer, empty: Environment, report: Lines) -> None:
    said = in_session(
        empty,
        (one,),
        "rebind-one; rebind-any; cat /usr/share/rebind-one.txt /etc/rebind-one.conf /opt/rebind-one/data "
        "/lib/rebind-one/old-place /var/lib/rebind-one.state; dpkg-query -W -f '${Status}\\n' rebind-one; "
        "dpkg -l dpkg | tail -1 | cut -c1-2; ls -d /opt/rebind/python /usr/bin/env",
    )
    assert said.splitlines()[:8] == ["one", "one", "text", "setting", "data", "old", "set up", "install ok installed"]
    assert "ii" in said
    assert said.endswith("/usr/bin/env")
    assert "Setting up rebind-one" in report


def test_nothing_of_it_can_be_changed_in_sessions(one: Layer, empty: Environment) -> None:
    script = "for each in /usr/bin/x /etc/alternatives/x /opt/rebind-one/x /var/lib/dpkg/x; do echo > $each; done"
    said = in_session(empty, (one,), f"{script}; rm /usr/bin/rebind-one; ln -s x /usr/y; chmod u+w /usr; id -u; whoami")
    assert said.count("Read-only file system") == 7
    assert said.splitlines()[-2:] == ["1000", "jovyan"]


def test_the_host_is_as_before(one: Layer) -> None:
    assert shutil.which("rebind-one") is None
    assert not any(
        Path(path).exists() for path in ("/etc/rebind-one.conf", "/opt/rebind-one", "/var/lib/rebind-one.state")
    )
    assert "rebind-one" not in Path("/var/lib/dpkg/status").read_text()


def test_accounts_and_leavings_stay_out(one: Layer) -> None:
    for name in ("etc/passwd", "etc/group", "etc/shadow", "var/cache/debconf", "var/lib/dpkg/lock", "debs", "copies"):
        assert not (one.path / name).exists(), name


def test_a_layer_is_made_once(one: Layer, builder: Builder, served: Served) -> None:
    data = served.files["/rebind-one.deb"]
    lines = Lines()
    assert builder.system((serve(served, "rebind-one", data),), lines) == one
    assert lines.lines == []


def test_a_file_of_the_host_is_replaced_in_sessions_only(builder: Builder, served: Served, empty: Environment) -> None:
    target = Path("/usr/share/common-licenses/BSD").resolve()
    before = target.read_bytes()
    made = deb("rebind-two", ((f".{target}", b"ours\n"), ("./usr/bin/rebind-two", b"#!/bin/sh\necho two\n")))
    layer = builder.system((serve(served, "rebind-two", made),), Lines())
    assert layer
    assert in_session(empty, (layer,), f"cat {target}; rebind-two") == "ours\ntwo"
    assert target.read_bytes() == before


def test_a_removed_file_is_gone_in_sessions_only(builder: Builder, served: Served, empty: Environment) -> None:
    made = deb("rebind-gone", (("./usr/share/rebind-gone", b""),), {"postinst": "#!/bin/sh\nrm /usr/bin/tac\n"})
    layer = builder.system((serve(served, "rebind-gone", made),), Lines())
    assert layer
    assert "not found" in in_session(empty, (layer,), "tac /dev/null; command -v tac")
    assert Path("/usr/bin/tac").exists()


def test_a_package_that_cannot_set_itself_up_is_named(builder: Builder, served: Served, empty: Environment) -> None:
    made = deb("rebind-bad", (("./usr/share/rebind-bad", b"here\n"),), {"postinst": "#!/bin/sh\nexit 3\n"})
    lines = Lines()
    layer = builder.system((serve(served, "rebind-bad", made),), lines)
    assert layer
    assert "Warning: rebind-bad could not set itself up" in lines
    assert in_session(empty, (layer,), "cat /usr/share/rebind-bad") == "here"


def test_a_library_reaches_post_build(builder: Builder, one: Layer, served: Served, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "postBuild").write_text("rebind-any > out\n")
    package = serve(served, "rebind-one", served.files["/rebind-one.deb"])
    locked = replace(lock(()), debian=(package,))
    environment = builder.build(locked, interpreter(), Lines())
    assert environment.system == one
    layers = builder.overlay(environment, Plan(post_build="postBuild"), root, COMMIT, Lines())
    assert layers[0] == one
    assert in_session(environment, layers, "cat out; rebind-one") == "one\none"


# Attacks


@pytest.mark.parametrize(
    "hostile",
    [
        [("../../../../../../../../tmp/rebind-escaped", b"x")],
        [("/tmp/rebind-escaped", b"x")],
        [entry("./usr/share/way", tarfile.SYMTYPE, to="/tmp"), ("./usr/share/way/rebind-escaped", b"x")],
        [entry("./usr/share/way", tarfile.SYMTYPE, to="../../../../tmp"), ("./usr/share/way/rebind-escaped", b"x")],
        [entry("./usr/share/way", tarfile.LNKTYPE, to="/etc/shadow")],
        [entry("./usr/share/way", tarfile.LNKTYPE, to="../../../../../../../etc/passwd")],
        [entry("./usr/share/disk", tarfile.BLKTYPE, 0o666, device=(254, 0))],
        [entry("./usr/share/null", tarfile.CHRTYPE, 0o666, device=(1, 3))],
    ],
)
def test_hostile_archives_reach_nothing(builder: Builder, served: Served, hostile: list) -> None:
    for escaped in (Path("/tmp/rebind-escaped"), Path("/rebind-escaped")):
        assert not escaped.exists()
    package = serve(served, "rebind-evil", deb("rebind-evil", [*hostile, ("./usr/share/rebind-evil", b"x")]))
    layer = None
    with contextlib.suppress(BuildError):
        layer = builder.system((package,), Lines())
    assert not Path("/tmp/rebind-escaped").exists()
    assert not list(builder.store.path.rglob("rebind-escaped"))
    if layer is not None:
        for path in layer.path.rglob("*"):
            mode = path.lstat().st_mode
            assert not stat.S_ISBLK(mode)
            assert not stat.S_ISCHR(mode) or path.lstat().st_rdev == 0


def test_set_uid_bits_pipes_and_sockets_are_dropped(builder: Builder, served: Served, empty: Environment) -> None:
    script = """#!/bin/sh
cp /usr/bin/id /usr/bin/rebind-id; chmod 6755 /usr/bin/rebind-id; mkfifo /usr/share/rebind-pipe
mkdir -m 0 /usr/share/rebind-closed; mknod /usr/share/rebind-zero c 1 5; exit 0
"""
    made = deb("rebind-uid", (("./usr/bin/rebind.setuid", b"#!/bin/sh\nid -u\n"),), {"postinst": script})
    layer = builder.system((serve(served, "rebind-uid", made),), Lines())
    assert layer
    for path in layer.path.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode), path
        if path.name == "complete":
            continue
        assert not mode & (stat.S_ISUID | stat.S_ISGID), path
        assert path.lstat().st_uid == (OWNER or os.getuid())
    assert in_session(empty, (layer,), "rebind.setuid; rebind-id -u; ls /usr/share/rebind-closed") == "1000\n1000"


def test_scripts_of_packages_see_no_secret_and_no_network(builder: Builder, served: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    script = f"""#!/bin/bash
cat {secret} && echo ESCAPED
cat /etc/shadow | grep -v '[*]' && echo ESCAPED
(echo > /dev/tcp/127.0.0.1/22) 2>/dev/null && echo ESCAPED
(echo > /dev/tcp/{served.url.split("/")[2].replace(":", "/")}) 2>/dev/null && echo ESCAPED
kill -9 {os.getpid()} && echo ESCAPED
mount -t tmpfs none /mnt && echo ESCAPED
unshare -Ur true && echo ESCAPED
setpriv --reuid 0 true; ls /proc/{os.getpid()}/root && echo ESCAPED
nohup sleep 1000 >/dev/null 2>&1 &
ln -sfn / /var/lib/dpkg/alternatives/../../../../usr/share/rebind-root
exit 0
"""
    made = deb("rebind-spy", (("./usr/share/rebind-spy", b""),), {"postinst": script, "preinst": script})
    lines = Lines()
    layer = builder.system((serve(served, "rebind-spy", made),), lines)
    assert layer
    assert "ESCAPED" not in lines


def test_a_package_that_moves_the_records_away_hurts_only_itself(builder: Builder, served: Served) -> None:
    script = "#!/bin/sh\nrm -rf /var/lib/dpkg/* /etc/* /usr/share/*; ln -s /etc /var/lib/systemd/x; rmdir /opt\n"
    made = deb("rebind-rm", (("./usr/share/rebind-rm", b""),), {"postinst": script})
    with contextlib.suppress(BuildError):
        builder.system((serve(served, "rebind-rm", made),), Lines())
    assert Path("/var/lib/dpkg/status").stat().st_size
    assert Path("/usr/share/common-licenses").is_dir()


@pytest.mark.parametrize("records", ["/var/away/dpkg/status", "/nowhere"])
def test_links_in_the_way_of_a_layer_lead_nowhere(
    builder: Builder, served: Served, empty: Environment, tmp_path: Path, records: str
) -> None:
    """What lies in a layer is moved and mounted by its path; a package's links there must not reach the host."""
    secret = tmp_path / "ssl"
    (secret / "certs").mkdir(parents=True)
    (secret / "certs/secret").write_text("SECRET")
    script = f"""#!/bin/sh
mv /var/lib /var/away; ln -s {tmp_path} /var/lib
mv /etc/ssl /etc/away; ln -s {secret} /etc/ssl
mv /etc/dpkg /etc/away2; ln -s {secret} /etc/dpkg
rm -rf /etc/fonts; ln -s {secret} /etc/fonts
ln -s {secret} /etc/rebind-link; ln -s {secret} /opt/rebind
rm -f {records}; ln -s /dev/zero {records}
exit 0
"""
    made = deb("rebind-links", (("./usr/share/rebind-links", b""),), {"postinst": script})
    layer = None
    with contextlib.suppress(BuildError):
        layer = builder.system((serve(served, "rebind-links", made),), Lines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ssl"]
    if layer is not None:
        said = in_session(
            empty, (layer,), "cat /etc/ssl/certs/secret /etc/fonts/certs/secret; grep -r SECRET /etc /opt"
        )
        assert "SECRET" not in said


def test_another_file_than_locked(builder: Builder, served: Served) -> None:
    package = serve(served, "rebind-three", deb("rebind-three", ()))
    served.files["/rebind-three.deb"] = deb("rebind-three", (("./usr/bin/x", b"evil"),))[: package.size]
    with pytest.raises(BuildError, match="not the file that was locked"):
        builder.system((package,), Lines())


@pytest.mark.parametrize("change", [{"name": "rebind-four"}, {"version": "2.0"}, {"architecture": "amd64"}])
def test_another_package_than_locked(builder: Builder, served: Served, change: dict[str, str]) -> None:
    package = replace(serve(served, "rebind-real", deb("rebind-real", ())), **change)
    with pytest.raises(BuildError, match="was not installed"):
        builder.system((package,), Lines())


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", "a b", ""])
def test_names_that_are_no_file_names(builder: Builder, served: Served, name: str) -> None:
    package = replace(serve(served, "rebind-real", deb("rebind-real", ())), name=name)
    with pytest.raises(BuildError):
        builder.system((package,), Lines())


def test_not_a_package_at_all(builder: Builder, served: Served) -> None:
    with pytest.raises(BuildError, match="could not be installed") as caught:
        builder.system((serve(served, "rebind-none", b"hello"),), Lines())
    assert "dpkg" in caught.value.detail
