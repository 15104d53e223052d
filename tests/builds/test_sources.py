"""Source packages become wheels, in a sandbox that sees nothing else. The build backends are in the packages
themselves, so that no index is needed."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tiny import NOW, SITE, Lines, Served, interpreter, lock, serving, wheel_bytes

from rebind.builds import Builder, Store
from rebind.builds.sources import checkout_of, index_url, index_variables
from rebind.errors import BuildError
from rebind.sandbox import SANDBOX_UID, Egress, EgressPolicy, capabilities
from rebind.values import NB_PREFIX, Limits, Package

OWNER = SANDBOX_UID if os.geteuid() == 0 else None
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
PROJECT = '[project]\nname = "src"\nversion = "1.0"\n'
BACKEND = """
import base64, os, pathlib, subprocess, sys
def build_wheel(directory, config_settings=None, metadata_directory=None):
    {action}
    name = "src-1.0-py3-none-any.whl"
    pathlib.Path(directory, name).write_bytes(pathlib.Path("ready.whl").read_bytes())
    return name
"""


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


def source_files(action: str = "pass", wheel: bytes | None = None) -> dict[str, bytes]:
    ready = wheel if wheel is not None else wheel_bytes("src", files={"src.py": "NAME = 'src'\n"})
    texts = {"pyproject.toml": PYPROJECT + PROJECT, "backend.py": BACKEND.format(action=action)}
    return {name: text.encode() for name, text in texts.items()} | {"ready.whl": ready}


def sdist(served: Served, files: dict[str, bytes]) -> Package:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in {"PKG-INFO": b"Metadata-Version: 2.1\nName: src\nVersion: 1.0\n", **files}.items():
            member = tarfile.TarInfo(f"src-1.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    data = out.getvalue()
    served.files["/src-1.0.tar.gz"] = data
    digest = hashlib.sha256(data).hexdigest()
    return Package("src", "1.0", f"{served.url}/src-1.0.tar.gz", digest, "src-1.0.tar.gz", len(data))


def builder_at(tmp_path: Path, egress: Path | None = None) -> Builder:
    return Builder(store=Store(tmp_path / "store", OWNER), egress=egress, proxy_url=None, limits=Limits(disk=100 << 20))


@pytest.mark.session
class TestBuilding:
    @pytest.fixture(autouse=True)
    def _isolation(self) -> None:
        if not capabilities().isolation:
            pytest.skip(capabilities().problem)

    def test_a_backend_may_make_the_folder_for_wheels_anew(self, served: Served, tmp_path: Path) -> None:
        """As setuptools did until 2019."""
        package = sdist(served, source_files("import shutil; shutil.rmtree(directory); os.mkdir(directory)"))
        environment = builder_at(tmp_path).build(lock((package,)), interpreter(), Lines())
        assert (environment.path / NB_PREFIX[1:] / SITE / "src.py").is_file()

    def test_built_once_and_installed(self, served: Served, tmp_path: Path) -> None:
        builder, report = builder_at(tmp_path), Lines()
        package = sdist(served, source_files("print('backend runs')"))
        environment = builder.build(lock((package,)), interpreter(), report)
        assert (environment.path / NB_PREFIX[1:] / SITE / "src.py").read_text() == "NAME = 'src'\n"
        assert "Building src 1.0 from source" in report
        assert "backend runs" not in report  # pages of a compiler's lines: told only when it fails
        again = Lines()
        builder.build(lock((package, served.add("tiny"))), interpreter(), again)
        assert "from source" not in again

    def test_failure_is_said_with_the_name_and_the_last_lines(self, served: Served, tmp_path: Path) -> None:
        package = sdist(served, source_files("print('no compiler of mine'); sys.exit(9)"))
        with pytest.raises(BuildError, match=r"Building src .* from its source ended with code") as caught:
            builder_at(tmp_path).build(lock((package,)), interpreter(), Lines())
        assert "no compiler of mine" in caught.value.detail
        assert "src" in caught.value.remedy
        assert list((tmp_path / "store/tmp").iterdir()) == []

    @pytest.mark.parametrize(
        "wheel",
        [
            b"no wheel",
            wheel_bytes("src", raw=(("../../evil", b""),)),
            wheel_bytes("other"),
            wheel_bytes("src", "2.0"),
            wheel_bytes("src", info={"entry_points.txt": "[console_scripts]\n../evil = src:main\n"}),
        ],
    )
    def test_attack_the_wheel_that_comes_out(self, served: Served, tmp_path: Path, wheel: bytes) -> None:
        with pytest.raises(BuildError, match="src"):
            builder_at(tmp_path).build(lock((sdist(served, source_files(wheel=wheel)),)), interpreter(), Lines())
        assert not (tmp_path / "evil").exists()

    @pytest.mark.parametrize(
        "action",
        [
            "os.symlink('/etc/passwd', directory + '/src-1.0-py3-none-any.whl'); return 'src-1.0-py3-none-any.whl'",
            "os.mkdir(directory + '/src-1.0-py3-none-any.whl'); return 'src-1.0-py3-none-any.whl'",
            "os.mkfifo('/out/wheels/src-1.0-py3-none-any.whl'); os._exit(0)",
            "os.symlink('/etc/passwd', '/out/wheels/src-1.0-py3-none-any.whl'); os._exit(0)",
            "open('/out/wheels/other-1.0-py3-none-any.whl', 'w').close()",
            "os.rename('/out/wheels', '/out/away'); os.symlink('/out/away', '/out/wheels')",
        ],
    )
    def test_attack_what_lies_in_the_output(self, served: Served, tmp_path: Path, action: str) -> None:
        with pytest.raises(BuildError, match="src"):
            builder_at(tmp_path).build(lock((sdist(served, source_files(action)),)), interpreter(), Lines())

    def test_attack_what_a_build_sees(self, served: Served, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("hunter2")
        action = (
            f"subprocess.run('cat {tmp_path}/secret; ls {tmp_path} /root; cat /etc/shadow | head -c 6; id -u;"
            " echo x > /source/src-1.0.tar.gz; env', shell=True); sys.exit(1)"
        )
        with pytest.raises(BuildError) as caught:
            builder_at(tmp_path).build(lock((sdist(served, source_files(action)),)), interpreter(), Lines())
        lines = caught.value.detail.splitlines()
        assert "hunter2" not in caught.value.detail
        assert not any(line.startswith("root:") for line in lines)
        assert "1000" in lines
        assert not any("REBIND" in line or "PATH=/root" in line for line in lines)

    def test_a_failure_elsewhere_ends_it_at_once(self, served: Served, tmp_path: Path) -> None:
        package = sdist(served, source_files("import time; time.sleep(100)"))
        bad = served.add("bad", data=b"bad")
        served.slow = True
        with pytest.raises(BuildError, match="bad-1"):
            builder_at(tmp_path).build(lock((package, bad)), interpreter(), Lines())
        assert list((tmp_path / "store/tmp").iterdir()) == []

    def test_a_checkout_over_http(self, tmp_path: Path) -> None:
        """Git's simplest protocol from a server of this machine, which the egress policy has to allow."""
        work, bare = tmp_path / "work", tmp_path / "served" / "src.git"
        for name, data in source_files().items():
            (work / "sub" / name).parent.mkdir(parents=True, exist_ok=True)
            (work / "sub" / name).write_bytes(data)
        commands = ("init -q", "add -A", "-c user.name=A -c user.email=a@b commit -qm x")
        for command in commands:
            subprocess.run(["git", "-C", str(work), *command.split()], check=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
        subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
        rev_parse = ["git", "-C", str(work), "rev-parse", "HEAD"]
        commit = subprocess.run(rev_parse, check=True, capture_output=True, text=True).stdout.strip()
        handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
        server = ThreadingHTTPServer(("127.0.0.2", 0), handler)  # 127.0.0.1 is a sandbox's own
        port = server.server_address[1]
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        egress = Egress(EgressPolicy(True, frozenset(), frozenset({port})), tmp_path / "run" / "e.sock")
        egress.start()
        report = Lines()
        try:
            url = f"git+http://127.0.0.2:{port}/src.git@{commit}#subdirectory=sub"
            package = Package("src", "1.0", url, "", "src")
            environment = builder_at(tmp_path, egress.socket).build(lock((package,)), interpreter(), report)
        finally:
            egress.stop()
            server.shutdown()
            server.server_close()
        info = environment.path / NB_PREFIX[1:] / SITE / "src-1.0.dist-info"
        assert commit in (info / "direct_url.json").read_text()


@pytest.mark.parametrize(
    "url",
    [
        "git+https://example.org/a",
        "git+https://example.org/a@main",
        f"git+ssh://example.org/a@{'a' * 40}",
        f"git+file:///etc@{'a' * 40}",
        f"git+ext::sh -c id@{'a' * 40}",
        f"git+--upload-pack=id@{'a' * 40}",
        f"git+https://example.org/a@{'a' * 40}#subdirectory=../..",
        f"git+https://example.org/a@{'a' * 40}#subdirectory=/etc",
        f"git+https://example.org/a@{'a' * 40}#subdirectory=-x",
    ],
)
def test_attack_by_the_url_of_a_checkout(url: str) -> None:
    with pytest.raises(BuildError, match="no checkout of a fixed commit"):
        checkout_of(Package("a", "1", url, "", "a"))


def test_checkout_of() -> None:
    url = f"git+https://example.org/a@{'a' * 40}#egg=a&subdirectory=py/a"
    assert checkout_of(Package("a", "1", url, "", "a")) == ("https://example.org/a", "a" * 40, "py/a")


def test_builds_use_the_index_of_the_date_alone() -> None:
    variables = dict(index_variables(NOW))
    assert index_url(NOW) == "http://pypi.rebind.internal/2024-01-01T00:00:00Z/simple"
    assert variables["PIP_INDEX_URL"] == variables["UV_DEFAULT_INDEX"] == index_url(NOW)
    assert variables["PIP_CONFIG_FILE"] == "/dev/null"
