from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rebind.engines.process.order import INNER_SOCKET
from rebind.engines.process.variables import command, variables
from rebind.errors import SessionError
from rebind.values import NB_PREFIX, Environment, Interpreter, Limits, SessionRequest


@pytest.fixture
def request_(tmp_path: Path) -> SessionRequest:
    python = Interpreter("3.11.7", Path("/usr"), Path("/usr/bin/python3"))
    environment = Environment("d" * 64, tmp_path, python)
    return SessionRequest("a", "ada", "/user/ada/", "s3cret", environment, (), allow_origin="*")


def _install(request: SessionRequest, *names: str) -> None:
    folder = request.environment.path / NB_PREFIX.lstrip("/") / "bin"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def test_an_ordinary_session_is_forked(request_: SessionRequest) -> None:
    assert command(request_) == ()
    assert dict(variables(request_)) == {"JUPYTER_PATH": f"{NB_PREFIX}/share/jupyter"}


def test_limits_are_told_to_the_servers_display(request_: SessionRequest) -> None:
    found = dict(variables(replace(request_, limits=Limits(memory=1 << 30, cpus=1.5))))
    assert (found["MEM_LIMIT"], found["CPU_LIMIT"]) == (str(1 << 30), "1.5")


def test_the_requests_variables_win(request_: SessionRequest) -> None:
    found = dict(variables(replace(request_, variables=(("JUPYTER_PATH", "/x"), ("BINDER_REQUEST", "v2/gh/a/b")))))
    assert (found["JUPYTER_PATH"], found["BINDER_REQUEST"]) == ("/x", "v2/gh/a/b")


def test_a_start_script_comes_before_the_command(request_: SessionRequest) -> None:
    request = replace(request_, start="binder/start")
    assert command(request)[:2] == ("/home/jovyan/binder/start", "/opt/rebind/server/bin/jupyter-lab")
    found = dict(variables(request))
    assert found["R2D_ENTRYPOINT"] == "/home/jovyan/binder/start"
    assert found["JUPYTER_TOKEN"] == "s3cret"


def test_the_token_is_on_no_command_line(request_: SessionRequest) -> None:
    assert "s3cret" not in " ".join(command(replace(request_, start="start")))


def test_every_option_has_both_names(request_: SessionRequest) -> None:
    options = command(replace(request_, start="start"))[2:]
    for app in ("ServerApp", "NotebookApp"):
        assert f"--{app}.base_url=/user/ada/" in options
        assert f"--{app}.sock={INNER_SOCKET}" in options
        assert f"--{app}.allow_origin=*" in options
        assert f"--{app}.allow_origin_pat=.*" in options


@pytest.mark.parametrize(
    ("there", "taken"),
    [(["jupyter-lab", "jupyter-notebook"], "jupyter-lab"), (["jupyter-notebook"], "jupyter-notebook")],
)
def test_a_joined_environment_brings_its_server(request_: SessionRequest, there: list[str], taken: str) -> None:
    _install(request_, *there)
    request = replace(request_, environment=replace(request_.environment, joined=True))
    assert command(request)[0] == f"{NB_PREFIX}/bin/{taken}"
    assert "JUPYTER_PATH" not in dict(variables(request))


def test_a_joined_environment_without_a_server_is_told(request_: SessionRequest) -> None:
    request = replace(request_, environment=replace(request_.environment, joined=True))
    with pytest.raises(SessionError, match="no notebook server"):
        command(request)
