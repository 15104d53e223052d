"""What a session's server is started with: its variables, and its command where it is not forked."""

from __future__ import annotations

from rebind.engines.process.order import INNER_SOCKET
from rebind.engines.process.widgets import jupyter_path
from rebind.errors import SessionError
from rebind.values import NB_PREFIX, REPO_DIR, SERVER_DIR, SessionRequest

_JOINED = ("jupyter-lab", "jupyter-notebook", "jupyter-server")


def variables(request: SessionRequest) -> tuple[tuple[str, str], ...]:
    """Variables beyond those that every process of the repository has."""
    found = {} if request.environment.joined else {"JUPYTER_PATH": jupyter_path(request.environment)}
    limits = request.limits
    if limits.memory is not None:
        found["MEM_LIMIT"] = str(limits.memory)  # shown by jupyter-resource-usage
    if limits.cpus is not None:
        found["CPU_LIMIT"] = str(limits.cpus)
    if request.start is not None:
        found["R2D_ENTRYPOINT"] = _script(request)
    if command(request):
        # Not an option: everybody on the host may read the command line of a process.
        found["JUPYTER_TOKEN"] = request.token
    return tuple((found | dict(request.variables)).items())


def command(request: SessionRequest) -> tuple[str, ...]:
    """The command that starts the server, or () where the warm parent's child serves."""
    if request.start is None and not request.environment.joined:
        return ()
    server = _joined_server(request) if request.environment.joined else f"{SERVER_DIR}/bin/jupyter-lab"
    before = () if request.start is None else (_script(request),)
    return (*before, server, *_options(request))


def _script(request: SessionRequest) -> str:
    return f"{REPO_DIR}/{request.start}"


def _joined_server(request: SessionRequest) -> str:
    folder = request.environment.path / NB_PREFIX.lstrip("/") / "bin"
    for name in _JOINED:
        if (folder / name).is_file():
            return f"{NB_PREFIX}/bin/{name}"
    raise SessionError(
        "The environment holds no notebook server.", remedy="Add jupyterlab to the repository's requirements."
    )


def _options(request: SessionRequest) -> list[str]:
    values: dict[str, object] = {
        "base_url": request.base_url,
        "sock": INNER_SOCKET,
        "open_browser": False,
        "allow_remote_access": True,
        "trust_xheaders": True,
        "allow_origin": request.allow_origin,
    }
    if request.allow_origin == "*":
        values["allow_origin_pat"] = ".*"
    # Servers before jupyter_server read the first name, later ones the second.
    return [f"--{app}.{key}={value}" for app in ("NotebookApp", "ServerApp") for key, value in values.items()]
