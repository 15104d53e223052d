"""The files and variables of a session."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_tools import give

from rebind.sandbox import Bind, Confinement, Overlay, Symlink, run, session_confinement
from rebind.values import Environment, Interpreter, Layer, Limits

PYTHON = Interpreter("3.11.0", Path(sys.base_prefix), Path(sys.executable).resolve())


@pytest.fixture
def environment(folder: Path) -> Environment:
    binaries = folder / "env" / "srv" / "conda" / "envs" / "notebook" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(PYTHON.inside)
    give(folder / "env")
    return Environment("digest", folder / "env", PYTHON)


def layer(folder: Path, name: str, **files: str) -> Layer:
    for part, text in files.items():
        (folder / name / part).mkdir(parents=True)
        (folder / name / part / "file").write_text(text)
    give(folder / name)
    return Layer(name, folder / name)


def made(environment: Environment, *layers: Layer, **more: object) -> Confinement:
    needed = {"limits": Limits(), "egress": None, "name": "s", **more}
    return session_confinement(environment, layers, **needed)  # type: ignore[arg-type]


def lines(confinement: Confinement, script: str) -> list[str]:
    found: list[str] = []
    run(confinement, ["sh", "-c", script], on_line=found.append)
    return found


def test_variables_of_the_image_contract(environment: Environment) -> None:
    found = made(environment, variables=(("EXTRA", "1"), ("USER", "other"))).environment()
    path = found["PATH"].split(":")
    assert path[:5] == [
        "/home/jovyan/.local/bin",
        "/home/jovyan/.local/bin",
        "/srv/conda/envs/notebook/bin",
        "/srv/conda/bin",
        "/srv/npm/bin",
    ]
    expected = {
        "HOME": "/home/jovyan",
        "REPO_DIR": "/home/jovyan",
        "SHELL": "/bin/bash",
        "APP_BASE": "/srv",
        "CONDA_DIR": "/srv/conda",
        "CONDA_PREFIX": "/srv/conda/envs/notebook",
        "CONDA_DEFAULT_ENV": "/srv/conda/envs/notebook",
        "NB_PYTHON_PREFIX": "/srv/conda/envs/notebook",
        "KERNEL_PYTHON_PREFIX": "/srv/conda/envs/notebook",
        "NPM_DIR": "/srv/npm",
        "NPM_CONFIG_GLOBALCONFIG": "/srv/npm/npmrc",
        "DEBIAN_FRONTEND": "noninteractive",
        "PYTHONUNBUFFERED": "1",
        "EXTRA": "1",
        "USER": "other",
    }
    assert expected.items() <= found.items()
    assert found["LANG"] == found["LC_ALL"]
    assert found["LANG"] in ("en_US.UTF-8", "C.UTF-8")
    assert not {"NB_USER", "NB_UID", "http_proxy"} & set(found)


def test_proxy_variables_only_with_a_proxy(environment: Environment, folder: Path) -> None:
    found = made(environment, egress=folder / "s").environment()
    assert found["https_proxy"] == found["HTTP_PROXY"] == "http://127.0.0.1:3128"
    assert "127.0.0.1" in found["no_proxy"]


def test_the_server_is_at_its_own_path_and_behind_a_link(environment: Environment) -> None:
    found = made(environment, server=Path("/data/store/server"), server_python=Path("/data/python"))
    assert Bind(Path("/data/store/server"), "/data/store/server") in found.mounts
    assert Bind(Path("/data/python"), "/data/python") in found.mounts
    assert Symlink("/opt/rebind/server", "/data/store/server") in found.mounts
    path = found.environment()["PATH"].split(":")
    assert path.index("/opt/rebind/server/bin") == path.index("/srv/conda/envs/notebook/bin") + 1
    assert Bind(Path("/usr"), "/usr") in made(environment, server=Path("/x"), server_python=Path("/usr")).mounts


def test_layers_lie_in_order(environment: Environment, folder: Path) -> None:
    low = layer(folder, "low", home="checkout", srv="checkout")
    top = layer(folder, "top", home="postBuild")
    confinement = made(environment, low, top)
    overlays = {mount.target: mount for mount in confinement.mounts if isinstance(mount, Overlay)}
    assert overlays["/home/jovyan"].lowers == (top.path / "home", low.path / "home")
    assert overlays["/srv"].lowers == (low.path / "srv", environment.path / "srv")
    assert lines(confinement, "pwd; cat file /srv/file") == ["/home/jovyan", "postBuildcheckout"]


def test_a_session_works(environment: Environment, folder: Path) -> None:
    script = """
python -c 'import sys; print(sys.version_info[:2])'; whoami; echo ~
mkdir -p /srv/npm/bin ~/.local/bin && echo writable; echo > /srv/conda/new; touch ~/kept; umask
"""
    found = lines(made(environment, upper=folder / "upper"), script)
    assert found == [str(tuple(sys.version_info[:2])), "jovyan", "/home/jovyan", "writable", "0022"]
    assert (folder / "upper" / "home" / "kept").exists()
    assert (folder / "upper" / "srv" / "conda" / "new").exists()


def test_a_login_shell_keeps_the_path(environment: Environment) -> None:
    assert lines(made(environment), "bash -lc 'echo $PATH'")[0].startswith("/home/jovyan/.local/bin:")


def test_a_bundle_of_certificates_of_the_site(
    environment: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert "SSL_CERT_FILE" not in made(environment).environment()
    (folder / "site.pem").write_text("certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "site.pem"))
    found = made(environment)
    assert found.environment()["REQUESTS_CA_BUNDLE"] == "/etc/rebind/ca-certificates.crt"
    assert lines(found, "cat $SSL_CERT_FILE") == ["certificates"]


def test_pythons_of_the_machine_are_not_mounted_twice(environment: Environment) -> None:
    system = replace(environment, python=Interpreter("3.11.2", Path("/usr"), Path("/usr/bin/python3.11")))
    assert not [each for each in made(system).mounts if isinstance(each, Bind) and "/opt/rebind" in each.target]
