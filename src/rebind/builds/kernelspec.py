"""The kernel's entry for Jupyter: exactly one per environment, `python2` for Python 2, else `python3`."""

from __future__ import annotations

import json

from rebind.builds.tree import Tree
from rebind.values import Interpreter

KERNELS = "share/jupyter/kernels"
LOGOS = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")


def install(tree: Tree, interpreter: Interpreter, prefix: str) -> None:
    """Writes it if ipykernel is there; what ipykernel's wheel brought was for its builder's Python."""
    resources = f"lib/python{interpreter.minor}/site-packages/ipykernel/resources"
    if not (tree.root / resources).parent.is_dir():
        return
    name = "python2" if interpreter.minor == "2.7" else "python3"
    for other in ("python2", "python3"):
        if other != name and (tree.root / KERNELS / other).is_dir():
            for path in list((tree.root / KERNELS / other).iterdir()):
                path.unlink()
            (tree.root / KERNELS / other).rmdir()
    title = "Python 2" if name == "python2" else "Python 3 (ipykernel)"
    old = not tree.exists(f"lib/python{interpreter.minor}/site-packages/ipykernel_launcher.py")  # before ipykernel 4.7
    module = "ipykernel" if old else "ipykernel_launcher"
    facts = {
        "argv": [f"{prefix}/bin/python", "-m", module, "-f", "{connection_file}"],
        "display_name": title,
        "language": "python",
        "metadata": {"debugger": name == "python3"},
    }
    tree.write(f"{KERNELS}/{name}/kernel.json", json.dumps(facts, indent=1).encode() + b"\n")
    for logo in LOGOS:
        source = tree.root / resources / logo
        if source.is_file() and not tree.exists(f"{KERNELS}/{name}/{logo}"):
            tree.write(f"{KERNELS}/{name}/{logo}", source.read_bytes())
