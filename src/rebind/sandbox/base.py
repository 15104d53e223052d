"""The part of the host that every sandbox sees: programs and libraries, read-only, and no secret."""

from __future__ import annotations

from pathlib import Path

from rebind.sandbox.mounts import Bind, Mount, Symlink, Text, Tmpfs
from rebind.values import HOME, UID, USER

# Never all of /etc: it holds keys, tokens (npmrc, pip.conf, netrc) and the machine's own set-up.
_ETC = """
alternatives ca-certificates ca-certificates.conf ssl/certs ssl/openssl.cnf pki/ca-trust pki/tls/certs pki/tls/cert.pem
pki/tls/openssl.cnf crypto-policies ld.so.cache ld.so.conf ld.so.conf.d fonts mime.types magic magic.mime locale.alias
locale.conf default/locale timezone os-release debian_version lsb-release bash.bashrc inputrc terminfo services
protocols perl R ImageMagick-6 ImageMagick-7 OpenCL vulkan glvnd groff texmf vim nanorc lynx manpath.config
dpkg/origins dpkg/shlibs.default java-8-openjdk java-11-openjdk java-17-openjdk java-21-openjdk java-25-openjdk
python3 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14 octave.conf emacs
"""
_VAR = ("/var/lib/dpkg", "/var/lib/texmf", "/var/cache/fontconfig", "/var/lib/ghostscript", "/var/lib/R")
_PROFILE = """\
if [ "${BASH-}" ] && [ -f /etc/bash.bashrc ]; then . /etc/bash.bashrc; fi
if [ -d /etc/profile.d ]; then for i in /etc/profile.d/*.sh; do [ -r "$i" ] && . "$i"; done; unset i; fi
"""


def base_mounts() -> tuple[Mount, ...]:
    """Programs, libraries and harmless settings of the host, names of the sandbox's own, empty temporary folders."""
    return (*_programs(), *_settings(), *_names(), *_temporary())


def _programs() -> list[Mount]:
    found: list[Mount] = [Bind(Path("/usr"), "/usr")]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            found.append(Symlink(str(path), str(path.readlink())))
        elif path.is_dir():
            found.append(Bind(path, str(path)))
    return found + [Bind(Path(each), each) for each in ("/nix/store", *_VAR) if Path(each).is_dir()]


def _settings() -> list[Mount]:
    found: list[Mount] = []
    for name in _ETC.split():
        path = Path("/etc", name)
        real = path.resolve()
        if path.is_symlink() and real.is_relative_to("/usr") and real.exists():
            found.append(Symlink(str(path), str(real)))
        elif real.exists() and real.is_relative_to("/etc"):
            found.append(Bind(real, str(path)))
    zone = Path("/etc/localtime").resolve()
    if zone.is_relative_to("/usr/share/zoneinfo") and zone.exists():
        found.append(Symlink("/etc/localtime", str(zone)))
    return found


def _names() -> list[Mount]:
    texts = {
        "passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\n{USER}:x:{UID}:{UID}:{USER}:{HOME}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "group": f"root:x:0:\n{USER}:x:{UID}:\nnogroup:x:65534:\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n",
        "resolv.conf": "# No name server: the egress proxy looks names up.\n",
        "hostname": "rebind\n",
        "shells": "/bin/sh\n/bin/bash\n",
        "profile": _PROFILE,  # the host's own would reset PATH in login shells
    }
    return [*(Text(f"/etc/{name}", text) for name, text in texts.items()), Symlink("/etc/mtab", "/proc/self/mounts")]


def _temporary() -> list[Mount]:
    return [Tmpfs(each) for each in ("/tmp", "/var/tmp", "/run", "/dev/shm")]
