"""Programs in bin/ that start with the environment's interpreter."""

from __future__ import annotations

LONGEST = 127  # what every kernel reads of a first line, `#!` included


def first_lines(python: str) -> bytes:
    """The `#!` line, or where that is too long or has blanks, lines that sh and Python both read."""
    if len(python) + 3 <= LONGEST and " " not in python:
        return f"#!{python}\n".encode()
    quoted = python.replace("'", "'\"'\"'")
    return f"#!/bin/sh\n'''exec' '{quoted}' \"$0\" \"$@\"\n' '''\n".encode()


def entry_point(python: str, module: str, attribute: str) -> bytes:
    """The script of a console entry point; `module` and `attribute` are dotted names, checked when unpacked."""
    first = attribute.split(".")[0]
    body = f"""import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({attribute}())
"""
    return first_lines(python) + body.encode()


def with_interpreter(python: str, script: bytes) -> bytes:
    """A shipped script, its `#!python` line replaced."""
    _, _, rest = script.partition(b"\n")
    return first_lines(python) + rest
