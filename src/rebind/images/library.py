# This file is also read by Python 2.7.
# ruff: noqa: UP031, UP036, PTH103, PTH112, PTH118, PTH120
"""Compiles a standard library. Run by path with the interpreter that it belongs to: `library.py LIBRARY INSIDE OUT`.

Writes, below OUT, the .pyc of each .py named on standard input (paths below LIBRARY, one a line), as it will be used at
INSIDE. Nothing is executed: compile() only. The .pyc holds a hash that is not checked (PEP 552), before 3.7 the time
that all files of a layer have.
"""

import marshal
import os
import struct
import sys

del sys.path[0]  # our own directory

MTIME = 315532800

if sys.version_info[0] == 2:
    from imp import get_magic

    MAGIC = get_magic()
else:
    from importlib.util import MAGIC_NUMBER as MAGIC


if sys.version_info[0] > 2:
    # Strings of one character are shared by all of a process, and marshal writes whether they were interned by chance.
    ONE_CHARACTER = [sys.intern(chr(number)) for number in range(256)]


def header(source):
    # type: (bytes) -> bytes
    if sys.version_info >= (3, 7):
        from importlib.util import source_hash

        return MAGIC + struct.pack("<L", 1) + source_hash(source)
    if sys.version_info[0] == 2:
        return MAGIC + struct.pack("<L", MTIME)
    return MAGIC + struct.pack("<LL", MTIME, len(source) & 0xFFFFFFFF)


def target(path):
    # type: (str) -> str
    if sys.version_info[0] == 2:
        return path + "c"
    folder, name = os.path.split(path)
    return os.path.join(folder, "__pycache__", "%s.%s.pyc" % (name[:-3], sys.implementation.cache_tag))


def held(code, kept):
    # type: (object, list[object]) -> None
    """Keeps names and constants: marshal writes whether anything else refers to an object, which else depends on what
    this process compiled before. So the same file gives the same bytes everywhere."""
    if isinstance(code, type(held.__code__)):
        kept.extend((code.co_filename, code.co_name, getattr(code, "co_qualname", None)))
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            kept.extend(names)
        held(code.co_consts, kept)
    elif isinstance(code, (tuple, frozenset)):
        for each in code:
            kept.append(each)
            held(each, kept)


def main(library, inside, out):
    # type: (str, str, str) -> None
    for line in sys.stdin:
        path = line.rstrip("\n")
        with open(os.path.join(library, path), "rb") as stream:
            source = stream.read()
        try:
            code = compile(source, os.path.join(inside, path), "exec", 0, True)
        except (SyntaxError, ValueError, TypeError, OverflowError, MemoryError, RuntimeError):
            continue
        made = os.path.join(out, target(path))
        if not os.path.isdir(os.path.dirname(made)):
            os.makedirs(os.path.dirname(made))
        kept = []  # type: list[object]
        held(code, kept)
        with open(made, "wb") as stream:
            stream.write(header(source) + marshal.dumps(code))


if __name__ == "__main__":
    main(*sys.argv[1:4])
