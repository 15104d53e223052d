"""Which front end of ipywidgets the pages of a session get. It has to fit both the kernel's ipywidgets and our server.

| ipywidgets of the kernel | what came with it | what the pages get |
| --- | --- | --- |
| 8 | one that today's JupyterLab takes | that one |
| 7 | none (before 7.6), or one for JupyterLab 3, which breaks in today's | the server's, jupyterlab-widgets 1.1 |
| before | none; its protocol is unknown to every front end of today | none: the output's text is shown |
"""

from __future__ import annotations

import json
import re

from rebind.sandbox import Mount, Text
from rebind.values import NB_PREFIX, SERVER_DIR, Environment

_MANAGER = "@jupyter-widgets/jupyterlab-manager"
_VERSION = re.compile(r"ipywidgets-(\d+)\.[^/]*\.dist-info")


def widgets_version(environment: Environment) -> int | None:
    """The first number of the version of ipywidgets in an environment, None if it has none."""
    prefix = environment.path / NB_PREFIX.lstrip("/")
    for path in prefix.glob("lib/python*/site-packages/ipywidgets-*.dist-info"):
        if found := _VERSION.fullmatch(path.name):
            return int(found[1])
    return None


def jupyter_path(environment: Environment) -> str:
    """Where the server looks for extensions of its pages and for kernels before its own folders."""
    own = f"{NB_PREFIX}/share/jupyter"
    return f"{SERVER_DIR}/share/jupyter:{own}" if widgets_version(environment) == 7 else own


def widget_mounts(environment: Environment) -> tuple[Mount, ...]:
    """Files that turn the front end off where it could only fail."""
    version = widgets_version(environment)
    if version is None or version >= 7:
        return ()
    page = {"disabledExtensions": {_MANAGER: True}}
    return (Text("/etc/jupyter/labconfig/page_config.json", json.dumps(page)),)
