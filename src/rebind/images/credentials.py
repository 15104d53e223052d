"""Who we are at a registry: a variable of repo2docker's, else Docker's own configuration. Nothing is ever written.

`CONTAINER_ENGINE_REGISTRY_CREDENTIALS` holds {"registry", "username", "password"} (builder spec 3.5); Docker's file is
`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, with `auths`, `credHelpers` and `credsStore`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rebind.errors import SettingsError
from rebind.images.names import DOCKER_HUB

VARIABLE = "CONTAINER_ENGINE_REGISTRY_CREDENTIALS"
_KEYS = ("registry", "username", "password")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TIMEOUT = 30.0
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or a token that is exchanged for others."""

    username: str
    password: str = field(repr=False)

    @property
    def is_token(self) -> bool:
        """Whether the password is an identity token (Docker gives it this name)."""
        return self.username in ("", "<token>")

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find(registry: str, environ: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials for a registry. Raises SettingsError if what is set cannot be understood."""
    environ = os.environ if environ is None else environ
    given = environ.get(VARIABLE)
    if given:
        credentials, where = parse(given)
        if _same(where, registry):
            return credentials
    folder = environ.get("DOCKER_CONFIG") or str(Path(environ.get("HOME") or Path.home()) / ".docker")
    return _from_docker(Path(folder) / "config.json", registry, environ)


def parse(text: str) -> tuple[Credentials, str]:
    """Credentials and their registry, as the variable holds them. Raises SettingsError; never shows what it holds."""
    try:
        found = json.loads(text)
        registry, username, password = (found[key] for key in _KEYS)
        good = all(isinstance(each, str) and each for each in (registry, username, password))
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise SettingsError(
            f"{VARIABLE} must hold a JSON object with the texts registry, username and password.",
            remedy="Correct it, or leave it out.",
        )
    return Credentials(username, password), registry


def _same(stated: str, registry: str) -> bool:
    plain = re.sub(r"^https?://", "", stated).split("/")[0].lower()
    return plain == registry.lower() or (
        registry == DOCKER_HUB and plain in ("index.docker.io", "registry-1.docker.io")
    )


def _from_docker(path: Path, registry: str, environ: Mapping[str, str]) -> Credentials | None:
    try:
        config = json.loads(path.read_text())
        assert isinstance(config, dict)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AssertionError) as error:
        raise SettingsError(f"{path} is not Docker's configuration: {error}.") from error
    names = [
        registry,
        f"https://{registry}",
        f"http://{registry}",
        f"https://{registry}/v1/",
        f"https://{registry}/v2/",
    ]
    names += _HUB_KEYS if registry == DOCKER_HUB else ()
    helper = next(
        (config.get("credHelpers", {}).get(name) for name in names if name in config.get("credHelpers", {})), None
    )
    for name in names:
        found = _from_auth(config.get("auths", {}).get(name))
        if found:
            return found
    helper = helper or config.get("credsStore")
    return _from_helper(str(helper), names, environ) if helper else None


def _from_auth(auth: Any) -> Credentials | None:
    if not isinstance(auth, dict):
        return None
    if auth.get("identitytoken"):
        return Credentials("", str(auth["identitytoken"]))
    if auth.get("auth"):
        try:
            username, _, password = base64.b64decode(auth["auth"]).decode().partition(":")
        except ValueError:
            return None
        return Credentials(username, password.rstrip("\0"))
    if auth.get("username"):
        return Credentials(str(auth["username"]), str(auth.get("password", "")))
    return None


def _from_helper(helper: str, names: list[str], environ: Mapping[str, str]) -> Credentials | None:
    """Asks `docker-credential-<helper>` (Docker's protocol for such programs)."""
    if not _HELPER.fullmatch(helper):
        raise SettingsError(f"{helper!r} is not the name of a credential helper.")
    for name in names[-2:] if names[0] == DOCKER_HUB else names[:2]:
        try:
            argv = [f"docker-credential-{helper}", "get"]
            done = subprocess.run(argv, input=name.encode(), capture_output=True, timeout=_TIMEOUT, env=dict(environ))
            if done.returncode == 0:
                found = json.loads(done.stdout)
                return Credentials(str(found["Username"]), str(found["Secret"]))
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
            continue
    return None
