from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rebind.engines.process import ProcessEngine, rehearsal
from rebind.engines.process.parent import prepare
from rebind.engines.process.warm import VARIABLES, WarmParent
from rebind.errors import SessionError


def _fake_server(folder: Path, program: str) -> Path:
    """A server environment whose interpreter is a script."""
    python = folder / "prefix/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(program)
    python.chmod(0o755)
    return folder / "prefix"


def test_a_parent_that_cannot_start_is_told_with_what_it_said(tmp_path: Path) -> None:
    server = _fake_server(tmp_path, "#!/bin/sh\necho no module named jupyterlab >&2\nexit 1\n")
    parent = WarmParent(server, 61000, tmp_path / "log")
    with pytest.raises(SessionError, match="did not start") as caught:
        parent.start()
    assert "no module named jupyterlab" in caught.value.detail
    assert str(server) in caught.value.remedy
    with pytest.raises(SessionError):
        parent.fork()
    parent.close()


def test_a_parent_with_threads_is_refused(tmp_path: Path) -> None:
    program = (
        f"#!{sys.executable}\nimport socket, sys\n"
        "s = socket.socket(fileno=int(sys.argv[5])); s.recv(9999); s.send(b'{\"threads\": 3}'); s.recv(1)\n"
    )
    parent = WarmParent(_fake_server(tmp_path, program), 61000, tmp_path / "log")
    with pytest.raises(SessionError, match="start 2 threads"):
        parent.start()
    parent.close()


def test_it_is_given_no_variable_but_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_SECRET", "x")
    seen = tmp_path / "seen"
    server = _fake_server(tmp_path, f"#!/bin/sh\n/usr/bin/env > {seen}\nls -l /proc/self/fd >> {seen}\n")
    with pytest.raises(SessionError):
        WarmParent(server, 61000, tmp_path / "log").start()
    names = {line.split("=")[0] for line in seen.read_text().splitlines() if "=" in line}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == set(VARIABLES)


def test_what_cannot_be_imported_is_left_to_the_session() -> None:
    facts = prepare(["json", "no.such.module"])
    assert facts["failed"] == 1
    assert facts["threads"] >= 1


def test_what_was_rehearsed_is_remembered_for_this_server_alone(tmp_path: Path) -> None:
    asked = []

    def start(*_: object, **__: object) -> object:
        asked.append(1)
        raise SessionError("rehearsed")

    server = tmp_path / "server"
    server.mkdir()
    status = server.stat()
    memory = tmp_path / "modules.json"
    memory.write_text(json.dumps({"server": [str(server), status.st_ino, status.st_mtime_ns], "modules": ["a", "b"]}))
    assert rehearsal.modules(start, tmp_path, server) == ("a", "b")  # type: ignore[arg-type]
    for broken in ("{", "[]", "{}", '{"server": ["/other", 1, 2], "modules": ["x"]}', ""):
        memory.write_text(broken)
        (server / "bin").mkdir(exist_ok=True)
        with pytest.raises(SessionError, match="rehearsed"):
            rehearsal.modules(start, tmp_path, server)  # type: ignore[arg-type]
    assert len(asked) == 5


@pytest.mark.session
@pytest.mark.network
def test_a_second_engine_needs_no_rehearsal(engine: ProcessEngine, server: Path) -> None:
    second = ProcessEngine(engine.directory, server)
    before = sorted(path.name for path in engine.directory.iterdir())
    second.prepare()
    assert sorted(path.name for path in engine.directory.iterdir()) == before
    assert "modules.json" in before
    second.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_path_below_a_roots_folder_is_exposed_and_nothing_else(tmp_path: Path) -> None:
    barred = tmp_path / "barred"
    for name in ("wanted", "secret"):
        (barred / name).mkdir(parents=True)
        (barred / name / "file").write_text(name)
    barred.chmod(0o700)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom rebind.engines.process.parent import expose\n"
        f"expose([Path({str(barred / 'wanted')!r})])\nos.setresuid(61000, 61000, 61000)\n"
        f"print(Path({str(barred / 'wanted/file')!r}).read_text(), os.listdir({str(barred)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "wanted ['wanted']", done.stderr
    assert (barred / "secret/file").read_text() == "secret"  # hidden from that process, not from us
