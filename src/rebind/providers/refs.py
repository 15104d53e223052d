"""Refs: what may be asked for, and which of the names that a repository has is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rebind.errors import AddressError, RefNotFoundError

FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHORT_ID = re.compile(r"[0-9a-f]{4,63}")
# What git itself never allows in the name of a ref; `~ ^ :` would be revision syntax.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\u2028\u2029]|\.\.|@\{|//|/\.|^[-./]|\.lock(?:/|$)|\.$")


@dataclass(frozen=True, slots=True)
class Advertised:
    """The names that a repository has now, as `git ls-remote --symref` tells them."""

    ids: dict[str, str]
    """Full name (`refs/heads/main`, `HEAD`) -> commit; for an annotated tag the commit it stands for."""
    default: str = ""
    """The branch that HEAD is, without `refs/heads/`; '' if unknown."""
    tags: dict[str, str] = field(default_factory=dict)
    """Full name -> the tag's own object, for the tags that have one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a ref turned out to be."""

    id: str
    branch: str = ""
    """The branch of that name, '' for a tag or a commit."""
    tag: str = ""
    ref: str | None = None
    """The ref that was found, where a page left open where it ends."""


def check_ref(ref: str | None) -> str | None:
    """A ref as it may be given to git; '' and None are no ref. Raises AddressError."""
    if not ref:
        return None
    if len(ref) > 1024 or _FORBIDDEN.search(ref) or ref == "@":
        raise AddressError(
            f"{ref[:200]!r} cannot be the name of a branch, tag or commit.",
            remedy="Give a branch, a tag, or a commit's hexadecimal id.",
        )
    return ref


def is_default(ref: str | None) -> bool:
    """No ref, or HEAD: what the repository shows by default."""
    return ref in (None, "", "HEAD", "origin/HEAD")


def candidates(ref: str) -> list[str]:
    """The refs that are tried in turn: itself, or for `a/b/c/` (ref and path of a page) the longest first."""
    if not ref.endswith("/"):
        return [ref]
    names = ref.rstrip("/").split("/")[:12]
    return ["/".join(names[:count]) for count in range(len(names), 0, -1)]


def names_of(ref: str) -> list[str]:
    """Full names that a ref may stand for, the most exact first: branch, tag, then without `origin/`."""
    names = [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    if ref.startswith("refs/"):
        names.insert(0, ref)
    if ref.startswith(("heads/", "tags/")):
        names.append(f"refs/{ref}")
    if short := ref.removeprefix("origin/").removeprefix("refs/remotes/origin/"):
        names += [f"refs/heads/{short}", f"refs/tags/{short}"] if short != ref else []
    return names


def choose(ref: str, advertised: Advertised) -> Choice | None:
    """The branch or tag that a ref names; None if there is none of that name (it may yet be a commit)."""
    for candidate in candidates(ref):
        for name in names_of(candidate):
            if name in advertised.ids:
                branch = name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else ""
                tag = name.removeprefix("refs/tags/") if name.startswith("refs/tags/") else ""
                return Choice(advertised.ids[name], branch, tag, candidate)
    return None


def hex_part(ref: str) -> str:
    """The part of a ref that may be a commit's id, full or short; '' if none may."""
    text = candidates(ref)[-1].removeprefix("origin/").lower()
    return text if SHORT_ID.fullmatch(text) or FULL_ID.fullmatch(text) else ""


def by_prefix(prefix: str, advertised: Advertised) -> str | None:
    """The commit among the named ones whose id begins so; RefNotFoundError if there are several."""
    found = sorted({commit for commit in advertised.ids.values() if commit.startswith(prefix)})
    if len(found) > 1:
        raise RefNotFoundError(f"{prefix!r} begins several commits: {', '.join(i[:12] for i in found[:5])}.")
    return found[0] if found else None


def read_advertised(text: str) -> Advertised:
    """Reads what `git ls-remote --symref` writes. Peeled tags win over the tag objects."""
    ids: dict[str, str] = {}
    tags: dict[str, str] = {}
    default = ""
    for line in text.split("\n"):
        left, _, name = line.partition("\t")
        if left.startswith("ref: ") and name == "HEAD":
            default = left.removeprefix("ref: ").removeprefix("refs/heads/")
        elif FULL_ID.fullmatch(left):
            plain = name.removesuffix("^{}")
            if plain != name:
                tags[plain] = ids.get(plain, left)
            ids[plain] = left
    return Advertised(ids, default, tags)


def not_found(ref: str, repository: str, advertised: Advertised | None = None) -> RefNotFoundError:
    """The error for a ref that is not there, with a hint where the branch is only called otherwise."""
    shown = ref.rstrip("/")
    remedy = "Look whether the name is spelled right and was pushed."
    default = advertised.default if advertised else ""
    if shown in ("main", "master"):
        named = f" It is {default!r} here." if default and default != shown else ""
        remedy = f"The default branch may be called otherwise: leave the ref out, or write HEAD.{named}"
    elif FULL_ID.fullmatch(shown):
        remedy = "The commit may have been removed by a forced push, or belong to another repository."
    return RefNotFoundError(f"{repository} has no branch, tag or commit {shown!r}.", remedy=remedy)
