"""What git may do on this machine: protocols, network, credentials, limits. Turned into its variables and options."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rebind.errors import RefusedError
from rebind.providers.addresses import GitURL

CREDENTIALS = "GIT_CREDENTIAL_ENV"
PROTOCOLS = ("http", "https", "git", "ssh")

# The only variables of ours that git sees: nothing named GIT_*, no configuration, no agent, no editor.
_PASSED = ("PATH", "TMPDIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")

# Beats every configuration file, so that neither a repository nor the machine can make git run or skip something.
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.pager=cat",
    "core.askPass=",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.version=2",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "fetch.fsckObjects=false",
    "transfer.unpackLimit=1",
    "fetch.unpackLimit=1",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=500",
    "http.lowSpeedTime=120",
    "pack.writeReverseIndex=false",
)

# For processes that lose the options (git clears them for the other end of a `file://` address). The other end is a
# repository on this machine, perhaps somebody else's: serving it runs nothing of it.
_GLOBAL = """[safe]
\tdirectory = *
[core]
\thooksPath = /dev/null
\tfsmonitor = false
[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = true
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""

# git gives the helper the server that asks; the credentials go to the one they are meant for, never to another one
# that a redirect, a submodule or an LFS configuration names.
_HELPER = (
    '!f() { test "$1" = get || exit 0; p=; h=; while IFS= read -r l && test -n "$l"; do case "$l" in '
    "protocol=*) p=${l#protocol=};; host=*) h=${l#host=};; esac; done; "
    'if test "$p://$h" = "$REBIND_CREDENTIAL_SERVER"; then printf "%s\\n" "$GIT_CREDENTIAL_ENV"; fi; }; f'
)

# git runs core.gitProxy as one program with two arguments, so the rest comes in by variables. -P: git may stand in a
# checkout, whose own `rebind/` must not be imported.
_TUNNEL = '#!/bin/sh\nexec "$REBIND_PYTHON" -P -E -m rebind.sandbox.connect "$REBIND_PROXY" "$1" "$2"\n'


@dataclass(frozen=True, slots=True)
class Access:
    """The policy of one provider."""

    home: Path
    """A directory of rebind's own that git takes for its home; made by `prepare`."""
    allow_local: bool = False
    """`file://` and paths may be read: never on a hub that strangers use."""
    proxy_url: str | None = None
    allowed_protocols: tuple[str, ...] = PROTOCOLS
    credentials: str | None = None
    """Lines `username=...`, `password=...`, perhaps `host=...`; None takes the variable GIT_CREDENTIAL_ENV."""
    own_ssh: bool = False
    """Use the person's own ssh configuration, keys and agent: never on a hub."""
    ssh_key: Path | None = None
    timeout: float | None = None
    max_bytes: int | None = None

    def check(self, url: GitURL, *, origin: GitURL | None = None) -> GitURL:
        """The address if policy allows it. `origin` is the repository that names it as a submodule. RefusedError."""
        if url.is_local and (not self.allow_local or (origin is not None and not origin.is_local)):
            raise RefusedError(
                f"{url.text} is a path of this machine, which may not be read here.",
                remedy="Give the address of a repository on the network.",
            )
        if not url.is_local and url.protocol not in self.allowed_protocols:
            raise RefusedError(
                f"{url.text} cannot be fetched: the protocol {url.protocol!r} is not allowed here.",
                remedy=f"Allowed are: {', '.join(self.allowed_protocols)}.",
            )
        return url

    def prepare(self) -> None:
        """Writes the few files that git and ssh need. Called before the first process."""
        for name, text, mode in ((".gitconfig", _GLOBAL, 0o644), ("tunnel", _TUNNEL, 0o755)):
            with suppress(OSError):
                if (self.home / name).read_text() == text:
                    continue
            self.home.mkdir(parents=True, exist_ok=True)
            fresh = self.home / f"{name}.{os.getpid()}-{time.monotonic_ns()}"
            fresh.write_text(text)
            fresh.chmod(mode)
            fresh.replace(self.home / name)

    def options(self) -> list[str]:
        """The settings of git, as `-c` options. No secret among them."""
        options = [*_OPTIONS, f"core.sshCommand={self._ssh()}"]
        if self.proxy_url:
            options += [f"http.proxy={self.proxy_url}", f"core.gitProxy={self.home / 'tunnel'}"]
        if self._credentials():
            options.append(f"credential.helper={_HELPER}")
        if self.has_lfs():
            options += [
                "filter.lfs.process=git-lfs filter-process",
                "filter.lfs.smudge=git-lfs smudge -- %f",
                "filter.lfs.clean=git-lfs clean -- %f",
                "filter.lfs.required=true",
            ]
        return [part for option in options for part in ("-c", option)]

    def has_lfs(self) -> bool:
        """Whether git-lfs is installed here."""
        return shutil.which("git-lfs") is not None

    def environment(self, url: GitURL | None = None) -> dict[str, str]:
        """The variables of a git process that talks to `url`; None for one that talks to nobody."""
        passed = _PASSED + (() if self.proxy_url else _PROXIES) + (("SSH_AUTH_SOCK",) if self.own_ssh else ())
        variables = {name: os.environ[name] for name in passed if name in os.environ}
        for ours, gits in (("SSL_CERT_FILE", "GIT_SSL_CAINFO"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH")):
            if ours in variables:
                variables.setdefault(gits, variables[ours])
        if "PATH" in variables:  # a relative part of it would lead into a checkout
            variables["PATH"] = ":".join(part for part in variables["PATH"].split(":") if part.startswith("/"))
        variables |= {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_CEILING_DIRECTORIES": "/",
            "GIT_ALLOW_PROTOCOL": self._protocols(url),
            "GIT_SSH_VARIANT": "ssh",
            "REBIND_PYTHON": sys.executable,
        }
        if self.proxy_url:
            variables["REBIND_PROXY"] = self.proxy_url
        return variables | self._secret(url)

    def _protocols(self, url: GitURL | None) -> str:
        if url is None:
            return ""
        # A redirect or an LFS server may lead from http to https and back, never to a file.
        return "file" if url.is_local else ":".join(self.allowed_protocols)

    def _credentials(self) -> str:
        text = os.environ.get(CREDENTIALS, "") if self.credentials is None else self.credentials
        return text.replace("\\n", "\n").replace("\r", "").strip()

    def _secret(self, url: GitURL | None) -> dict[str, str]:
        text = self._credentials()
        if not text or url is None or url.protocol not in ("http", "https"):
            return {}
        stated = [line.partition("=")[2].strip() for line in text.split("\n") if line.startswith("host=")]
        # Where strangers choose the address, credentials without a host would go to whoever asks.
        if (stated and url.server not in stated) or (not stated and not self.allow_local):
            return {}
        kept = "\n".join(line for line in text.split("\n") if not line.startswith(("host=", "protocol=", "path=")))
        return {CREDENTIALS: kept, "REBIND_CREDENTIAL_SERVER": f"{url.protocol}://{url.server}"}

    def secrets(self) -> list[str]:
        """Texts that must never be shown, whatever a server makes git say."""
        lines = self._credentials().split("\n")
        return [line.partition("=")[2] for line in lines if line.startswith("password=") and len(line) > 12]

    def _ssh(self) -> str:
        known = str(self.home / "known_hosts")
        options = ["BatchMode=yes", "StrictHostKeyChecking=accept-new", "ConnectTimeout=30", "ForwardAgent=no"]
        options += ["PermitLocalCommand=no", "ControlMaster=no", "ControlPath=none", "ServerAliveInterval=30"]
        command = ["ssh"]
        if self.own_ssh:
            known += " ~/.ssh/known_hosts"
        else:
            # Neither the configuration nor the keys nor the agent of whoever runs the hub.
            command += ["-F", "/dev/null"]
            options += [f"IdentityFile={self.ssh_key or 'none'}", "IdentityAgent=none", "IdentitiesOnly=yes"]
        options.append(f"UserKnownHostsFile={known}")
        if self.proxy_url:
            options.append(f"ProxyCommand={shlex.quote(str(self.home / 'tunnel'))} %h %p")
        return shlex.join([*command, *(part for option in options for part in ("-o", option))])
