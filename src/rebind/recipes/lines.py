"""The text of a requirements file as logical lines, and the options on them (pip's requirements file format)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from rebind.recipes.where import Where, shown

_ALIASES = {
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
    "-i": "--index-url",
    "-f": "--find-links",
    "-C": "--config-settings",
    "-Z": "--always-unzip",
    "--pypi-url": "--index-url",
    "--config-setting": "--config-settings",
}
NESTED = frozenset(("--requirement", "--constraint", "--editable"))
VALUED = frozenset(
    ("--index-url", "--extra-index-url", "--find-links", "--no-binary", "--only-binary", "--trusted-host")
)
FLAGS = frozenset(("--no-index", "--pre", "--prefer-binary"))
HASHES = frozenset(("--hash", "--require-hashes"))
# Forgotten by today's pip, without effect on which packages are found, or an option of one package's build.
_DROPPED_VALUED = frozenset(
    ("--use-feature", "--allow-external", "--allow-unverified", "--mirrors", "--install-option")
) | {"--global-option", "--config-settings"}
_DROPPED_FLAGS = frozenset(
    ("--process-dependency-links", "--allow-all-external", "--use-wheel", "--no-use-wheel", "--use-mirrors")
) | {"--always-unzip"}
DROPPED = _DROPPED_VALUED | _DROPPED_FLAGS
_WITH_VALUE = NESTED | VALUED | _DROPPED_VALUED | {"--hash"}
_WITHOUT_VALUE = FLAGS | _DROPPED_FLAGS | {"--require-hashes"}
# What follows `-e` may hold blanks and a marker with quotation marks, so it is not split into words.
_EDITABLE = re.compile(r"(?:--editable(?:=|\s)|-e)\s*(?P<value>\S(?:(?!\s--).)*)(?P<rest>.*)")
_LONGEST = 256 * 1024  # of one logical line; hashes of a package with hundreds of files fit


@dataclass(frozen=True, slots=True)
class Option:
    """One option, by its long name."""

    name: str
    value: str = ""


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers: continuations joined, comments cut, blank ones left out."""
    parts: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if parts else number
        goes_on = line.endswith("\\") and not line.lstrip().startswith("#")
        parts.append(line.rstrip("\\") if goes_on else f" {line}" if line.startswith("#") else line)
        if not goes_on:
            yield from _whole(first, parts)
            parts = []
    yield from _whole(first, parts)


def _whole(number: int, parts: list[str]) -> Iterator[tuple[int, str]]:
    line = _without_comment("".join(parts)).strip()
    if line:
        yield number, line


def _without_comment(line: str) -> str:
    """A `#` starts a comment at the start of the line or after a blank; else it belongs to a URL."""
    at = line.find("#")
    while at > 0 and not line[at - 1].isspace():
        at = line.find("#", at + 1)
    return line if at < 0 else line[:at]


def split_line(line: str, where: Where) -> tuple[str, tuple[Option, ...]]:
    """The requirement of a logical line ('' if there is none) and its options. Raises RecipeError."""
    if len(line) > _LONGEST:
        raise where.error("the line is too long.")
    match = re.search(r"(?:^|(?<=\s))-", line)
    if match is None:
        return line, ()
    rest = line[match.start() :]
    editable = _EDITABLE.match(rest)
    if editable and not line[: match.start()].strip():
        return "", (Option("--editable", _unquoted(editable["value"])), *_all_options(editable["rest"], where, line))
    return line[: match.start()].strip(), _all_options(rest, where, line)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _all_options(rest: str, where: Where, line: str) -> tuple[Option, ...]:
    try:
        words = shlex.split(rest) if re.search(r"[\"'\\]", rest) else rest.split()
    except ValueError as error:
        raise where.error(f"a quotation mark is not closed in {shown(line)}.") from error
    return tuple(_options(words, where))


def _options(words: list[str], where: Where) -> Iterator[Option]:
    at = 0
    while at < len(words):
        name, value = _name(words[at], where)
        at += 1
        if name in _WITHOUT_VALUE:
            if value is not None:
                raise where.error(f"the option {name} takes no value.")
            yield Option(name)
            continue
        if value is None:
            value = words[at] if at < len(words) else ""
            at += 1
        if not value:
            raise where.error(f"the option {name} needs a value.")
        yield Option(name, value)


def _name(word: str, where: Where) -> tuple[str, str | None]:
    """Long name and the value that is written in the same word."""
    if word.startswith("--"):
        name, sign, value = word.partition("=")
        found: tuple[str, str | None] = (_ALIASES.get(name, name), value if sign else None)
    else:
        found = (_ALIASES.get(word[:2], word), word[2:].removeprefix("=") or None)
    if found[0] not in _WITH_VALUE | _WITHOUT_VALUE:
        remedy = "Only options of pip's requirements file format can stand here."
        raise where.error(f"{shown(word)} is not an option that is known here.", remedy)
    return found
