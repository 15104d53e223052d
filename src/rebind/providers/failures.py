"""Turns what git says into errors that a person can act on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rebind.errors import DiskError, RebindError, RefusedError, RepositoryError

_NAMES = "Look whether the address is spelled right and the repository is public."


@dataclass(frozen=True, slots=True)
class _Kind:
    pattern: str
    message: str
    remedy: str
    error: type[RebindError] = RepositoryError


# The first that matches counts, so what policy says comes before what the network says.
_MISSING = (
    r"not found|does not appear to be a git repo|does not exist|returned error: 4(?:04|10)|not a git repository"
    r"|not exported|no such file"
)
_KINDS = (
    _Kind(
        r"no space left on device|disk quota exceeded",
        "No space is left on the disk for {url}.",
        "Free some space (`rebind clean`) and try again.",
        DiskError,
    ),
    _Kind(
        r"transport '.*' not allowed|protocol '.*' not (?:supported|allowed)|protocol .*(?:not supported|disabled)",
        "{url} cannot be fetched: it leads to a protocol that is not allowed here.",
        "Use an https address.",
        RefusedError,
    ),
    _Kind(
        r"(?:code|response|returned error:?) 40[37].*proxy|from proxy after connect"
        r"|connect tunnel failed, response 40[37]|proxy (?:refuse|den)|may not be reached from here",
        "{url} may not be fetched from here: its address or port is not allowed.",
        "Only public addresses are fetched (unless allow_private_addresses is set), on the ports of egress_ports.",
        RefusedError,
    ),
    _Kind(r"could not resolve (?:host|proxy)|name or service not known|temporary failure in name resolution",
          "The host of {url} is not known.", "Look whether the address is spelled right and the network works."),
    _Kind(r"ssl certificate|certificate verif|self.signed certificate|unable to get local issuer",
          "The certificate of {url} is not trusted.", "If it is right, name its authority in SSL_CERT_FILE."),
    _Kind(r"host key verification failed|remote host identification has changed",
          "The ssh key of the host of {url} is not the one that was seen before.",
          "If that is right, remove the host from the file known_hosts in the cache of the provider."),
    _Kind(r"could not read (?:username|password)|authentication failed|permission denied|terminal prompts disabled"
          r"|returned error: 40[13]|access denied|invalid credentials",
          "{url} is private, or there is no such repository.",
          _NAMES + " For a private one set GIT_CREDENTIAL_ENV (or use an ssh key)."),
    _Kind(_MISSING,
          "There is no repository at {url}.", _NAMES),
    _Kind(r"connection refused|connection timed out|operation timed out|timed out|failed to connect|couldn't connect"
          r"|network is unreachable|no route to host|connection reset|connection closed|returned error: (?:429|5\d\d)",
          "The server of {url} does not answer.", "Try again in a while."),
)  # fmt: skip

# What a server says that does not hand out this commit by itself, or not in this way: another way may still work.
_OTHER_WAY = re.compile(
    r"not our ref|unadvertised object|does not support (?:shallow|--depth|--filter)|dumb http transport"
    r"|couldn't find remote ref|server does not allow|not support(?:ed)? filter|invalid filter-spec|no such remote ref",
    re.IGNORECASE,
)


def other_way(said: str) -> bool:
    """Whether only this way of asking failed."""
    return bool(_OTHER_WAY.search(said))


def is_absent(said: str) -> bool:
    """Whether the server says for certain that it has no such commit."""
    return "not our ref" in said


def explain(url: str, said: str) -> RebindError:
    """The error for a git command that failed, with git's own last lines as detail."""
    lines = [line for line in said.splitlines() if not re.match(r"(?:remote: )?(?:Counting|Compressing|Receiv)", line)]
    detail = "\n".join(lines[-6:])
    for kind in _KINDS:
        if re.search(kind.pattern, said, re.IGNORECASE):
            return kind.error(kind.message.format(url=url), remedy=kind.remedy, detail=detail)
    return RepositoryError(f"{url} could not be fetched.", remedy="See what git says above.", detail=detail)


def is_remote(said: str) -> bool:
    """Whether the other side or the disk is to blame, so that a fresh cache would not help."""
    return any(re.search(kind.pattern, said, re.IGNORECASE) for kind in _KINDS if kind.pattern != _MISSING)
