"""What JupyterLab is told beforehand so that it calls nobody and asks nothing: no news, no updates, no other catalogue.

Files in the sandbox's /etc/jupyter, because they reach every server, also one that a repository starts itself. They
have the lowest rank: a repository or a visitor that wants something else gets it.
"""

from __future__ import annotations

import json

from rebind.sandbox import Mount, Text

LAB = {
    "extension_manager": "readonly",
    "news_url": None,
    "check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
}
"""Traits of `LabApp`. Without a `news_url` the page asks all the same whether one wants news; see `_SETTINGS`."""
_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def quiet_mounts() -> tuple[Mount, ...]:
    """The files."""
    return (
        Text("/etc/jupyter/jupyter_lab_config.json", json.dumps({"LabApp": LAB})),
        Text("/etc/jupyter/labconfig/default_setting_overrides.json", json.dumps(_SETTINGS)),
    )
