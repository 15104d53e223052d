"""Mercurial over http, through the proxy, and from servers that lead elsewhere."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.providers.record_servers import Service

from rebind.errors import RebindError, RefusedError, RepositoryError
from rebind.providers.mercurial import HgProvider
from rebind.sandbox.egress import Egress
from rebind.sandbox.policy import EgressPolicy
from rebind.values import Spec

pytestmark = pytest.mark.skipif(shutil.which("hg") is None, reason="Mercurial is not installed")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HGRCPATH": "", "HGUSER": "ada"}


def hg(root: Path, *arguments: str) -> None:
    subprocess.run(["hg", "--cwd", str(root), *arguments], env=ENVIRONMENT, check=True, capture_output=True)


@pytest.fixture
def mercurial(tmp_path: Path) -> Path:
    root = tmp_path / "served"
    root.mkdir()
    hg(root, "init")
    (root / "a").write_text("a")
    hg(root, "commit", "-A", "-m", "a", "-d", "1500000000 0")
    return root


@pytest.fixture
def port(mercurial: Path) -> Iterator[int]:
    """`hg serve`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        found = int(free.getsockname()[1])
    command = ["hg", "--cwd", str(mercurial), "serve", "-a", "127.0.0.1", "--port", str(found), "--prefix", "x"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", found)) == 0:
                    break
            time.sleep(0.05)
        yield found
    finally:
        process.terminate()
        process.wait()


def none(_: object) -> None:
    pass


def test_everything_goes_through_the_proxy(port: int, tmp_path: Path) -> None:
    spec = Spec("hg", f"http://127.0.0.1:{port}/x")
    policy = EgressPolicy(False, frozenset({f"127.0.0.1:{port}"}), frozenset({80, 443, port}))
    with Egress(policy, tmp_path / "s" / "1") as egress:
        provider = HgProvider(cache=tmp_path / "c1", proxy_url=egress.proxy_url)
        commit = provider.resolve(spec)
        provider.fetch(commit, tmp_path / "out", none)
        assert (tmp_path / "out" / "a").read_text() == "a"
        assert len(egress.requests) > 1
    with Egress(EgressPolicy(False, frozenset(), frozenset({port})), tmp_path / "s" / "2") as egress:
        provider = HgProvider(cache=tmp_path / "c2", proxy_url=egress.proxy_url)
        with pytest.raises((RepositoryError, RefusedError)):
            provider.resolve(Spec("hg", f"http://127.0.0.1:{port}/x"))
        assert all(asked.refused for asked in egress.requests)


@pytest.mark.parametrize("scheme", ["ftp", "file"])
def test_a_redirect_leads_only_to_the_web(tmp_path: Path, scheme: str) -> None:
    reached = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)

    def listen() -> None:
        try:
            listening.accept()[0].close()
            reached.set()
        except OSError:
            pass

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    target = f"ftp://127.0.0.1:{listening.getsockname()[1]}/x" if scheme == "ftp" else "file:///etc/passwd"

    class Redirecting(Service):
        def answer(self, asked: object) -> tuple[int, dict[str, str], bytes]:
            return 302, {"Location": target}, b""

    with Redirecting() as service:
        provider = HgProvider(cache=tmp_path / "c")
        with pytest.raises(RebindError) as caught:
            provider.resolve(Spec("hg", f"{service.url}/x"))
    listening.close()
    thread.join()
    assert not reached.is_set()
    assert "root:" not in caught.value.text()


def test_sub_repositories_are_not_fetched(mercurial: Path, tmp_path: Path) -> None:
    inner = mercurial / "inner"
    inner.mkdir()
    hg(inner, "init")
    (inner / "x").write_text("secret")
    hg(inner, "commit", "-A", "-m", "x")
    (mercurial / ".hgsub").write_text(f"inner = {inner}\n")
    hg(mercurial, "commit", "-A", "-m", "sub")
    provider = HgProvider(cache=tmp_path / "c", allow_local=True)
    commit = provider.resolve(Spec("hg", f"file://{mercurial}"))
    with pytest.raises(RepositoryError, match="sub-repositories"):
        provider.fetch(commit, tmp_path / "out", none)
    assert not (tmp_path / "out").exists()


def test_the_limit_of_time_holds_for_a_server_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        spec = Spec("hg", f"http://127.0.0.1:{silent.getsockname()[1]}/repository")
        with pytest.raises(RepositoryError, match="took longer"):
            HgProvider(cache=tmp_path / "c", allow_local=True, timeout=0.5).resolve(spec)


def test_nothing_of_a_repository_on_this_machine_is_run(mercurial: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    hooks = "".join(f"{name} = touch {tmp_path}/ran\n" for name in ("outgoing", "preoutgoing", "pretxnopen", "update"))
    (mercurial / ".hg" / "hgrc").write_text(f"[extensions]\nevil = {tmp_path}/evil.py\n[hooks]\n{hooks}")
    provider = HgProvider(cache=tmp_path / "c", allow_local=True)
    commit = provider.resolve(Spec("hg", f"file://{mercurial}"))
    provider.fetch(commit, tmp_path / "out", none)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RefusedError):
        HgProvider(cache=tmp_path / "c").resolve(Spec("hg", f"file://{mercurial}"))
