"""Which CPythons this machine has: on PATH, under pyenv, uv's own, ours. Answers are kept on disk by path and mtime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rebind.locks.whole import write_whole
from rebind.values import Interpreter

_NAME = re.compile(r"python(2\.7|3\.\d{1,2})\Z")
_VERSION = re.compile(r"\d+\.\d+\.\d+\Z")
_QUERY = (
    "import sys,platform;print(platform.python_implementation());"
    "print('%d.%d.%d' % sys.version_info[:3] if sys.version_info[3] == 'final' else '');"
    "print(getattr(sys, 'base_prefix', sys.prefix))"
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look. `ours` is the folder that uv installs interpreters into for us."""

    path: str
    home: Path
    ours: Path
    pyenv: Path | None = None

    @classmethod
    def here(cls, ours: Path) -> Places:
        root = os.environ.get("PYENV_ROOT")
        return cls(os.environ.get("PATH", ""), Path.home(), ours, Path(root) if root else None)


def candidates(places: Places) -> Iterator[Path]:
    """Files that may be a CPython; own base interpreter first, then PATH, pyenv, uv."""
    yield Path(getattr(sys, "_base_executable", sys.executable))
    for folder in places.path.split(os.pathsep):
        if folder.startswith("/") and Path(folder).name != "shims":  # a shim is a shell script of pyenv
            yield from _pythons(Path(folder))
    for root in filter(None, (places.pyenv, places.home / ".pyenv")):
        yield from _below(root / "versions")
    for root in (places.ours, places.home / ".local/share/uv/python"):
        yield from _below(root)


def _below(root: Path) -> Iterator[Path]:
    try:
        folders = sorted(entry for entry in root.iterdir() if not entry.is_symlink())
    except OSError:
        return
    for folder in folders:
        yield from _pythons(folder / "bin")


def _pythons(folder: Path) -> Iterator[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if _NAME.match(path.name))
    except OSError:
        return
    yield from found


def scan(places: Places, cache: Path) -> tuple[Interpreter, ...]:
    """All interpreters found, one for each prefix, in the order of `candidates`."""
    known = _read(cache)
    answers: dict[str, list[str]] = {}
    found: dict[Path, Interpreter] = {}
    for path in _unique(candidates(places)):
        try:
            stamp = str(path.stat().st_mtime_ns)
        except OSError:
            continue
        answer = known.get(str(path))
        if answer is None or answer[0] != stamp:
            answer = [stamp, *_query(path)]
        answers[str(path)] = answer
        interpreter = _interpreter(answer)
        if interpreter is not None:
            found.setdefault(interpreter.prefix, interpreter)
    if answers != known:
        write_whole(cache, json.dumps(answers))
    return tuple(found.values())


def _unique(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        real = Path(os.path.realpath(path))
        if real not in seen:
            seen.add(real)
            yield real


def _query(path: Path) -> list[str]:
    """Implementation, version, base prefix; empty texts for what is no usable CPython."""
    try:
        # -E -s is what -I means and Python 2.7 knows it; from / so that no stranger's folder is on sys.path.
        done = subprocess.run(
            [path, "-E", "-s", "-c", _QUERY],
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ["", "", ""]
    lines = done.stdout.decode(errors="replace").splitlines()
    return lines if done.returncode == 0 and len(lines) == 3 else ["", "", ""]


def _interpreter(answer: list[str]) -> Interpreter | None:
    _, implementation, version, base = answer
    if implementation != "CPython" or not _VERSION.match(version):
        return None
    prefix = Path(os.path.realpath(base))
    executable = prefix / "bin" / f"python{version.rpartition('.')[0]}"
    return Interpreter(version, prefix, executable) if executable.exists() else None


def _read(cache: Path) -> dict[str, list[str]]:
    try:
        data = json.loads(cache.read_bytes())
        return {str(path): [str(part) for part in answer] for path, answer in data.items() if len(answer) == 4}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
