"""What a sandbox sees and may use: the values that every front of the sandbox takes. None touches a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rebind.values import Limits

SANDBOX_UID = 61000
"""Whom strangers' code runs as when rebind itself runs as root; the owner of all store files that a sandbox sees."""

PROXY_PORT = 3128
"""Where a sandbox's first process offers the egress proxy, on 127.0.0.1."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host at `target`; always without devices and set-uid bits."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Overlay:
    """A view of several folders as one, writable unless `read_only`.

    `lowers` top first; none at all gives an empty folder. What is written goes to `upper` (made if it is absent, its
    work folder beside it), or, with None, into the scratch space that the disk limit bounds. With `read_only` there are
    two lowers at least, and no upper.
    """

    target: str
    lowers: tuple[Path, ...]
    upper: Path | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty writable folder in memory; without `size` it shares the scratch space that the disk limit bounds."""

    target: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A small read-only file with this content."""

    target: str
    content: str


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link at `target` that says `to`."""

    target: str
    to: str


Mount = Bind | Overlay | Tmpfs | Text | Symlink


@dataclass(frozen=True, slots=True)
class Confinement:
    """All that decides how something is confined. Mounts are made in order; /proc and a small /dev are always there."""

    mounts: tuple[Mount, ...]
    variables: tuple[tuple[str, str], ...]
    """The whole environment; nothing of the host's comes in. With `egress` the proxy variables are added."""
    cwd: str
    limits: Limits = field(default_factory=Limits)
    egress: Path | None = None
    """Unix socket of the egress proxy; None = no network at all. May be made anew while the sandbox runs."""
    name: str = ""
    """Of the session or build; becomes the host name and names the control group."""
    owner: int = SANDBOX_UID
    """As root: the user id that the sandbox's processes have on the host. An ordinary user always has its own."""
    as_root: bool = False
    """The one user is called root inside, and what only root may do to owners and users succeeds without effect: for
    package tools that insist. It gains no right by it."""

    def environment(self) -> dict[str, str]:
        """The variables of the first command inside."""
        found = _proxy_variables() if self.egress is not None else {}
        return found | dict(self.variables)


def _proxy_variables() -> dict[str, str]:
    url, direct = f"http://127.0.0.1:{PROXY_PORT}", "localhost,127.0.0.1,::1"
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    return dict.fromkeys(names, url) | {"no_proxy": direct, "NO_PROXY": direct}
