"""postBuild and local packages in a real sandbox, over an environment of tiny wheels."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny import Lines, Served, interpreter, lock, serving

from rebind.builds import Builder, Store, steps
from rebind.builds.cleaning import clean
from rebind.errors import ScriptError
from rebind.sandbox import SANDBOX_UID, capabilities, run, session_confinement
from rebind.values import Commit, Environment, Layer, Limits, Plan, Spec

OWNER = SANDBOX_UID if os.geteuid() == 0 else None
COMMIT = Commit(Spec("git", "https://example.org/a"), "1" * 40, datetime(2024, 1, 1, tzinfo=UTC), "a")
Overlaid = Callable[..., tuple[Layer, ...]]


@pytest.fixture(scope="module", autouse=True)
def _isolation() -> None:
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(store=Store(tmp_path / "store", OWNER), egress=None, proxy_url=None)


@pytest.fixture
def environment(builder: Builder, served: Served) -> Environment:
    return builder.build(lock((served.add(),)), interpreter(), Lines())


@pytest.fixture
def report() -> Lines:
    return Lines()


@pytest.fixture
def overlaid(tmp_path: Path, builder: Builder, environment: Environment, report: Lines) -> Overlaid:
    """`overlaid(script, files...)`: the layers of a repository with this postBuild."""

    def make(script: str | None, files: dict[str, str] | None = None, plan: Plan | None = None) -> tuple[Layer, ...]:
        root = tmp_path / f"checkout{time.monotonic_ns()}"
        root.mkdir()
        for name, text in (files or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        if script is not None:
            (root / "postBuild").write_text(script)
            (root / "postBuild").chmod(0o644)
        plan = plan or Plan(post_build="postBuild" if script is not None else None)
        return builder.overlay(environment, plan, root, COMMIT, report)

    return make


def seen(environment: Environment, layers: tuple[Layer, ...], script: str) -> list[str]:
    """What a session over these layers says."""
    lines: list[str] = []
    made = session_confinement(environment, layers, limits=Limits(), egress=None, name="tests")
    assert run(made, ["/bin/sh", "-c", script], on_line=lines.append, timeout=60) == 0
    return lines


def test_without_steps_there_is_one_layer(overlaid: Overlaid, environment: Environment) -> None:
    layers = overlaid(None, {"a.txt": "a\n"})
    assert len(layers) == 1
    assert seen(environment, layers, "pwd; cat a.txt; stat -c %U .") == ["/home/jovyan", "a", "jovyan"]


def test_what_post_build_writes_is_seen_by_sessions(overlaid: Overlaid, environment: Environment) -> None:
    script = (
        "echo new > new.txt; echo changed > old.txt; rm gone.txt; echo > $NB_PYTHON_PREFIX/lib/mark; mkdir $NPM_DIR/x"
    )
    layers = overlaid(script, {"old.txt": "old", "gone.txt": "", "dir/kept": ""})
    assert len(layers) == 2
    said = seen(environment, layers, "cat new.txt old.txt; ls; ls $NB_PYTHON_PREFIX/lib $NPM_DIR")
    assert said[:2] == ["new", "changed"]
    assert "gone.txt" not in said
    assert {"mark", "x", "dir"} <= set(said)
    assert (layers[0].path / "home/gone.txt").exists()
    assert (layers[0].path / "home/old.txt").read_text() == "old"
    assert stat.S_ISCHR((layers[1].path / "home/gone.txt").lstat().st_mode)
    assert not (environment.path / "srv/conda/envs/notebook/lib/mark").exists()


def test_run_once_for_the_same_repository(overlaid: Overlaid, report: Lines) -> None:
    script = "echo hello"
    first = overlaid(script)
    assert report.lines.count("hello") == 1
    assert overlaid(script) == first
    assert report.lines.count("hello") == 1


def test_runs_as_the_user_in_the_repository_with_build_variables(overlaid: Overlaid, report: Lines) -> None:
    overlaid(
        'echo "$(id -un) $(id -u) $PWD $REPO_DIR $NB_USER $NB_UID $USER $HOME"; command -v python; echo $PIP_INDEX_URL'
    )
    assert "jovyan 1000 /home/jovyan /home/jovyan jovyan 1000 jovyan /home/jovyan" in report
    assert "/srv/conda/envs/notebook/bin/python" in report
    assert "http://pypi.rebind.internal/2024-01-01T00:00:00Z/simple" in report


def test_build_variables_are_not_there_later(overlaid: Overlaid, environment: Environment) -> None:
    layers = overlaid("export LEFT=1")
    assert seen(environment, layers, 'echo "x${NB_USER-}${NB_UID-}${LEFT-}${PIP_INDEX_URL-}"') == ["x"]


def test_any_language(overlaid: Overlaid, report: Lines) -> None:
    overlaid("#!/usr/bin/env python\nimport sys, tiny\nprint('from', tiny.NAME, sys.prefix)\n")
    assert "from tiny /srv/conda/envs/notebook" in report


def test_failure_is_said_with_its_last_lines(overlaid: Overlaid, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="postBuild ended with code 3") as caught:
        overlaid("for i in $(seq 200); do echo line$i; done; exit 3")
    assert caught.value.detail.splitlines()[-1] == "line200"
    assert len(caught.value.detail.splitlines()) == steps.LAST_LINES
    assert caught.value.remedy
    assert list((tmp_path / "store/tmp").iterdir()) == []
    with pytest.raises(ScriptError):
        overlaid("exit 3")


def test_too_long(overlaid: Overlaid, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "_timeout", 0.5)
    with pytest.raises(ScriptError, match="took longer"):
        overlaid("sleep 60")


@pytest.mark.parametrize("script", ["exec 3>big; while :; do head -c 1000000 /dev/zero >&3; sleep 0.01; done"])
def test_attack_filling_the_disk(
    overlaid: Overlaid, builder: Builder, monkeypatch: pytest.MonkeyPatch, script: str, tmp_path: Path
) -> None:
    """Silent, so that nothing but the watch can end it."""
    monkeypatch.setattr(steps, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(builder, "_limits", Limits(disk=5_000_000))
    with pytest.raises(ScriptError, match="wrote more than the 5 MB"):
        overlaid(script)
    assert list((tmp_path / "store/tmp").iterdir()) == []


def test_large_caches_are_removed_and_small_ones_stay(overlaid: Overlaid, environment: Environment) -> None:
    script = (
        "mkdir -p .cache .npm/_cacache; head -c 2000000 /dev/zero > .cache/big; echo > .npm/_cacache/small; echo > x"
    )
    layers = overlaid(script)
    home = layers[1].path / "home"
    assert not (home / ".cache").exists()
    assert (home / ".npm/_cacache/small").exists()


def test_attack_a_cache_that_is_a_link(overlaid: Overlaid, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "big").write_bytes(bytes(3_000_000))
    layers = overlaid(f"ln -s {precious} .cache; mkdir .npm; ln -s {precious} .npm/_cacache")
    assert (precious / "big").exists()
    assert (layers[1].path / "home/.cache").is_symlink()


def test_attack_what_a_post_build_sees(overlaid: Overlaid, report: Lines, tmp_path: Path) -> None:
    """Neither the store nor the machine's files nor its network."""
    (tmp_path / "secret").write_text("hunter2")
    connect = "import socket; socket.create_connection(('1.1.1.1', 80), 1); print('connected')"
    overlaid(
        f"cat {tmp_path}/secret; ls {tmp_path}; cat /etc/shadow | head -c 9; cat /etc/passwd | wc -l; ls /root;"
        f'echo > /usr/x; echo > /opt/x; python -c "{connect}"; ls -d /proc/[0-9]* | wc -l; true'
    )
    assert "hunter2" not in report
    assert "connected" not in report
    assert "root:*" not in report
    assert "root:$" not in report
    assert not Path("/usr/x").exists()


