"""What a session sees: the files and variables that repositories rely on (builder spec 1.5 and 1.16)."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from rebind.sandbox import syscalls
from rebind.sandbox.base import base_mounts
from rebind.sandbox.mounts import SANDBOX_UID, Bind, Confinement, Mount, Overlay, Symlink
from rebind.sandbox.system import with_system
from rebind.values import (
    APP_BASE,
    CONDA_DIR,
    HOME,
    NPM_DIR,
    REPO_DIR,
    SERVER_DIR,
    USER,
    Environment,
    Interpreter,
    Layer,
    Limits,
)

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_CERTIFICATE_NAMES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)


def session_confinement(
    environment: Environment,
    layers: tuple[Layer, ...],
    *,
    limits: Limits,
    egress: Path | None,
    name: str,
    server: Path | None = None,
    server_python: Path | None = None,
    upper: Path | None = None,
    variables: tuple[tuple[str, str], ...] = (),
    owner: int = SANDBOX_UID,
) -> Confinement:
    """The confinement of a session, a postBuild or `rebind run`.

    `layers` bottom first, as everywhere; one with `usr/` lies over the host's programs, read-only. /home/jovyan and
    /srv are overlays; what is written goes to `upper`/home and `upper`/srv, or with None into the scratch space of the
    disk limit. `server` is the notebook server's prefix on the host, seen at that very path and as /opt/rebind/server;
    `server_python` is the `sys.base_prefix` of its interpreter (None: found by its link), also seen at its own path.
    `variables` come last and win.
    """
    mounts = (
        *_system(layers),
        _overlay(HOME, "home", layers, (), upper),
        _overlay(APP_BASE, "srv", layers, (environment.path / "srv",), upper),
        *interpreter_mounts(environment.python),
        *_server(server, server_python),
        *_certificates(),
    )
    inside = dict(_variables(environment, with_server=server is not None)) | dict(variables)
    return Confinement(mounts, tuple(inside.items()), REPO_DIR, limits, egress, name, owner)


def _system(layers: tuple[Layer, ...]) -> tuple[Mount, ...]:
    mounts = base_mounts()
    for layer in layers:
        if (layer.path / "usr").is_dir():
            mounts = with_system(mounts, layer.path)
    return mounts


def _overlay(target: str, part: str, layers: tuple[Layer, ...], last: tuple[Path, ...], upper: Path | None) -> Overlay:
    tops = (layer.path / part for layer in reversed(layers))
    lowers = (*(path for path in tops if path.is_dir()), *last)
    return Overlay(target, lowers, None if upper is None else upper / part)


def interpreter_mounts(python: Interpreter) -> tuple[Mount, ...]:
    """An interpreter where sandboxes see it, and at its own path: a shared build looks for its library there, and
    would silently take another Python's from /usr (seen with pyenv's, whose RPATH is absolute)."""
    if python.mount is None:
        return ()
    return Bind(python.prefix, python.mount), Bind(python.prefix, str(python.prefix))


def _server(server: Path | None, python: Path | None) -> list[Mount]:
    if server is None:
        return []
    found: list[Mount] = [Bind(server, str(server)), Symlink(SERVER_DIR, str(server))]
    python = python or (server / "bin/python").resolve().parent.parent
    if not python.is_relative_to("/usr"):
        found.append(Bind(python, str(python)))
    return found


def _certificates() -> list[Mount]:
    """A site's own bundle of certificate authorities, where programs of Debian look for theirs."""
    bundle = os.environ.get("SSL_CERT_FILE")
    if not bundle or not Path(bundle).is_file() or Path(bundle).is_relative_to("/etc/ssl/certs"):
        return []
    return [Bind(Path(bundle), "/etc/rebind/ca-certificates.crt")]


def _certificate_variables() -> dict[str, str]:
    """Programs that carry their own authorities are told of the site's, if the site has some."""
    if not os.environ.get("SSL_CERT_FILE"):
        return {}
    path = "/etc/rebind/ca-certificates.crt" if _certificates() else str(_CERTIFICATES)
    return dict.fromkeys(_CERTIFICATE_NAMES, path)


def _variables(environment: Environment, *, with_server: bool) -> dict[str, str]:
    prefix = environment.prefix
    locale = session_locale()
    found = {
        "PATH": _path(prefix, with_server=with_server),
        "HOME": HOME,
        "USER": USER,
        "LOGNAME": USER,
        "SHELL": "/bin/bash",
        "TERM": "xterm-256color",
        "LANG": locale,
        "LC_ALL": locale,
        "LANGUAGE": locale,
        "DEBIAN_FRONTEND": "noninteractive",
        "PYTHONUNBUFFERED": "1",
        "REPO_DIR": REPO_DIR,
        "APP_BASE": APP_BASE,
        "NPM_DIR": NPM_DIR,
        "NPM_CONFIG_GLOBALCONFIG": f"{NPM_DIR}/npmrc",
        "NPM_CONFIG_PREFIX": NPM_DIR,
    }
    return found | _conda_variables(prefix) | _certificate_variables()


def _conda_variables(prefix: str) -> dict[str, str]:
    return {
        "CONDA_DIR": CONDA_DIR,
        "MAMBA_ROOT_PREFIX": CONDA_DIR,
        "CONDA_PLATFORM": {"aarch64": "linux-aarch64"}.get(platform.machine(), "linux-64"),
        "CONDA_DEFAULT_ENV": prefix,
        "CONDA_PREFIX": prefix,
        "NB_PYTHON_PREFIX": prefix,
        "KERNEL_PYTHON_PREFIX": prefix,
    }


def _path(prefix: str, *, with_server: bool) -> str:
    folders = [f"{HOME}/.local/bin", f"{REPO_DIR}/.local/bin", f"{prefix}/bin"]
    folders += [f"{SERVER_DIR}/bin"] if with_server else []
    return ":".join([*folders, f"{CONDA_DIR}/bin", f"{NPM_DIR}/bin", _SYSTEM_PATH])


@cache
def session_locale() -> str:
    """en_US.UTF-8, as in repo2docker's images, if this machine has generated it; else C.UTF-8."""
    return "en_US.UTF-8" if syscalls.locale_exists("en_US.UTF-8") else "C.UTF-8"
