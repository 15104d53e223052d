"""Manifest and configuration of an image (OCI image-spec 1.1), with what builder spec 1.16 says of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from rebind import __version__
from rebind.images.base import GZIP, Base
from rebind.images.layout import MANIFEST
from rebind.images.system import ENTRY_POINT, path_variable
from rebind.images.tar import Packed
from rebind.values import APP_BASE, CONDA_DIR, HOME, NB_PREFIX, NPM_DIR, REPO_DIR, USER

CONFIG = "application/vnd.oci.image.config.v1+json"
COMMAND = ("jupyter", "notebook", "--ip", "0.0.0.0")
PORT = 8888


@dataclass(frozen=True, slots=True)
class Facts:
    """What the configuration says beside the layers."""

    date: datetime
    repository: str
    """The address, `local` for a folder."""
    ref: str | None
    start: str | None
    joined: bool
    labels: tuple[tuple[str, str], ...] = ()


def variables(base: Base, facts: Facts) -> dict[str, str]:
    """The environment of the image: the base's, then ours."""
    with_server = not facts.joined
    found = dict(base.variables) | {
        "PATH": path_variable(with_server=with_server),
        "LC_ALL": base.locale,
        "LANG": base.locale,
        "LANGUAGE": base.locale,
        "DEBIAN_FRONTEND": "noninteractive",
        "SHELL": "/bin/bash",
        "USER": USER,
        "HOME": HOME,
        "PYTHONUNBUFFERED": "1",
        "REPO_DIR": REPO_DIR,
        "APP_BASE": APP_BASE,
        "CONDA_DIR": CONDA_DIR,
        "MAMBA_ROOT_PREFIX": CONDA_DIR,
        "MAMBA_EXE": f"{CONDA_DIR}/bin/mamba",
        "CONDA_PLATFORM": {"arm64": "linux-aarch64"}.get(base.architecture, "linux-64"),
        "CONDA_DEFAULT_ENV": NB_PREFIX,
        "NB_PYTHON_PREFIX": NB_PREFIX,
        "KERNEL_PYTHON_PREFIX": NB_PREFIX,
        "NPM_DIR": NPM_DIR,
        "NPM_CONFIG_GLOBALCONFIG": f"{NPM_DIR}/npmrc",
        "NPM_CONFIG_PREFIX": NPM_DIR,
    }
    if with_server:
        found["JUPYTER_PATH"] = f"{NB_PREFIX}/share/jupyter"
    if facts.start:
        found["R2D_ENTRYPOINT"] = f"{REPO_DIR}/{facts.start}"
    return found


def configuration(base: Base, layers: Iterable[tuple[Packed, str]], facts: Facts) -> bytes:
    """The configuration of the image; `layers` are ours, bottom first, each with what it is."""
    made = facts.date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ours = list(layers)
    labels = {
        "repo2docker.version": __version__,
        "repo2docker.repo": facts.repository,
        "repo2docker.ref": str(facts.ref),
        **dict(facts.labels),
    }
    whole = {
        "created": made,
        "architecture": base.architecture,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Env": [f"{name}={value}" for name, value in variables(base, facts).items()],
            "Entrypoint": [ENTRY_POINT],
            "Cmd": list(COMMAND),
            "WorkingDir": REPO_DIR,
            "Labels": labels,
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [layer.packed.diff_id for layer in base.layers] + [packed.diff_id for packed, _ in ours],
        },
        "history": [{"created": made, "created_by": "base image"} for _ in base.layers]
        + [{"created": made, "created_by": f"rebind: {title}"} for _, title in ours],
    }
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogateescape")


def manifest(base: Base, layers: Iterable[Packed], config: Packed) -> bytes:
    """The manifest of the image."""
    described = [_descriptor(layer.media_type, layer.packed) for layer in base.layers]
    described += [_descriptor(GZIP, packed) for packed in layers]
    whole = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": described,
    }
    return json.dumps(whole, separators=(",", ":")).encode()


def _descriptor(kind: str, packed: Packed) -> dict[str, object]:
    return {"mediaType": kind, "digest": packed.digest, "size": packed.size}
