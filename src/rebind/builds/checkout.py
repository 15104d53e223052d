"""The layer of a repository's own files: the checkout, moved to its place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from rebind.builds.store import Making, Say, Store, room
from rebind.errors import RecipeError
from rebind.values import Commit, Layer, Plan

if TYPE_CHECKING:
    from rebind.builds.ignore import IgnoreRules

LAYERS = "layers"
FORMAT = 1  # raised when the same commit would give other files


def checkout_layer(store: Store, plan: Plan, root: Path, commit: Commit, say: Say) -> Layer:
    """`root` (consumed: moved where it can be) as `home/`, without what the ignore files name; scripts executable."""
    scripts = [plan.post_build, plan.start]
    facts = [FORMAT, commit.identity, commit.id, commit.spec.subdir, plan.ignore, scripts]
    if (root / ".git" / "shallow").is_file():
        facts.append("without its history")  # who names a ref gets the history, who does not the commit alone
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    while not (place := store.lease(LAYERS, digest)):
        with store.making(LAYERS, digest, say) as making:
            if not making.found:
                with room(store.path):
                    _fill(store, plan, root, making)
                making.keep()
    return Layer(digest, place)


def _fill(store: Store, plan: Plan, root: Path, making: Making) -> None:
    home = making.work / "home"
    _move(root, home)
    if plan.ignore:
        from rebind.builds.ignore import IgnoreRules

        try:
            rules = IgnoreRules(plan.ignore)
        except ValueError as error:
            raise RecipeError(f"The ignore files cannot be used: {error}.") from error
        _leave_out(home, rules)
    for script in (plan.post_build, plan.start):
        if script:
            make_executable(home, script)
    if store.owner is not None:
        _give(home, store.owner)


def _move(root: Path, home: Path) -> None:
    try:
        root.rename(home)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(root, home, symlinks=True)
    home.chmod(0o755)


def _leave_out(home: Path, rules: IgnoreRules) -> None:
    """Removes the ignored files, and directories in which nothing is left and that are ignored themselves."""
    waiting = [""]
    emptied = []
    while waiting:
        directory = waiting.pop()
        with os.scandir(home / directory) as entries:
            for entry in list(entries):
                path = f"{directory}/{entry.name}" if directory else entry.name
                if not entry.is_dir(follow_symlinks=False):
                    if rules.excludes(path):
                        os.unlink(entry.path)  # noqa: PTH108
                elif rules.prunes(path):
                    shutil.rmtree(entry.path)
                else:
                    waiting.append(path)
                    if rules.excludes(path):
                        emptied.append(path)
    for path in reversed(emptied):
        with contextlib.suppress(OSError):
            (home / path).rmdir()


def make_executable(home: Path, script: str) -> None:
    """Sets the x bits of a file of the checkout; a link is followed only inside of it."""
    path = (home / script).resolve()
    if not path.is_relative_to(home.resolve()):
        raise RecipeError(
            f"{script} is a link that leads out of the repository.", remedy="Put the script itself there."
        )
    mode = path.lstat().st_mode if path.exists() else 0
    if not stat.S_ISREG(mode):
        raise RecipeError(
            f"{script} is not a file.", remedy="Make it a script, or remove it (also from the ignore files)."
        )
    path.chmod(stat.S_IMODE(mode) | 0o111)


def _give(home: Path, owner: int) -> None:
    """All of the tree to `owner`, without set-uid bits. A file with another name elsewhere is copied first: that other
    one is not ours to give away."""
    os.chown(home, owner, owner)
    for directory, names, files in os.walk(home):
        for name in (*names, *files):
            path = f"{directory}/{name}"
            facts = os.lstat(path)
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink > 1:
                _unshare(path, facts)
            os.chown(path, owner, owner, follow_symlinks=False)
            if facts.st_mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISLNK(facts.st_mode):
                os.chmod(path, stat.S_IMODE(facts.st_mode) & 0o1777)  # noqa: PTH101


def _unshare(path: str, facts: os.stat_result) -> None:
    draft = f"{path}.rebind-{os.getpid()}"
    shutil.copyfile(path, draft, follow_symlinks=False)
    os.chmod(draft, stat.S_IMODE(facts.st_mode))  # noqa: PTH101
    os.utime(draft, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(draft, path)  # noqa: PTH105
