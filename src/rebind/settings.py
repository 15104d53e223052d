"""Every setting once: name, type, default, help. Each is also the variable `REBIND_<NAME>` and a line of a TOML file.

Order: a flag of the command line, then the environment, then the file (`REBIND_SETTINGS`, else
`~/.config/rebind/rebind.toml`, else `/etc/rebind.toml`), then the default. A wrong name is an error with a hint.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from rebind.errors import SettingsError

PREFIX = "REBIND_"
_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TIMES = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NOT_SETTINGS = {"REBIND_SETTINGS"}


def _default_data() -> Path:
    if os.getuid() == 0:
        return Path("/var/lib/rebind")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rebind"


def _setting(default: Any, text: str, kind: str = "") -> Any:
    metadata = {"help": text, "kind": kind}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Sizes are bytes, times seconds; both may have a unit (`2G`, `10m`). 0 means no limit."""

    data: Path = _setting(_default_data, "Directory that holds everything rebind keeps.")
    host: str = _setting("127.0.0.1", "Address on which `rebind serve` listens.")
    port: int = _setting(8585, "Port on which `rebind serve` listens; 0 takes a free one.")
    index_url: str = _setting("https://pypi.org/simple", "Python package index; must give upload times (PEP 700).")
    conda_channels_url: str = _setting("https://conda.anaconda.org", "Where conda channels that have a name lie.")
    allow_private_addresses: bool = _setting(
        False, "Let a hub fetch from private and loopback addresses, and from paths of its own machine."
    )
    max_sessions: int = _setting(50, "Sessions that a hub runs at once.")
    max_builds: int = _setting(2, "Builds that run at once.")
    max_launches: int = _setting(500, "Launches that a full hub lets wait in its queue.")
    session_memory: int = _setting(2 * 2**30, "Memory of one session.", "size")
    session_cpus: float = _setting(0.0, "CPUs that one session may use.")
    session_processes: int = _setting(512, "Processes and threads of one session.")
    session_disk: int = _setting(2 * 2**30, "Bytes that one session may write.", "size")
    build_memory: int = _setting(4 * 2**30, "Memory of one step of a build.", "size")
    build_disk: int = _setting(10 * 2**30, "Bytes that one step of a build may write.", "size")
    build_timeout: float = _setting(3600.0, "Longest time of one step of a build.", "time")
    fetch_timeout: float = _setting(600.0, "Longest time of fetching a repository.", "time")
    fetch_disk: int = _setting(10 * 2**30, "Largest repository that is fetched.", "size")
    idle_timeout: float = _setting(600.0, "A session without traffic for this long is stopped.", "time")
    session_max_age: float = _setting(6 * 3600.0, "A session is stopped after this long, whatever it does.", "time")
    start_timeout: float = _setting(60.0, "How long a session's server may take to answer.", "time")
    keep_sessions: bool = _setting(
        False, "Leave sessions and proxy running when `rebind serve` is asked to stop (for an upgrade)."
    )
    base_image: str = _setting(
        "docker://docker.io/library/buildpack-deps:24.04",
        "What images lie on: docker://NAME, oci:DIR, oci-archive:FILE, or tar:FILE with a root file system.",
    )
    plain_http_registries: str = _setting(
        "", "Registries (host or host:port) that may be spoken to without encryption; this machine's always may."
    )
    sandbox_uid: int = _setting(61000, "User id of sandboxes when rebind runs as root.")
    egress_ports: str = _setting("80,443,9418,22,873", "Ports that sandboxes may reach on public addresses.")
    egress_hosts: str = _setting(
        "", "Hosts that sandboxes may reach whatever their addresses are (mirrors of package registries)."
    )
    cors_allow_origin: str = _setting("*", "Origin that may use the launch API and the sessions from other pages.")
    trusted_proxies: str = _setting("", "Networks of proxies before this one whose X-Forwarded headers are believed.")
    upload_limit: int = _setting(0, "Largest body of one request through the proxy.", "size")
    public_url: str = _setting("", "Address under which people reach the hub, if a proxy stands before it.")
    banner: str = _setting("", "Text shown on top of every page.")
    about: str = _setting("", "Text of the about page.")

    def variable(self, name: str) -> str:
        return PREFIX + name.upper()


def _parse(name: str, hint: Any, kind: str, raw: object, source: str) -> Any:
    def wrong(expected: str) -> SettingsError:
        return SettingsError(
            f"The setting {name} has the value {raw!r} (from {source}), which is not {expected}.",
            remedy="Correct it there, or leave it out to get the default.",
        )

    text = str(raw).strip()
    if hint is bool:
        if text.lower() in {"1", "true", "yes", "on"}:
            return True
        if text.lower() in {"0", "false", "no", "off", ""}:
            return False
        raise wrong("true or false")
    if kind:
        units = _SIZES if kind == "size" else _TIMES
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]?)[bB]?", text)
        unit = match[2].upper() if match and kind == "size" else match[2] if match else None
        if match is None or unit not in units:
            raise wrong("a size such as 512M or 2G" if kind == "size" else "a time such as 90s, 10m or 6h")
        return hint(float(match[1]) * units[unit])
    if hint in (int, float):
        try:
            value = hint(text)
        except ValueError:
            raise wrong("a number") from None
        if value < 0 or value != value or value == float("inf"):
            raise wrong("a number from zero up")
        return value
    return Path(text).expanduser().absolute() if hint is Path else text


def _suggest(name: str, shown: str, known: Iterable[str]) -> str:
    """The nearest name, written as the wrong one was."""
    close = difflib.get_close_matches(name, known, n=1)
    if not close:
        return "`rebind settings` lists them all."
    return f"Did you mean {PREFIX + close[0].upper() if shown.startswith(PREFIX) else close[0]}?"


def _from_file(environ: Mapping[str, str]) -> tuple[dict[str, object], str]:
    named = environ.get("REBIND_SETTINGS")
    candidates = [Path(named)] if named else [Path.home() / ".config/rebind/rebind.toml", Path("/etc/rebind.toml")]
    for path in candidates:
        try:
            return tomllib.loads(path.read_text()), str(path)
        except FileNotFoundError:
            if named:
                raise SettingsError(f"The settings file {path} named by REBIND_SETTINGS is not there.") from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"The settings file {path} cannot be read: {error}.") from error
    return {}, ""


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each name where its value came from.

    `flags` holds values of the command line; None values in it are skipped. Raises SettingsError.
    """
    environ = os.environ if environ is None else environ
    hints = get_type_hints(Settings)
    declared = {f.name: f for f in fields(Settings)}
    values: dict[str, Any] = {}
    sources = dict.fromkeys(declared, "default")

    def take(name: str, raw: object, source: str, shown: str) -> None:
        if name not in declared:
            raise SettingsError(f"There is no setting {shown} (in {source}).", remedy=_suggest(name, shown, declared))
        values[name] = _parse(name, hints[name], declared[name].metadata["kind"], raw, source)
        sources[name] = source

    file, path = _from_file(environ)
    for name, raw in file.items():
        take(name, raw, path, name)
    for variable, raw in environ.items():
        if variable.startswith(PREFIX) and variable not in _NOT_SETTINGS:
            take(variable[len(PREFIX) :].lower(), raw, "the environment", variable)
    for name, raw in (flags or {}).items():
        if raw is not None:
            take(name, raw, "the command line", "--" + name.replace("_", "-"))
    return Settings(**values), sources
