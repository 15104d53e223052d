"""Submodules: each is fetched by rebind itself, by the same rules as the repository that holds it.

`git submodule` is not used: it forgets the options that keep git harmless, and reads names, paths and addresses that
a stranger wrote.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rebind.errors import AddressError, RebindError, RepositoryError
from rebind.providers.addresses import GitURL, relative_url
from rebind.providers.checkout import Link, quoted
from rebind.providers.command import Call, Git, Watch
from rebind.values import Event, Phase

MOST_DEEP = 8
MOST = 200


@dataclass(frozen=True, slots=True)
class Stated:
    """One entry of `.gitmodules`."""

    name: str
    url: str
    update: str = ""


Fetch = Callable[[GitURL, str, Path, int], None]
"""Fetches a commit of a repository into a directory; the number counts how deep we are."""


def fetch_submodules(
    git: Git, into: Path, commit: str, links: tuple[Link, ...], base: GitURL, watch: Watch, fetch: Fetch, depth: int
) -> None:
    """Fetches every submodule of a commit. A failure is fatal and names it. RepositoryError, RefusedError."""
    if not links:
        return
    if depth >= MOST_DEEP or len(links) > MOST:
        raise RepositoryError(f"The submodules of {watch.named} are too many or nested too deeply.")
    stated = read_gitmodules(git, into / ".git", commit)
    for link in links:
        entry = stated.get(link.path)
        if entry is None or entry.update == "none":
            _say(watch, f"Warning: the submodule {link.path!r} is left empty: {_why(entry)}.")
            continue
        try:
            url = git.access.check(relative_url(base, entry.url), origin=base)
            place = empty_directory(into, link.path)
            _say(watch, f"Submodule {link.path!r}: {url.text} at {link.commit[:12]}")
            fetch(url, link.commit, place, depth + 1)
        except RebindError as error:
            message = f"The submodule {link.path!r} of {watch.named} could not be fetched: {error}"
            raise type(error)(message, remedy=error.remedy, detail=error.detail) from error
        _register(into / ".git" / "config", entry, url)


def read_gitmodules(git: Git, git_dir: Path, commit: str) -> dict[str, Stated]:
    """What `.gitmodules` of a commit states, by path. Broken entries are left out."""
    blob = f"--blob={commit}:.gitmodules"
    done = git.run(Call(["config", blob, "--no-includes", "-z", "--list"], git_dir=git_dir))
    facts: dict[str, dict[str, str]] = {}
    for item in done.text.split("\0") if done.code == 0 else []:
        key, _, value = item.partition("\n")
        section, _, rest = key.partition(".")
        name, _, variable = rest.rpartition(".")
        if section == "submodule" and name:
            facts.setdefault(name, {})[variable] = value
    return {
        fact["path"].strip("/"): Stated(name, fact["url"], fact.get("update", ""))
        for name, fact in facts.items()
        if fact.get("path") and fact.get("url")
    }


def empty_directory(into: Path, path: str) -> Path:
    """The directory of a submodule, which the checkout left empty. Never leads through a symbolic link."""
    names = path.split("/")
    if any(name in ("", ".", "..") or name.lower() == ".git" or "\0" in name for name in names):
        raise AddressError(f"The path {path!r} is not allowed.")
    here = os.open(into, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=here)
            if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                raise AddressError(f"The path {path!r} leads through a link.")
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        if any(os.scandir(here)):
            raise AddressError(f"The directory {path!r} holds files already.")
    finally:
        os.close(here)
    return into / path


def _register(config: Path, entry: Stated, url: GitURL) -> None:
    # So that `git submodule` in the session takes it for one that is set up.
    if entry.name.isprintable():
        with open(config, "a") as file:
            file.write(f"[submodule {quoted(entry.name)}]\n\tactive = true\n\turl = {quoted(url.text)}\n")


def _why(entry: Stated | None) -> str:
    return "its address is not stated in .gitmodules" if entry is None else ".gitmodules says update = none"


def _say(watch: Watch, text: str) -> None:
    if watch.report is not None:
        watch.report(Event(Phase.FETCHING, f"{text}\n"))
