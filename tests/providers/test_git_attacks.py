"""A stranger's address, ref, repository, server and `.gitmodules` make git on this machine run or read nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest_providers import Lines, Repository, in_checkout
from git_servers import http_server

from rebind.errors import AddressError, RebindError, RefusedError, RepositoryError
from rebind.providers.git import GitProvider
from rebind.providers.submodules import empty_directory
from rebind.values import Commit, Spec

pytestmark = pytest.mark.slow


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """What an attack would make; it is looked for after every test."""
    return tmp_path / "pwned"


@pytest.fixture(autouse=True)
def _nothing_ran(trap: Path) -> object:
    yield
    assert not trap.exists()


def test_addresses_and_refs_are_never_options(provider: GitProvider, repository: Repository, trap: Path) -> None:
    repository.commit({"a": "1"})
    for address in (
        f"--upload-pack=touch {trap}",
        f"ext::sh -c 'touch% {trap}'",
        f"ssh://-oProxyCommand=touch {trap}/x",
    ):
        with pytest.raises(AddressError):
            provider.resolve(Spec("git", address))
        with pytest.raises(AddressError):
            provider.fetch(_commit(address, None), trap.parent / "out", Lines())
    for ref in (f"--upload-pack=touch {trap}", "--exec=x", "-u", "a\n--x"):
        with pytest.raises(AddressError):
            provider.resolve(Spec("git", repository.url, ref))
    with pytest.raises(RebindError):
        provider.fetch(_commit(repository.url, None, "--upload-pack=x"), trap.parent / "out", Lines())
    with pytest.raises(RebindError):
        provider.fetch(_commit(repository.url, None, "../../etc"), trap.parent / "out", Lines())
    assert not (trap.parent / "out").exists()


def _commit(url: str, ref: str | None, commit: str = "a" * 40) -> Commit:
    from datetime import UTC, datetime

    return Commit(Spec("git", url, ref), commit, datetime.now(UTC), "x")


def test_a_hub_reads_no_path_of_its_machine(public: GitProvider, repository: Repository, served: Path) -> None:
    repository.commit({"a": "1"})
    for address in (repository.url, str(repository.root), "file:///etc"):
        with pytest.raises(RefusedError):
            public.resolve(Spec("git", address))
        with pytest.raises(RefusedError):
            public.fetch(_commit(address, None), served / "out", Lines())
    with http_server(served, redirect=f"file://{served}") as server, pytest.raises(RebindError):
        public.resolve(Spec("git", f"{server.url}/repository"))


def test_protocols_that_are_not_allowed(tmp_path: Path) -> None:
    provider = GitProvider(cache=tmp_path / "c", allowed_protocols=("https",))
    for url in ("http://example.org/a", "git://example.org/a", "git@example.org:a"):
        with pytest.raises(RefusedError, match="not allowed"):
            provider.resolve(Spec("git", url))


@pytest.mark.parametrize("kind", ["hook", "fsmonitor", "filter", "alias", "pager", "sshCommand", "askPass", "home"])
def test_configuration_of_machine_and_caller_is_not_in_force(
    kind: str, repository: Repository, tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch, lines: Lines
) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {trap}\ncat\n")
    script.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (hooks / name).write_bytes(script.read_bytes())
        (hooks / name).chmod(0o755)
    settings = {
        "hook": f"[core]\nhooksPath = {hooks}",
        "fsmonitor": f"[core]\nfsmonitor = {script}",
        "filter": f'[filter "evil"]\nsmudge = {script}\nprocess = {script}',
        "alias": f"[alias]\nfetch = !{script}",
        "pager": f"[core]\npager = {script}\n[pager]\nfetch = {script}",
        "sshCommand": f"[core]\nsshCommand = {script}",
        "askPass": f"[core]\naskPass = {script}\n[credential]\nhelper = !{script}",
        "home": f'[url "ext::{script}"]\ninsteadOf = file://',
    }
    (tmp_path / ".gitconfig").write_text(settings[kind])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / ".gitconfig"))
    for name in ("GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_PROXY_COMMAND", "GIT_EXTERNAL_DIFF", "GIT_EDITOR", "GIT_PAGER"):
        monkeypatch.setenv(name, str(script))
    for name in (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_TEMPLATE_DIR",
        "GIT_EXEC_PATH",
    ):
        monkeypatch.setenv(name, str(hooks))
    with monkeypatch.context() as clean:
        for name in list(os.environ):
            if name.startswith("GIT_"):
                clean.delenv(name)
        repository.commit({"a": "1", ".gitattributes": "a filter=evil\n"})
    provider = GitProvider(cache=tmp_path / "cache", allow_local=True)
    provider.fetch(provider.resolve(Spec("git", repository.url, "main")), tmp_path / "out", lines)
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_a_served_repository_with_hostile_settings_runs_nothing(
    provider: GitProvider, repository: Repository, tmp_path: Path, trap: Path
) -> None:
    repository.grow(3)
    config = repository.root / ".git" / "config"
    with config.open("a") as file:
        file.write(f'[uploadpack]\n\tpackObjectsHook = "touch {trap}; git"\n[core]\n\tfsmonitor = "touch {trap}"\n')
        file.write(f'[core]\n\talternateRefsCommand = "touch {trap}"\n[include]\n\tpath = {tmp_path}/more\n')
        file.write(f'[remote "origin"]\n\turl = x\n\tpromisor = true\n\tuploadpack = "touch {trap}"\n')
    for ref in (None, "main"):
        provider.fetch(provider.resolve(Spec("git", repository.url, ref)), tmp_path / f"out-{ref}", Lines())


def _evil_tree(repository: Repository, entries: list[tuple[str, str, str]]) -> str:
    """A commit on main whose tree holds what git itself would never write."""
    raw = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries)
    done = subprocess.run(
        ["git", "-C", str(repository.root), "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        input=raw,
        check=True,
        capture_output=True,
    )
    tree = done.stdout.decode().strip()
    text = f"tree {tree}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nx\n"
    sha = repository.git("hash-object", "-t", "commit", "-w", "--stdin", text=text)
    repository.git("update-ref", "refs/heads/main", sha)
    return sha


@pytest.mark.parametrize(
    "name", [".git", ".GIT", "..", "../escaped", ".git/hooks/post-checkout", "git~1", "/etc/x", ""]
)
def test_trees_that_lead_out_are_refused(
    name: str, provider: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    blob = repository.git("hash-object", "-w", "--stdin", text="x")
    _evil_tree(repository, [("100755", name, blob)])
    into = tmp_path / "in" / "out"
    into.parent.mkdir()
    with pytest.raises(RepositoryError):
        provider.fetch(provider.resolve(Spec("git", repository.url, "main")), into, Lines())
    assert list(into.parent.iterdir()) == []
    assert not (tmp_path / "escaped").exists()


def test_a_link_and_a_folder_of_one_name(provider: GitProvider, repository: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = repository.git("hash-object", "-w", "--stdin", text=str(outside))
    blob = repository.git("hash-object", "-w", "--stdin", text="x")
    inner = repository.git("mktree", text=f"100644 blob {blob}\tfile\n")
    _evil_tree(repository, [("120000", "a", link), ("40000", "a", inner)])
    with suppress(RepositoryError):
        provider.fetch(provider.resolve(Spec("git", repository.url, "main")), tmp_path / "out", Lines())
    assert list(outside.iterdir()) == []


def test_a_bomb_of_trees_is_not_unpacked(repository: Repository, tmp_path: Path) -> None:
    blob = repository.git("hash-object", "-w", "--stdin", text="x" * 1000)
    tree, kind, mode = blob, "blob", "100644"
    for _ in range(5):
        tree = repository.git("mktree", text="".join(f"{mode} {kind} {tree}\tf{n}\n" for n in range(10)))
        kind, mode = "tree", "040000"
    commit = repository.git("commit-tree", tree, "-m", "x")
    repository.git("update-ref", "refs/heads/main", commit)
    provider = GitProvider(cache=tmp_path / "cache", allow_local=True, max_bytes=20_000_000)
    with pytest.raises(RepositoryError, match="larger than"):
        provider.fetch(provider.resolve(Spec("git", repository.url)), tmp_path / "out", Lines())
    assert not (tmp_path / "out").exists()


def test_a_large_repository_is_stopped(repository: Repository, served: Path, tmp_path: Path) -> None:
    (repository.root / "big").write_bytes(os.urandom(30_000_000))
    repository.commit({})
    provider = GitProvider(cache=tmp_path / "cache", max_bytes=3_000_000)
    with http_server(served) as server, pytest.raises(RepositoryError, match=r"larger than the 2.9 MB"):
        provider.fetch(provider.resolve(Spec("git", f"{server.url}/repository")), tmp_path / "out", Lines())
    assert not (tmp_path / "out").exists()


def test_a_server_may_not_write_to_the_terminal(repository: Repository, served: Path, tmp_path: Path) -> None:
    hook = repository.root / ".git" / "hooks" / "x"
    hook.parent.mkdir(exist_ok=True)
    repository.commit({"a": "1"})
    lines = Lines()
    from rebind.providers.command import _Said

    said = _Said(lines, ["hunter2-and-more"])
    said.take(b"remote: \x1b]0;title\x07\x1b[2J hunter2-and-more \xff\x9b31m done\nsplit \x1b")
    said.take(b"[31m line\r\nlast")
    assert said.all().split("\n")[-1] == "last"
    assert "\x1b" not in lines.text + said.all()
    assert "\x07" not in lines.text
    assert "hunter2" not in lines.text + said.all()


def test_everything_dies_with_the_caller(repository: Repository, served: Path, tmp_path: Path) -> None:
    repository.grow(3)
    code = (
        "import sys\nfrom pathlib import Path\nfrom rebind.providers.git import GitProvider\n"
        "from rebind.values import Spec\n"
        "GitProvider(cache=Path(sys.argv[1])).resolve(Spec('git', sys.argv[2]))\n"
    )
    with http_server(served, stall=60) as server:
        command = [sys.executable, "-c", code, str(tmp_path / "cache"), f"{server.url}/repository"]
        process = subprocess.Popen(command)
        while not server.asked:
            time.sleep(0.02)
        children = _below(process.pid)
        assert children
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(250):
            if not any(_alive(pid) for pid in children):
                return
            time.sleep(0.02)
        raise AssertionError("git outlives its caller")


def _below(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(entry.name), *_below(int(entry.name))]
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc", ".git/x", "a/.GIT/x", "", "a//b", "link/x", "link", "full"]
)
def test_the_place_of_a_submodule(path: str, tmp_path: Path) -> None:
    into = tmp_path / "out"
    into.mkdir()
    (tmp_path / "outside").mkdir()
    (into / "link").symlink_to(tmp_path / "outside")
    (into / "full").mkdir()
    (into / "full" / "file").write_text("x")
    with pytest.raises((AddressError, OSError)):
        empty_directory(into, path)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_checkout_keeps_no_executable_configuration(
    provider: GitProvider, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a": "1"})
    name = 'x"]\n[core]\n\tfsmonitor = "touch pwned'
    repository.git("update-ref", "refs/heads/quo'te\"d", "HEAD")
    with pytest.raises(AddressError):
        provider.resolve(Spec("git", repository.url, name))
    provider.fetch(provider.resolve(Spec("git", repository.url, "quo'te\"d")), tmp_path / "out", Lines())
    assert in_checkout(tmp_path / "out", "branch", "--show-current") == "quo'te\"d"
    assert in_checkout(tmp_path / "out", "config", "--get", "core.fsmonitor", check=False) == ""
    assert not any((tmp_path / "out" / ".git" / "hooks").iterdir())
