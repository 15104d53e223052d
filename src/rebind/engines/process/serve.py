"""The notebook server of a session. Runs with the server environment's interpreter; rebind's own has no Jupyter.

`preload` in the warm parent, `serve` in each child, inside its sandbox.
"""

# mypy: disable-error-code="import-not-found, import-untyped, misc"
from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

from rebind.engines.process.order import Order
from rebind.engines.process.quiet import LAB
from rebind.values import NB_PREFIX, NPM_DIR, REPO_DIR

_EXTENSIONS = (
    "jupyter_lsp",
    "jupyter_resource_usage",
    "jupyter_server_proxy",
    "jupyter_server_terminals",
    "nbgitpuller",
    "notebook_shim",
)
_NODE_ROOTS = [REPO_DIR, f"{NB_PREFIX}/lib", f"{NPM_DIR}/lib"]
"""Where jupyter_lsp looks for language servers; by itself it runs `npm prefix -g`, half of the CPU of a start."""


def preload() -> None:
    """Imports the server. Makes no event loop, no context of zmq, no thread: none of them survives a fork."""
    # Builds a grammar at import, 54 % of JupyterLab's import time; jsonschema does without.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import importlib

    for name in _EXTENSIONS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def serve(order: Order, listener: int, tell: int) -> int:
    """Serves until it is told to end; the exit code. The environment and the folder are the session's already."""
    before = set(sys.modules)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _lighten()
    app = _lab_app(_server_class(socket.socket(fileno=listener), _settings(order)))
    try:
        app.launch_instance([])
    finally:
        if order.rehearsal:
            os.write(tell, "\n".join(set(sys.modules) - before).encode())
    return 0


def kernel_name(prefix: str = NB_PREFIX) -> str | None:
    """The name of the repository's own Python kernel."""
    kernels = Path(prefix, "share/jupyter/kernels")
    return next((name for name in ("python3", "python2") if (kernels / name / "kernel.json").is_file()), None)


def _settings(order: Order) -> Any:
    """Settings of Jupyter; they win over configuration files, of which a repository may bring some."""
    from traitlets.config import Config

    serving = order.serving
    name = kernel_name()
    settings: dict[str, dict[str, object]] = {
        "ServerApp": {
            "base_url": serving.base_url,
            "root_dir": REPO_DIR,
            "ip": "127.0.0.1",
            "open_browser": False,
            "allow_remote_access": True,
            "trust_xheaders": True,
            "allow_origin": serving.allow_origin,
            "allow_origin_pat": ".*" if serving.allow_origin == "*" else "",
            "cookie_secret": secrets.token_bytes(32),
            "tornado_settings": {"page_config_data": {"buildAvailable": False, "buildCheck": False}},
        },
        "IdentityProvider": {"token": serving.token},
        "LanguageServerManager": {"node_roots": _NODE_ROOTS},
        "PasswordIdentityProvider": {"hashed_password": ""},
        "LabApp": dict(LAB),  # the server's environment is read-only
    }
    if name is not None:
        _name_kernel(name)
        settings["MultiKernelManager"] = {"default_kernel_name": name}
    return Config(settings)


def _name_kernel(own: str) -> None:
    """What `python` means, the name that thebe asks for, and what is started where none is named."""
    from jupyter_client import kernelspec

    kernelspec.NATIVE_KERNEL_NAME = own


def _server_class(listener: socket.socket, settings: Any) -> type:
    from jupyter_server import serverapp
    from tornado.httpserver import HTTPServer

    listener.setblocking(False)

    class ServerApp(serverapp.ServerApp):
        no_browser_open_file = True

        def parse_command_line(self, argv: Any = None) -> None:
            self.update_config(settings)

        def migrate_config(self) -> None: ...

        def init_httpserver(self) -> None:
            self._http_server = HTTPServer(
                self.web_app,
                xheaders=self.trust_xheaders,
                max_body_size=self.max_body_size,
                max_buffer_size=self.max_buffer_size,
            )
            self.io_loop.add_callback(self._listen)

        def _listen(self) -> None:
            self._http_server.add_socket(listener)
            # For tools inside that look the running server up.
            self._http_server.listen(self.port, self.ip)

    return ServerApp


def _lab_app(server_class: type) -> Any:
    from jupyterlab.labapp import LabApp

    LabApp.serverapp_class = server_class
    return LabApp


def _lighten() -> None:
    """Leaves out what costs time at start and has no use here: extensions parse an empty command line each."""
    from jupyter_server.extension.application import ExtensionApp

    parse = ExtensionApp.parse_command_line

    def parse_command_line(self: Any, argv: Any = None) -> None:
        if argv:
            parse(self, argv)

    ExtensionApp.parse_command_line = parse_command_line
