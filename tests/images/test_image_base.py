"""Base images, users, and what a configuration says."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.images.conftest import small_image

from rebind.errors import AddressError, BuildError, RebindError
from rebind.images import base, layout, manifests
from rebind.images.base import Base
from rebind.images.blobs import Blobs
from rebind.images.names import ImageName
from rebind.images.system import system_entries
from rebind.values import NB_PREFIX

PASSWD = "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n"
GROUP = "root:x:0:\nubuntu:x:1000:\nadm:x:4:ubuntu\n"
FACTS = manifests.Facts(datetime(2024, 3, 1, 12, tzinfo=UTC), "https://example.org/a", "main", "start", False)


def root_file_system(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(text)
            member.mode, member.gid = (0o640, 42) if "shadow" in name else (0o644, 0)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def never(name: ImageName) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    raise AssertionError("no registry is needed")


@pytest.fixture
def ubuntu(tmp_path: Path, blobs: Blobs) -> Base:
    files = {"etc/passwd": PASSWD, "etc/group": GROUP, "etc/shadow": "root:*:1::::::\nubuntu:!:1::::::\n"}
    return base.load(f"tar:{root_file_system(tmp_path / 'base.tar', files)}", blobs, never)


def test_who_has_our_number_is_replaced(ubuntu: Base) -> None:
    found = {entry.name: entry for entry in system_entries(ubuntu, with_server=True)}
    users = found["etc/passwd"].content.decode().splitlines()
    assert users == ["root:x:0:0:root:/root:/bin/bash", "jovyan:x:1000:1000::/home/jovyan:/bin/bash"]
    assert "ubuntu:x:1000" not in found["etc/group"].content.decode()
    assert "ubuntu" not in found["etc/shadow"].content.decode()
    assert (found["etc/shadow"].mode, found["etc/shadow"].group) == (0o640, 42)
    assert found["usr/local/bin/repo2docker-entrypoint"].mode == 0o755
    assert (found["home/jovyan"].owner, found["home/jovyan"].group) == (1000, 1000)


def test_the_configuration_keeps_the_contract(ubuntu: Base) -> None:
    made = json.loads(manifests.configuration(ubuntu, [], FACTS))
    config = made["config"]
    variables = dict(line.split("=", 1) for line in config["Env"])
    assert config["User"] == "jovyan"
    assert config["WorkingDir"] == variables["REPO_DIR"] == "/home/jovyan"
    assert config["Entrypoint"] == ["/usr/local/bin/repo2docker-entrypoint"]
    assert config["Cmd"] == ["jupyter", "notebook", "--ip", "0.0.0.0"]
    assert config["ExposedPorts"] == {"8888/tcp": {}}
    assert variables["R2D_ENTRYPOINT"] == "/home/jovyan/start"
    assert variables["NB_PYTHON_PREFIX"] == variables["KERNEL_PYTHON_PREFIX"] == NB_PREFIX
    assert variables["PATH"].startswith(f"/home/jovyan/.local/bin:{NB_PREFIX}/bin:")
    assert not {"NB_USER", "NB_UID"} & set(variables)
    assert config["Labels"]["repo2docker.repo"] == "https://example.org/a"
    assert config["Labels"]["repo2docker.ref"] == "main"
    assert made["created"] == "2024-03-01T12:00:00Z"


def test_the_locale_is_one_that_the_base_has(tmp_path: Path, blobs: Blobs) -> None:
    files = {"etc/passwd": PASSWD, "etc/group": GROUP}
    plain = base.load(f"tar:{root_file_system(tmp_path / 'a.tar', files)}", blobs, never)
    more = files | {"usr/lib/locale/locale-archive": "x"}
    whole = base.load(f"tar:{root_file_system(tmp_path / 'b.tar', more)}", blobs, never)
    assert (plain.locale, whole.locale) == ("C.UTF-8", "en_US.UTF-8")


def test_a_written_layout_is_read_as_a_base(tmp_path: Path, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs, 100, 200)
    for output in (f"oci:{tmp_path / 'dir'}", f"oci-archive:{tmp_path / 'file.tar'}"):
        scheme, place = layout.split(output)
        layout.write(scheme, place, blobs, manifest, parts, "one")
        others = Blobs(tmp_path / scheme)
        others.start()
        config, layers = layout.read(scheme, place, others)
        assert [each["digest"] for each in layers] == [part.digest for part in parts[:2]]
        assert len(config["rootfs"]["diff_ids"]) == 2


@pytest.mark.parametrize(
    "text", ["", "buildpack-deps", "http://x", "tar:/nonexistent", "oci:/nonexistent", "oci-archive:/x"]
)
def test_what_is_no_base_is_said_so(blobs: Blobs, text: str) -> None:
    with pytest.raises(AddressError):
        base.load(text, blobs, never)


def test_a_layout_cannot_lead_out_of_its_folder(tmp_path: Path, blobs: Blobs) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:../../../etc/passwd"}]}))
    with pytest.raises(RebindError):
        layout.read("oci", tmp_path, blobs)


def test_a_base_without_users_is_no_base(tmp_path: Path, blobs: Blobs) -> None:
    with pytest.raises(BuildError, match="passwd"):
        base.load(f"tar:{root_file_system(tmp_path / 'a.tar', {'bin/sh': ''})}", blobs, never)


@pytest.mark.parametrize("text", ["docker:x", "oci", "oci:", "/tmp/x", "oci-archive:"])
def test_an_output_says_its_kind(text: str) -> None:
    with pytest.raises(AddressError):
        layout.split(text)
