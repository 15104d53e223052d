"""What an image has besides packages and repository: the user, the entry point, the profile of login shells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from rebind.errors import BuildError
from rebind.images.base import Base
from rebind.images.tar import FILE, FOLDER, Entry
from rebind.values import APP_BASE, HOME, NB_PREFIX, NPM_DIR, SERVER_DIR, UID, USER

ENTRY_POINT = "/usr/local/bin/repo2docker-entrypoint"
PROGRAM = "/usr/local/lib/rebind/entrypoint.py"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Login shells of Debian and Ubuntu begin with a PATH of their own.
_PROFILE = """\
# Written by rebind: what conda's activation would set.
case ":$PATH:" in
    *:{prefix}/bin:*) ;;
    *) PATH="{path}:$PATH" ;;
esac
CONDA_PREFIX="{prefix}"
export PATH CONDA_PREFIX
"""
_SCRIPT = f"""\
#!/bin/bash -l
# A login shell: settings in /etc/profile.d are in force.
echo "Loaded the login profile (/etc/profile) of $(id -un 2>/dev/null)" >&2
if [ -x {SERVER_DIR}/bin/python3 ]; then
    exec {SERVER_DIR}/bin/python3 -I -u {PROGRAM} "$@"
fi
exec python3 -u {PROGRAM} "$@"
"""


def path_variable(*, with_server: bool) -> str:
    """PATH in the order of builder spec 1.16."""
    return f"{own_path(with_server=with_server)}:{_SYSTEM_PATH}"


def own_path(*, with_server: bool) -> str:
    server = [f"{SERVER_DIR}/bin"] if with_server else []
    return ":".join([f"{HOME}/.local/bin", f"{NB_PREFIX}/bin", *server, "/srv/conda/bin", f"{NPM_DIR}/bin"])


def system_entries(base: Base, *, with_server: bool) -> Iterator[Entry]:
    """The small layer right above the base. Raises BuildError."""
    profile = _PROFILE.format(prefix=NB_PREFIX, path=own_path(with_server=with_server))
    program = (files("rebind.images") / "entrypoint.py").read_text()
    yield from _lists(base)
    yield _text("etc/profile.d/rebind.sh", profile)
    yield Entry(HOME[1:], FOLDER, 0o755, UID, UID)
    yield Entry(APP_BASE[1:], FOLDER, 0o755, UID, UID)
    yield _text(ENTRY_POINT[1:], _SCRIPT, 0o755)
    yield Entry("usr/local/lib/rebind", FOLDER, 0o755)
    yield _text(PROGRAM[1:], program)


def _text(name: str, text: str, mode: int = 0o644, owner: int = 0, group: int = 0) -> Entry:
    content = text.encode("utf-8", "surrogateescape")
    return Entry(name, FILE, mode, owner, group, content=content, size=len(content))


def _lists(base: Base) -> Iterator[Entry]:
    """The base's users and groups, with ours in place of whoever has its number or name."""
    lines = {
        "etc/passwd": f"{USER}:x:{UID}:{UID}::{HOME}:/bin/bash",
        "etc/group": f"{USER}:x:{UID}:",
        "etc/shadow": f"{USER}:!:19000:0:99999:7:::",
        "etc/gshadow": f"{USER}:!::",
    }
    replaced = {kind: _holders(base, kind) for kind in ("etc/passwd", "etc/group")}
    for name, line in sorted(lines.items()):
        found = base.file(name)
        if found is None:
            if name in replaced:
                raise BuildError(f"The base image has no /{name}.", remedy="Use an image of a whole distribution.")
            continue
        text, mode, owner, group = found
        gone = replaced["etc/passwd" if name in ("etc/passwd", "etc/shadow") else "etc/group"]
        kept = [each for each in text.splitlines() if each.partition(":")[0] not in gone]
        yield _text(name, "\n".join([*kept, line, ""]), mode, owner, group)


def _holders(base: Base, name: str) -> set[str]:
    """Names of accounts that have our name or number."""
    found = base.file(name)
    lines = found[0].splitlines() if found else []
    return {USER} | {line.partition(":")[0] for line in lines if re.match(rf"[^:]*:[^:]*:{UID}:", line)}
