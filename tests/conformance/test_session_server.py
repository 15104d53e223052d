"""What clients need of a session's server (launch-api 1.5, 2.2, 2.3, 2.6, 2.8; builder 1.5, 1.15, 1.16)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rebind.engines.process import ProcessEngine
from rebind.engines.suite import MakeRequest, quiet
from rebind.values import NB_PREFIX, Environment, Layer, Session, SessionRequest
from session_fixtures import (
    Notebook,
    ask,
    engine,
    environment,
    joined,
    make_layer,
    make_request,
    own,
    server,
    sessions_folder,
)

__all__ = ["engine", "environment", "joined", "make_layer", "make_request", "server", "sessions_folder"]

pytestmark = [pytest.mark.session, pytest.mark.network]

ORIGIN = "https://book.example"
Open = tuple[Session, SessionRequest]


@pytest.fixture
def open_session(engine: ProcessEngine, make_request: MakeRequest) -> Iterator[Open]:
    request = make_request("open", allow_origin="*")
    session = engine.start(request, quiet)
    yield session, request
    engine.stop(session)


def _preflight(opened: Open, path: str) -> tuple[int, dict[str, str], bytes]:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return ask(*opened, path, method="OPTIONS", headers=headers)


def test_a_preflight_needs_no_token(open_session: Open) -> None:
    for path in ("api/kernels", "api/sessions", "api/contents/x.ipynb", "api/status"):
        status, headers, _ = _preflight(open_session, path)
        assert 200 <= status < 300
        assert headers["access-control-allow-origin"] in (ORIGIN, "*")
        allowed = headers["access-control-allow-headers"].replace(" ", "").split(",")
        assert {"authorization", "content-type", "x-xsrftoken"} <= set(allowed)
        methods = headers["access-control-allow-methods"].replace(" ", "").split(",")
        assert {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"} <= set(methods)


@pytest.mark.parametrize("origin", [ORIGIN, "null"])
@pytest.mark.parametrize("way", ["token", "Bearer", "?"])
def test_a_token_opens_it_from_any_origin(open_session: Open, origin: str, way: str) -> None:
    token = open_session[1].token
    path = f"api/kernels?token={token}" if way == "?" else "api/kernels"
    headers = {"Origin": origin} | ({} if way == "?" else {"Authorization": f"{way} {token}"})
    status, answered, body = ask(*open_session, path, headers=headers)
    assert (status, json.loads(body)) == (200, [])
    assert answered["access-control-allow-origin"] in (origin, "*")


def test_a_cookie_does_nothing_from_another_origin(engine: ProcessEngine, make_request: MakeRequest) -> None:
    request = make_request("closed")
    session = engine.start(request, quiet)
    host = {"Host": "hub.example"}
    _, headers, _ = ask(session, request, f"api/contents?token={request.token}", headers=host)
    cookie = host | {"Cookie": headers["set-cookie"].split(";")[0]}
    assert ask(session, request, "api/kernels", headers=cookie)[0] == 200
    status, headers, _ = ask(session, request, "api/kernels", headers=cookie | {"Origin": ORIGIN})
    assert status in (403, 404)
    assert "access-control-allow-origin" not in headers
    engine.stop(session)


def test_the_token_sets_a_cookie_on_the_prefix_alone(open_session: Open) -> None:
    _, headers, _ = ask(*open_session, f"lab?token={open_session[1].token}", headers={})
    assert f"path={open_session[1].base_url}" in headers["set-cookie"].lower().replace("; ", ";")


def test_without_a_token_it_answers_403_at_once(open_session: Open) -> None:
    status, headers, _ = ask(*open_session, "api/kernels", headers={"Origin": ORIGIN})
    assert status == 403
    assert "location" not in headers


def test_thebe_starts_its_kernel_with_a_plain_text_body(open_session: Open) -> None:
    session, request = open_session
    body = {"name": "thebe.ipynb", "path": "/", "type": "notebook", "kernel": {"name": "python"}}
    headers = {
        "Authorization": f"token {request.token}",
        "Content-Type": "text/plain;charset=UTF-8",
        "Origin": ORIGIN,
    }
    status, _, answer = ask(session, request, "api/sessions", method="POST", body=body, headers=headers)
    assert status == 201
    facts = json.loads(answer)
    assert {"id", "path", "name", "type", "kernel"} <= set(facts)
    notebook = Notebook(session, request, facts["kernel"]["id"])
    assert notebook.run("print(6 * 7)") == "42"
    notebook.close()
    kernel = f"api/kernels/{facts['kernel']['id']}"
    for action, wanted in (("interrupt", 204), ("restart", 200)):
        assert ask(session, request, f"{kernel}/{action}", method="POST", headers=headers)[0] == wanted
    assert ask(session, request, f"api/sessions/{facts['id']}", method="DELETE", headers=headers)[0] == 204


def test_juniper_starts_its_kernel(open_session: Open) -> None:
    status, _, _ = ask(*open_session, "api/kernels", method="POST", body={"name": "python3"})
    assert status == 201


def test_an_unknown_kernel_is_told(open_session: Open) -> None:
    assert ask(*open_session, "api/kernels", method="POST", body={"name": "cobol"})[0] >= 400


@pytest.mark.parametrize("path", ["lab", "tree", "api", "git-pull?repo=https%3A%2F%2Fa.example%2Fb"])
def test_the_pages_are_there(open_session: Open, path: str) -> None:
    assert ask(*open_session, path)[0] == 200


def test_a_program_inside_is_reached_through_proxy_port(open_session: Open) -> None:
    session, request = open_session
    _, _, body = ask(session, request, "api/kernels", method="POST", body={"name": "python3"})
    notebook = Notebook(session, request, json.loads(body)["id"])
    code = "import subprocess, sys, time, urllib.request\n"
    code += "open('hello.txt', 'w').write('hello')\n"
    code += "p = subprocess.Popen([sys.executable, '-m', 'http.server', '8123', '--bind', '127.0.0.1'])\n"
    code += "for _ in range(100):\n"
    code += "    try: urllib.request.urlopen('http://127.0.0.1:8123/hello.txt'); break\n"
    code += "    except OSError: time.sleep(0.1)"
    notebook.run(code)
    assert ask(session, request, "proxy/8123/hello.txt")[2] == b"hello"
    assert ask(session, request, "proxy/8123/hello.txt", headers={})[0] in (302, 403)
    notebook.close()


def test_front_end_extensions_of_the_kernels_environment_are_seen(
    engine: ProcessEngine, make_request: MakeRequest
) -> None:
    request = make_request("labextensions")
    session = engine.start(request, quiet)
    page = ask(session, request, "lab")[2].decode()
    assert "@jupyter-widgets/jupyterlab-manager" in page
    engine.stop(session)


def test_u_kernel_python_2_is_what_python_means(
    engine: ProcessEngine, make_request: MakeRequest, sessions_folder: Path
) -> None:
    """A repository whose own kernel is called `python2` (builder 1.5)."""
    request = make_request("python2")
    sessions_folder.chmod(0o755)
    shutil.copytree(request.environment.path / "srv", sessions_folder / "srv", symlinks=True, copy_function=os.link)
    kernels = sessions_folder / NB_PREFIX.lstrip("/") / "share/jupyter/kernels"
    (kernels / "python3").rename(kernels / "python2")
    own(sessions_folder)
    environment = replace(request.environment, path=sessions_folder)
    session = engine.start(replace(request, environment=environment), quiet)
    status, _, body = ask(session, request, "api/kernelspecs")
    assert (status, json.loads(body)["default"]) == (200, "python2")
    assert "python2" in json.loads(body)["kernelspecs"]
    status, _, body = ask(session, request, "api/kernels", method="POST", body={"name": "python"})
    assert (status, json.loads(body)["name"]) == (201, "python2")
    engine.stop(session)


def test_a_joined_environment_runs_its_own_server(
    engine: ProcessEngine, make_request: MakeRequest, joined: Environment
) -> None:
    request = make_request("joined", environment=joined, allow_origin="*")
    session = engine.start(request, quiet)
    assert ask(session, request, "lab")[0] == 200
    assert ask(session, request, "api/contents", headers={})[0] == 403
    status, _, body = ask(session, request, "api/kernels", method="POST", body={"name": "python"})
    assert status == 201
    notebook = Notebook(session, request, json.loads(body)["id"])
    assert notebook.run("import jupyterlab, sys; print(sys.prefix)") == NB_PREFIX
    # The other server's programs come last on its path: `node` and `npm` are there, `jupyter` is its own.
    assert notebook.run("import shutil; print(shutil.which('jupyter-lab'))") == f"{NB_PREFIX}/bin/jupyter-lab"
    notebook.close()
    engine.stop(session)


@pytest.mark.parametrize(
    ("script", "greeting"),
    [
        ("#!/bin/bash\nexport GREETING=bash\nexec \"$@\"\n", "bash"),
        ("export GREETING=sh\nexec \"$@\"\n", "sh"),
        (f"#!{NB_PREFIX}/bin/python\nimport os, subprocess, sys\nos.environ['GREETING'] = 'python'\n"
         "sys.exit(subprocess.call(sys.argv[1:]))\n", "python"),
    ],
    ids=["bash", "without a first line", "a child of python"],
)  # fmt: skip
def test_o_20_exported_variables_of_start_reach_the_kernels(
    engine: ProcessEngine,
    make_request: MakeRequest,
    make_layer: Callable[..., Layer],
    script: str,
    greeting: str,
) -> None:
    request = make_request("start", layers=(make_layer({"start": script}),), start="start")
    session = engine.start(request, quiet)
    _, _, body = ask(session, request, "api/kernels", method="POST", body={"name": "python"})
    notebook = Notebook(session, request, json.loads(body)["id"])
    assert notebook.run("import os, sys; print(os.environ['GREETING'], sys.prefix)") == f"{greeting} {NB_PREFIX}"
    notebook.close()
    engine.stop(session)