def test_attack_left_over_processes_end_with_the_script(overlaid: Overlaid, environment: Environment) -> None:
    layers = overlaid("(while :; do date +%N > alive; sleep 0.01; done) > /dev/null 2>&1 &")
    before = (layers[1].path / "home/alive").read_text() if (layers[1].path / "home/alive").exists() else ""
    time.sleep(0.1)
    after = (layers[1].path / "home/alive").read_text() if (layers[1].path / "home/alive").exists() else ""
    assert before == after


def test_attack_special_files_in_the_layer(overlaid: Overlaid, environment: Environment) -> None:
    """A layer with a pipe, a socket, an unreadable directory and a link up can be used and removed."""
    layers = overlaid(
        "mkfifo pipe; mkdir -p shut/in; chmod 0 shut; ln -s ../../../../../../etc/passwd up; mkdir d; chmod 0500 d"
    )
    assert "up" in seen(environment, layers, "ls")


def test_layers_can_be_cleaned(overlaid: Overlaid, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = overlaid("mkdir -p shut/in; chmod 0 shut")
    monkeypatch.setattr("rebind.builds.store.LEASE", -1.0)
    builder.store.lease("layers", "0" * 64)
    assert {f"layers/{layer.digest}" for layer in layers} <= set(clean(builder.store, None)[1])
    assert list((builder.store.path / "tmp").iterdir()) == []
