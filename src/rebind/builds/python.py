"""The interpreter's place in an environment."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from rebind.builds.tree import Tree
from rebind.values import Interpreter


def install_python(tree: Tree, interpreter: Interpreter, executable: str) -> None:
    """`bin/python` and its other names; `executable` is the interpreter's path as the environment's users see it."""
    major = interpreter.minor.split(".")[0]
    if major == "2":
        _python2(tree, interpreter, executable)
    else:
        tree.symlink("bin/python", executable)
        tree.write("pyvenv.cfg", _configuration(interpreter, executable))
    for name in (f"python{major}", f"python{interpreter.minor}"):
        tree.symlink(f"bin/{name}", "python")
    tree.symlink("lib64", "lib")


def _configuration(interpreter: Interpreter, executable: str) -> bytes:
    """PEP 405."""
    home = PurePosixPath(executable).parent
    return f"home = {home}\ninclude-system-site-packages = false\nversion = {interpreter.version}\n".encode()


def _python2(tree: Tree, interpreter: Interpreter, executable: str) -> None:
    """Python 2 finds its prefix by looking for its library beside the real file of the program: so the program is
    copied, and its library is links to the interpreter's own."""
    prefix = executable.rpartition("/bin/")[0]
    tree.write("bin/python", interpreter.executable.resolve().read_bytes(), 0o755)
    library = f"lib/python{interpreter.minor}"
    for name in sorted(os.listdir(interpreter.prefix / library)):  # noqa: PTH208
        if name != "site-packages":
            tree.symlink(f"{library}/{name}", f"{prefix}/{library}/{name}")
    if not tree.exists(f"include/python{interpreter.minor}"):
        tree.symlink(f"include/python{interpreter.minor}", f"{prefix}/include/python{interpreter.minor}")
