"""TOML and JSON that a stranger wrote: read within limits, and looked into without trust in its types."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping

from rebind.recipes.where import Where, shown

Table = Mapping[str, object]

# The parser's time grows with the square of a key's dots: 40 KB of them took 4.5 s.
_MOST_DOTS = 20
_NO_KEY = re.compile(r"\"(?:[^\"\\]|\\.)*+\"|'[^']*+'|:[0-9]{2}\.[0-9]+")  # texts, and the fractions of times
_LONGEST_LINE = 256 * 1024  # uv writes all wheels of a package on one
_MOST = 20_000


def read_toml(text: str, where: Where) -> Table:
    """The tables of a TOML file. Raises RecipeError."""
    for number, line in enumerate(text.split("\n"), start=1):
        # a long text that ends on a line would pass what follows it off as a text
        keys = line if '"""' in line or "'''" in line else _NO_KEY.sub("", line).partition("#")[0]
        if len(line) > _LONGEST_LINE or keys.count(".") > _MOST_DOTS:
            raise Where(where.file, number).error("the line is too long or has a key of too many parts.")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number with thousands of digits
        raise where.error(f"it is not valid TOML: {str(error)[:200]}.", "Make the file anew.") from error


def read_json(text: str, where: Where) -> Table:
    """The object of a JSON file. Raises RecipeError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise where.error(f"it is not valid JSON: {str(error)[:200]}.", "Make the file anew.") from error
    if not isinstance(content, dict):
        raise where.error("it holds no JSON object.", "Make the file anew.")
    return content


def table(content: Table, name: str, where: Where) -> Table:
    """The table of that name, empty if there is none. Raises RecipeError if it is something else."""
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise where.error(f"{name} is not a table.")
    return found


def tables(content: Table, name: str, where: Where) -> Iterator[Table]:
    """The tables of a list. Raises RecipeError if it holds anything else, or too many."""
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise where.error(f"{name} is not a list of tables.")
    if len(found) > _MOST:
        raise where.error(f"{name} has more than {_MOST} entries.")
    return iter(found)


def text(content: Table, name: str, where: Where) -> str:
    """The text of that name, '' if there is none. Raises RecipeError if it is something else."""
    found = content.get(name, "")
    if not isinstance(found, str):
        raise where.error(f"{name} is not a text but {shown(repr(found))}.")
    return found


def texts(content: Table, name: str, where: Where) -> tuple[str, ...]:
    """The texts of a list, () if there is none. Raises RecipeError if it holds anything else."""
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise where.error(f"{name} is not a list of texts but {shown(repr(found))}.")
    return tuple(found)
