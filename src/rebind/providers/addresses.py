"""Git addresses: what may be given to git at all, and the one canonical name of a repository over all its spellings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urlsplit

from rebind.errors import AddressError

PORTS = {"http": 80, "https": 443, "git": 9418, "ssh": 22}
ALIASES = {"git+ssh": "ssh", "ssh+git": "ssh", "git+https": "https", "git+http": "http"}
# Names of these forges do not depend on case, so bans and quotas must not either.
CASELESS = frozenset({"github.com", "gist.github.com", "gitlab.com", "bitbucket.org", "codeberg.org"})
# Other names of the same server (a forge's ssh on port 443, its old www name).
SAME_HOST = {
    "www.github.com": "github.com",
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "www.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
    "www.bitbucket.org": "bitbucket.org",
}

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\]")
_USER = re.compile(r"[A-Za-z0-9._~+%][A-Za-z0-9._~+%-]{0,127}")
_SCP = re.compile(r"(?P<user>[^@:/\s]+)@(?P<host>[^@:/\s]+|\[[^\]]+\]):(?P<path>.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class GitURL:
    """A checked address of a repository. Never holds a password."""

    protocol: str
    path: str
    """As written, percent-encoding included; begins with `/` but for a scp address relative to the login's home."""
    host: str = ""
    user: str = ""
    port: int | None = None
    scp: bool = False

    @property
    def text(self) -> str:
        """What git is given."""
        login = f"{self.user}@" if self.user else ""
        if self.scp:
            return f"{login}{self.host}:{self.path}"
        port = f":{self.port}" if self.port else ""
        return f"{self.protocol}://{login}{self.host}{port}{self.path}"

    @property
    def is_local(self) -> bool:
        return self.protocol == "file"

    @property
    def server(self) -> str:
        """`host` or `host:port`, as git's credential helpers are asked for it."""
        return f"{self.host}:{self.port}" if self.port else self.host

    @property
    def identity(self) -> str:
        """The canonical name: `git/github.com/a/b` for ssh, https, git and scp spellings alike."""
        names = [name for name in unquote(self.path).split("/") if name not in ("", ".")]
        if names and names[0] == "~":
            names = names[1:]
        if self.is_local:
            return "/".join(["local", *names])
        host = self.host.lower().rstrip(".")
        host = SAME_HOST.get(host, host)
        path = "/".join(names[-1:] if host == "gist.github.com" else names)  # a gist's id alone names it
        if host in CASELESS:
            path = path.lower()
        while path.endswith(".git") and not path.endswith("/.git"):
            path = path.removesuffix(".git").rstrip("/")
        port = f":{self.port}" if self.port and self.port != PORTS[self.protocol] and host not in CASELESS else ""
        return f"git/{host}{port}/{path}"


def parse_url(address: str) -> GitURL:
    """Reads an address that git reads: a URL, the scp form `user@host:path`, or an absolute path.

    Raises AddressError for anything that could be taken for an option, another program (`ext::`), or a password.
    """
    if not address or len(address) > 4096 or _CONTROL.search(address):
        raise AddressError(f"The address {address[:200]!r} cannot be one of a repository.", remedy=_LIKE_THIS)
    if address.startswith("-"):
        raise AddressError(f"The address {address!r} begins with '-'.", remedy=_LIKE_THIS)
    if address.startswith("/"):
        return _checked(GitURL("file", quote(address, safe="/~!$&'()*+,;=:@")), address)
    if "://" in address:
        return _parse_scheme(address)
    if match := _SCP.fullmatch(address):
        path = match["path"]
        url = GitURL("ssh", path, match["host"], match["user"], scp=True)
        return _checked(url, address)
    raise AddressError(f"{address!r} is not the address of a repository.", remedy=_LIKE_THIS)


def relative_url(base: GitURL, text: str) -> GitURL:
    """The address of a submodule: `./x` and `../x` count from the repository that holds it. AddressError."""
    if not text.startswith(("./", "../")):
        return parse_url(text)
    names = base.path.rstrip("/").split("/")
    rest = text
    while rest.startswith(("./", "../")):
        if rest.startswith("../"):
            if len(names) < 2 and not (base.scp and names):
                raise AddressError(f"The address {text!r} leads out of its server.")
            names.pop()
        rest = rest[rest.index("/") + 1 :]
    return _checked(replace(base, path="/".join([*names, rest])), text)


_LIKE_THIS = "Give one like https://github.com/owner/name, or the path of a folder."


def _parse_scheme(address: str) -> GitURL:
    scheme, _, rest = address.partition("://")
    protocol = ALIASES.get(scheme.lower(), scheme.lower())
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme.lower()) or "::" in scheme:
        raise AddressError(f"{address!r} is not the address of a repository.", remedy=_LIKE_THIS)
    if protocol == "file":
        if not rest.startswith("/"):
            raise AddressError(f"{address!r} names another machine's file.", remedy="Write file:///absolute/path.")
        return _checked(GitURL("file", rest), address)
    if protocol not in PORTS:
        raise AddressError(
            f"Repositories cannot be fetched over {scheme!r}.", remedy="Use an https, ssh, git or http address."
        )
    try:
        parts = urlsplit(f"{protocol}://{rest}")
        port = parts.port
    except ValueError as error:
        raise AddressError(f"{address!r} is not a good address: {error}.", remedy=_LIKE_THIS) from None
    if parts.password is not None:
        raise AddressError(
            f"The address of {parts.hostname} holds a password, which would end in logs and records.",
            remedy="Leave it out, and put 'username=...' and 'password=...' lines into GIT_CREDENTIAL_ENV.",
        )
    host = parts.netloc.rpartition("@")[2]
    host = host if host.endswith("]") else host.rpartition(":")[0] or host
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    port = None if port == PORTS[protocol] else port
    return _checked(GitURL(protocol, path, host.lower(), parts.username or "", port), address)


def _checked(url: GitURL, address: str) -> GitURL:
    try:
        path = unquote(url.path, errors="strict")
    except UnicodeDecodeError:
        raise AddressError(f"The path of {address!r} is not UTF-8.", remedy=_LIKE_THIS) from None
    wrong = ""
    if not url.is_local and not _HOST.fullmatch(url.host):
        wrong = f"the host {url.host!r} is not a name"
    elif url.user and not _USER.fullmatch(url.user):
        wrong = f"the user {url.user!r} is not a name"
    elif not path.strip("/") or _CONTROL.search(path):
        wrong = "it has no good path"
    elif ".." in path.split("/"):
        wrong = "its path holds '..'"
    elif path.lstrip("/").startswith("-") and (url.scp or url.protocol == "ssh"):
        wrong = "its path begins with '-'"
    if wrong:
        raise AddressError(f"{address!r} cannot be fetched: {wrong}.", remedy=_LIKE_THIS)
    return url
