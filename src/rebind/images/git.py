"""The `.git` of a checkout -> the same bytes on every machine and for every fetch.

Its index holds times and inode numbers, its pack what the server happened to send. Both are written anew: the index
without notes about files, the objects as one pack without deltas, in the order of their names. None of the repository's
own settings is in force: git works in a directory of ours that only borrows the objects.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from rebind.errors import BuildError

_DEAD = {"logs", "FETCH_HEAD", "ORIG_HEAD", "hooks", "index", "COMMIT_EDITMSG", "gc.log", "branches", "description"}
_OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TIMEOUT = 1800.0


def is_git_dir(path: Path) -> bool:
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and not (path / "objects").is_symlink()


def left_out(path: str) -> bool:
    """Whether a file of a git directory, by its path in it, is replaced or depends on the machine."""
    first, _, rest = path.partition("/")
    return first in _DEAD or (first == "objects" and rest not in ("", "info"))


def rewrite(git_dir: Path, out: Path) -> None:
    """Writes `objects/` and `index` anew, below `out`. Raises BuildError."""
    git = _Git(git_dir, out)
    try:
        git.prepare()
        git.pack()
        git.index()
    finally:
        shutil.rmtree(git.own, ignore_errors=True)


class _Git:
    def __init__(self, git_dir: Path, out: Path) -> None:
        self.git_dir, self.out = git_dir, out
        self.own = out / "own"

    def prepare(self) -> None:
        for name in ("objects/info", "refs"):
            (self.own / name).mkdir(parents=True)
        (self.out / "objects" / "pack").mkdir(parents=True)
        objects = str((self.git_dir / "objects").resolve())
        escaped = objects.replace("\\", "\\\\").replace('"', '\\"')
        (self.own / "objects" / "info" / "alternates").write_text(f'"{escaped}"\n')
        extension = "[extensions]\n\tobjectFormat = sha256\n" if len(self._head() or "") == 64 else ""
        (self.own / "config").write_text(f"[core]\n\trepositoryformatversion = 1\n\tbare = true\n{extension}")
        (self.own / "HEAD").write_text("ref: refs/heads/none\n")

    def pack(self) -> None:
        listed = self._run("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", "--unordered")
        names = sorted(set(listed.split()))
        if not names:
            return
        flags = ("-q", "--window=0", "--depth=0", "--no-reuse-delta", "--no-reuse-object", "--threads=1")
        self._run("pack-objects", *flags, str(self.out / "objects/pack/pack"), stdin=b"\n".join([*names, b""]))
        for made in (self.out / "objects" / "pack").iterdir():
            made.chmod(0o644)
        if any((self.git_dir / "objects" / "pack").glob("*.promisor")):
            for made in list((self.out / "objects" / "pack").glob("*.pack")):
                made.with_suffix(".promisor").touch(0o644)

    def index(self) -> None:
        head = self._head()
        if head and (self.git_dir / "index").is_file():
            self._run("read-tree", head, index=self.out / "index")

    def _head(self) -> str | None:
        """The commit that HEAD names, if it does so in a plain way."""
        text = _line(self.git_dir / "HEAD")
        if text.startswith("ref: refs/heads/") and ".." not in text:
            name = text.removeprefix("ref: ")
            text = _line(self.git_dir / name) or self._packed(name)
        return text if _OBJECT.fullmatch(text) else None

    def _packed(self, name: str) -> str:
        path = self.git_dir / "packed-refs"
        if path.is_symlink() or not path.is_file():
            return ""
        found = re.search(rb"(?m)^([0-9a-f]{40,64}) " + re.escape(os.fsencode(name)) + rb"$", path.read_bytes())
        return found[1].decode() if found else ""

    def _run(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> bytes:
        variables = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        variables |= {"GIT_DIR": str(self.own), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
        variables |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "LC_ALL": "C", "HOME": "/nonexistent"}
        if index:
            variables["GIT_INDEX_FILE"] = str(index)
        options = ("-c", "core.compression=1", "-c", "pack.writeReverseIndex=false", "-c", "core.fsync=none")
        argv = ["git", *options, "-c", "index.version=2", "-c", "pack.indexVersion=2", *arguments]
        done = subprocess.run(argv, input=stdin, env=variables, capture_output=True, timeout=_TIMEOUT)
        if done.returncode:
            raise BuildError(
                "The repository's history could not be written for the image.",
                remedy="Leave `.git` out with a line in .dockerignore, or fetch the repository anew.",
                detail=done.stderr.decode(errors="replace")[-2000:],
            )
        return done.stdout


def _line(path: Path) -> str:
    try:
        return "" if path.is_symlink() else path.read_text(errors="replace").strip()
    except OSError:
        return ""
