"""Which files of a checkout stay out of an environment: Docker's ignore syntax (`*`, `?`, `[a-z]`, `**`, `!`).

The last pattern that matches a path or one of its parent directories decides. The patterns are a stranger's, so they
are not turned into regular expressions, which can be made to run for years: all of them together are one automaton
whose states are the bits of a number, and a path costs a few operations for each of its characters.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

_MOST = 64 * 1024  # characters of all patterns together


@dataclass
class _Automaton:
    """Position n is reached when everything before token n has matched."""

    size: int = 0
    skips: int = 0
    """Positions whose token may match nothing."""
    skips_two: int = 0
    """Positions whose token and the next one may match nothing together."""
    stays: int = 0
    """Positions that stay on any character but a slash, ..."""
    stays_on_slash: int = 0
    """... and those that stay on a slash."""
    any_character: int = 0
    literal: dict[str, int] = field(default_factory=dict)
    classes: list[tuple[str, int]] = field(default_factory=list)
    starts: int = 0
    ends: dict[int, bool] = field(default_factory=dict)
    """Bit of an end position -> whether its pattern excludes."""

    def token(self) -> int:
        self.size += 1
        return 1 << (self.size - 1)


class IgnoreRules:
    """The lines of ignore files, ready to be asked. Raises ValueError if there is too much of them."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._automaton = _Automaton()
        total = 0
        self._exceptions = False
        for pattern, excludes in _patterns(lines):
            total += len(pattern)
            if total > _MOST:
                raise ValueError(f"the ignore files have more than {_MOST} characters of patterns")
            self._exceptions |= not excludes
            _add(self._automaton, pattern, excludes)
        self._ends = sum(self._automaton.ends)
        self._start = self._closed(self._automaton.starts)
        self._directory = lru_cache(maxsize=256)(self._read_directory)
        self._accepting = lru_cache(maxsize=4096)(self._accepts)

    def excludes(self, path: str) -> bool:
        """Whether the file or directory `path` (relative, with `/`) stays out."""
        state, matched = self._read(path.strip("/"))
        matched |= state & self._ends
        # later patterns have higher bits, so the highest one is the last that matched
        return bool(matched) and self._automaton.ends[1 << (matched.bit_length() - 1)]

    def prunes(self, path: str) -> bool:
        """Whether nothing below the directory `path` can be kept, so that it need not be walked."""
        return not self._exceptions and self.excludes(path)

    def _read(self, path: str) -> tuple[int, int]:
        """State after the path, and the ends that its parents have reached."""
        parent, slash, name = path.rpartition("/")
        state, matched = self._directory(f"{parent}/") if slash else (self._start, 0)
        for character in name:
            state = self._step(state, character)
        return state, matched

    def _read_directory(self, path: str) -> tuple[int, int]:
        """The same for a path that ends in a slash."""
        state, matched = self._start, 0
        for character in path:
            if character == "/":
                matched |= state & self._ends
            state = self._step(state, character)
        return state, matched

    def _step(self, state: int, character: str) -> int:
        stays = self._automaton.stays_on_slash if character == "/" else self._automaton.stays
        return self._closed((state & self._accepting(character)) << 1 | state & stays)

    def _closed(self, state: int) -> int:
        """Add what is reached over tokens that may match nothing."""
        machine = self._automaton
        while (more := state | (state & machine.skips) << 1 | (state & machine.skips_two) << 2) != state:
            state = more
        return state

    def _accepts(self, character: str) -> int:
        """The positions whose token takes this character."""
        machine = self._automaton
        found = machine.literal.get(character, 0)
        if character != "/":
            found |= machine.any_character
            found |= sum(bit for members, bit in machine.classes if _in_class(character, members))
        return found


def _patterns(lines: Iterable[str]) -> Iterable[tuple[str, bool]]:
    """Cleaned patterns, and whether they exclude (not `!`)."""
    for line in lines:
        text = line.strip()
        if not text or line.startswith("#"):
            continue
        excludes = not text.startswith("!")
        text = text.removeprefix("!").strip()
        if text:
            yield posixpath.normpath(text).lstrip("/") or "/", excludes


def _add(machine: _Automaton, pattern: str, excludes: bool) -> None:
    machine.starts |= 1 << machine.size
    at = 0
    while at < len(pattern):
        at = _add_token(machine, pattern, at)
    machine.ends[machine.token()] = excludes


def _add_token(machine: _Automaton, pattern: str, at: int) -> int:
    """Add the token at `at`; returns where the next one starts."""
    character = pattern[at]
    if character == "*":
        return _add_stars(machine, pattern, at)
    if character == "[" and (close := pattern.find("]", at + 2)) > 0:
        machine.classes.append((pattern[at + 1 : close], machine.token()))
        return close + 1
    bit = machine.token()
    if character == "?":
        machine.any_character |= bit
        return at + 1
    if character == "\\" and at + 1 < len(pattern):
        at += 1
    machine.literal[pattern[at]] = machine.literal.get(pattern[at], 0) | bit
    return at + 1


def _add_stars(machine: _Automaton, pattern: str, at: int) -> int:
    """`*` stays within a name, `**` crosses slashes, `**/` is any number of directories, also none."""
    end = at
    while end < len(pattern) and pattern[end] == "*":
        end += 1
    if end - at > 1 and pattern[end : end + 1] == "/":
        first, second = machine.token(), machine.token()
        machine.skips |= first  # to the second, which takes anything up to a slash ...
        machine.skips_two |= first  # ... or past it: no directory at all
        machine.stays |= second
        machine.stays_on_slash |= second
        machine.literal["/"] = machine.literal.get("/", 0) | second
        return end + 1
    bit = machine.token()
    machine.skips |= bit
    machine.stays |= bit
    if end - at > 1:
        machine.stays_on_slash |= bit
    return end


def _in_class(character: str, members: str) -> bool:
    negated = members.startswith("^")
    members = members[negated:]
    found, at = False, 0
    while at < len(members):
        if members[at] == "\\" and at + 1 < len(members):
            at += 1
        low = high = members[at]
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            high = members[at + 2]
            at += 2
        found |= low <= character <= high
        at += 1
    return found != negated
