"""What conda's programs want to find: `conda-meta/` records, and the programs themselves, in small."""

from __future__ import annotations

import json
from pathlib import Path

from rebind.builds.conda_unpack import CondaContents
from rebind.builds.tree import Tree
from rebind.values import CONDA_DIR, NB_PREFIX, CondaPackage

TOOLS = ("conda", "mamba", "micromamba")


def write_record(tree: Tree, package: CondaPackage, contents: CondaContents, place: Path) -> None:
    """`conda-meta/<name>-<version>-<build>.json`."""
    base = package.url.rpartition("/")[0]
    files = sorted(contents.paths())
    record: dict[str, object] = {
        **{key: contents.index[key] for key in ("depends", "constrains", "license", "noarch") if key in contents.index},
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": contents.index.get("build_number", 0),
        "subdir": package.subdir,
        "channel": base.rpartition("/")[0],
        "url": package.url,
        "fn": package.url.rpartition("/")[2],
        "sha256": package.sha256,
        "md5": package.md5,
        "size": package.size,
        "files": files,
        "paths_data": {"paths_version": 1, "paths": [{"_path": path, "path_type": "hardlink"} for path in files]},
        "link": {"source": "", "type": 1},
        "requested_spec": "",
    }
    name = f"{package.name}-{package.version}-{package.build}".replace("/", "_")
    tree.write(f"conda-meta/{name}.json", json.dumps(record, indent=1).encode() + b"\n")


def write_tools(tree: Tree) -> None:
    """`conda`, `mamba` and `micromamba` in /srv/conda/bin."""
    folder = Path(CONDA_DIR[1:], "bin")
    program = Path(__file__).with_name("conda_program.py").read_bytes()
    text = f"#!{NB_PREFIX}/bin/python\n".encode() + program
    for name in TOOLS:
        tree.write(f"{folder}/{name}", text, 0o755)
