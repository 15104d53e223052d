"""An interpreter of this machine -> a layer: at /opt/rebind/python/<version>, or below /usr if it is the system's.

What a machine's owner installed into it, caches, tests and static libraries stay behind. Compiled files are made anew,
and the place where it was built or lies is replaced by that in the image, so that two copies give the same layer.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rebind.errors import BuildError
from rebind.images.elf import relocated
from rebind.images.tar import FILE, FOLDER, Entry
from rebind.images.trees import Choose, Place, above, entries
from rebind.values import Interpreter

_OMITTED = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "turtledemo"}
_LARGEST_TEXT = 4 << 20
_TIMEOUT = 300.0


def key(python: Interpreter) -> list[object]:
    """What tells on this machine whether it is still the same."""
    facts = python.executable.resolve().stat()
    return ["interpreter", python.version, str(python.prefix), facts.st_size, facts.st_mtime_ns]


def interpreter_entries(python: Interpreter) -> Iterator[Entry]:
    """The files of an interpreter. Raises BuildError, OSError."""
    inside = python.mount or "/usr"
    with tempfile.TemporaryDirectory(prefix="rebind-library-") as made:
        found = list(entries(python.prefix, Place(inside[1:]), _chosen(python)))
        library = f"{inside[1:]}/lib/python{python.minor}"
        _compile(python, [e.name[len(library) + 1 :] for e in found if e.name.startswith(f"{library}/")], Path(made))
        compiled = list(entries(Path(made), Place(library)))[1:]
        folders = {entry.name for entry in found if entry.kind == FOLDER}
        found += [entry for entry in compiled if entry.name not in folders]
        found.sort(key=lambda entry: entry.name.split("/"))
        yield from above(inside[1:], 0) if python.mount else ()
        for entry in found:
            if python.mount or entry.name != "usr":
                yield _moved(_plain(entry), python, inside)


def _plain(entry: Entry) -> Entry:
    """Modes as a distribution has them: those of a private copy may keep others out."""
    mode = 0o755 if entry.kind == FOLDER or entry.mode & 0o100 else 0o644
    return replace(entry, mode=mode) if entry.kind in (FILE, FOLDER) else entry


def _chosen(python: Interpreter) -> Choose:
    version = re.escape(python.minor)
    major = python.minor.split(".")[0]
    wanted = rf"bin|bin/python({major}|{version})?|lib|include|include/python{version}(/.*)?|lib/python{version}(/.*)?"
    if python.mount:
        wanted += (
            r"|lib/libpython[^/]*|lib/(tcl|tk|itcl|thread)[^/]*(/.*)?|lib/lib(tcl|tk)[^/]*|share|share/terminfo(/.*)?"
        )
    pattern = re.compile(wanted)
    terminals = (python.prefix / "share" / "terminfo").is_dir()

    def chosen(path: str, facts: os.stat_result) -> bool:
        name = path.rpartition("/")[2]
        if name in _OMITTED or name.endswith((".a", ".pyc", ".pyo")):
            return False
        if path == f"lib/python{python.minor}/config-{python.minor}" or name == "sitecustomize.py":
            return False
        return pattern.fullmatch(path) is not None and (terminals or path != "share")

    return chosen


def _compile(python: Interpreter, names: list[str], out: Path) -> None:
    sources = sorted(name for name in names if name.endswith(".py") and "lib2to3/tests" not in name)
    inside = f"{python.mount or '/usr'}/lib/python{python.minor}"
    library = python.prefix / "lib" / f"python{python.minor}"
    program = Path(__file__).with_name("library.py")
    argv = [str(python.executable), "-s", "-S", "-B", str(program), str(library), inside, str(out)]
    variables = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    text = "".join(f"{name}\n" for name in sources)
    done = subprocess.run(argv, input=text.encode(), env=variables, capture_output=True, timeout=_TIMEOUT)
    if done.returncode:
        raise BuildError(
            f"The standard library of Python {python.version} could not be compiled.",
            remedy=f"Does {python.executable} work? Install it again.",
            detail=done.stderr.decode(errors="replace")[-2000:],
        )


def _moved(entry: Entry, python: Interpreter, inside: str) -> Entry:
    """The entry without the place where the interpreter lies on this machine."""
    if entry.kind != FILE or not python.mount or not entry.source or entry.name.endswith(".pyc"):
        return entry
    path = Path(entry.source)
    if entry.size > _LARGEST_TEXT and ".so" not in path.name:
        return entry
    data = path.read_bytes()
    if data.startswith(b"\x7fELF"):
        up = entry.name[len(inside) :].count("/")
        changed = relocated(data, "$ORIGIN" + "/.." * up + "/lib")
    elif b"\0" in data[:4096]:
        return entry
    else:
        changed = data
        for prefix in _places(python):
            changed = changed.replace(prefix.encode(), inside.encode())
    if changed == data:
        return entry
    return replace(entry, source="", content=changed, size=len(changed))


def _places(python: Interpreter) -> list[str]:
    """Where it lies, and where it was built to lie; longest first, as one may begin like another."""
    found = {str(python.prefix), str(python.prefix.resolve())}
    for path in (python.prefix / "lib" / f"python{python.minor}").glob("_sysconfigdata*.py"):
        stated = re.search(r"'prefix': '(/[^'\n]+)'", path.read_text(errors="replace"))
        if stated and stated[1] not in ("/usr", "/usr/local", "/install"):
            found.add(stated[1])
    return sorted(found, key=lambda place: (-len(place), place))
