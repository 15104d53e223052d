# This file is also read by Python 2.7.
# ruff: noqa: UP024, UP031, UP036, PTH101, PTH102, PTH112, PTH116, PTH118, PTH120
"""Compiles files to .pyc. Run by path with the *target* interpreter, so written for CPython 2.7 and everything since.

One JSON object a line in: {"root": directory, "inside": the same directory as its users will see it, "files": relative
paths, "owner": uid or null}. One JSON array a line out: the files that were written. A file that does not compile
(a template, code for another Python) is left out, as pip does it. Nothing is executed: compile() only.

The .pyc holds a hash that is not checked (PEP 552) from 3.7 on, before that the time of the source, which is the same
for all files of the store.
"""

import gc
import json
import marshal
import os
import struct
import sys

if sys.version_info[0] == 2:
    del sys.path[0]  # our own directory; `-I` does this from 3.4 on
    from imp import get_magic

    MAGIC = get_magic()
else:
    from importlib.util import MAGIC_NUMBER as MAGIC


if sys.version_info[0] > 2:
    # Strings of one character are shared by all of a process, and marshal writes whether they were interned by chance.
    ONE_CHARACTER = [sys.intern(chr(number)) for number in range(256)]


def header(source, mtime):
    # type: (bytes, int) -> bytes
    if sys.version_info >= (3, 7):
        from importlib.util import source_hash

        return MAGIC + struct.pack("<L", 1) + source_hash(source)
    if sys.version_info[0] == 2:
        return MAGIC + struct.pack("<L", mtime)
    return MAGIC + struct.pack("<LL", mtime, len(source) & 0xFFFFFFFF)


def target(path):
    # type: (str) -> str
    if sys.version_info[0] == 2:
        return path + "c"
    folder, name = os.path.split(path)
    return os.path.join(folder, "__pycache__", "%s.%s.pyc" % (name[:-3], sys.implementation.cache_tag))


def write(path, content, mtime, owner):
    # type: (str, bytes, int, int | None) -> None
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with os.fdopen(os.dup(fd), "wb") as stream:
            stream.write(content)
        os.fchmod(fd, 0o644)
        if owner is not None:
            os.fchown(fd, owner, owner)
    finally:
        os.close(fd)
    os.utime(path, (mtime, mtime))


def prepare(folder, owner):
    # type: (str, int | None) -> None
    if not os.path.isdir(folder):
        try:
            os.mkdir(folder, 0o755)
        except OSError:  # another worker was faster
            return
        os.chmod(folder, 0o755)
        if owner is not None:
            os.chown(folder, owner, owner)


def held(code, kept):
    # type: (object, list[object]) -> None
    """Keeps names and constants: before 3.11 marshal writes whether anything else refers to a name, which depends on
    what this process compiled before (71 of 1,500 files differed). Held, the same file gives the same bytes."""
    if isinstance(code, type(held.__code__)):
        kept.extend((code.co_filename, code.co_name, getattr(code, "co_qualname", None)))
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            kept.extend(names)
        held(code.co_consts, kept)
    elif isinstance(code, (tuple, frozenset)):
        for each in code:
            kept.append(each)
            held(each, kept)


def compile_one(root, inside, path, owner):
    # type: (str, str, str, int | None) -> str | None
    full = os.path.join(root, path)
    with open(full, "rb") as stream:
        source = stream.read()
    mtime = int(os.stat(full).st_mtime)
    text = source.replace(b"\r\n", b"\n") if sys.version_info[0] == 2 else source
    try:
        code = compile(text, os.path.join(inside, path), "exec", 0, True)
    except (SyntaxError, ValueError, TypeError, OverflowError, MemoryError, RuntimeError):
        return None
    kept = []  # type: list[object]
    if sys.version_info < (3, 11):
        held(code, kept)
    made = target(path)
    prepare(os.path.join(root, os.path.dirname(made)), owner)
    write(os.path.join(root, made), header(source, mtime) + marshal.dumps(code), mtime, owner)
    return made


def confine():
    # type: () -> None
    """A file that makes the parser run away ends this worker, not the machine."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def plain(job):
    # type: (dict[str, object]) -> dict[str, object]
    """In Python 2 a path is bytes."""
    if sys.version_info[0] == 2:
        job["files"] = [path.encode("utf-8") for path in job["files"]]  # type: ignore[attr-defined]
        job["root"], job["inside"] = str(job["root"]), str(job["inside"])
    return job


def main():
    # type: () -> None
    import warnings

    warnings.simplefilter("ignore")
    confine()
    gc.disable()  # compiling makes no cycles worth a search: a fifth of the time
    for line in iter(sys.stdin.readline, ""):
        job = json.loads(line, object_hook=plain)
        made = []  # type: list[str]
        for path in job["files"]:
            try:
                written = compile_one(job["root"], job["inside"], path, job["owner"])
            except EnvironmentError as error:
                made = {"errno": error.errno, "text": str(error)}  # type: ignore[assignment]
                break
            if written is not None:
                made.append(written)
        gc.collect()
        sys.stdout.write(json.dumps(made) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
