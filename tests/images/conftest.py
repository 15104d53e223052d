from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.registries import Registry

from rebind.images.blobs import Blobs
from rebind.images.tar import FILE, Entry, Packed, write_layer


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CONTAINER_ENGINE_REGISTRY_CREDENTIALS", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))


CHUNK = 1 << 20


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads in many chunks without writing much: the registry's disk may be slow."""
    monkeypatch.setattr("rebind.images.registry.CHUNK", CHUNK)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "blobs")
    made.start()
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path / "registry").start()
    yield made
    made.kill()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path / "guarded", password=True).start()
    yield made
    made.kill()


def small_image(blobs: Blobs, *sizes: int, mark: str = "") -> tuple[Packed, list[Packed]]:
    """An image of layers with that many bytes that do not compress; its manifest and its other blobs."""
    parts = []
    for number, size in enumerate(sizes or (1000,)):
        entry = Entry(f"file{number}{mark}", FILE, content=os.urandom(size), size=size)
        parts.append(blobs.layer(["test", mark, number, size], lambda draft, entry=entry: write_layer([entry], draft)))
    diff_ids = [part.diff_id for part in parts]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    described = blobs.small(json.dumps(config).encode())
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", "digest": described.digest, "size": described.size},
        "layers": [
            {"mediaType": f"{kind}.layer.v1.tar+gzip", "digest": part.digest, "size": part.size} for part in parts
        ],
    }
    return blobs.small(json.dumps(manifest).encode()), [*parts, described]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
