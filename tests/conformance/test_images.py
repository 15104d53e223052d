"""Rows of the builder's specification about names of images and registries."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import MakeRepository, git
from tests.images.registries import NAME, PASSWORD, Registry

from rebind import images
from rebind.errors import AddressError
from rebind.images.credentials import Credentials
from rebind.images.registry import Registry as Client


@pytest.mark.parametrize("name", ["Test/Invalid_name:1.0.0", "_test/x:1", "test..com/x:1", "Test.com/x:1", "_invalid"])
def test_u_img_rejected(name: str) -> None:
    with pytest.raises(AddressError):
        images.parse(name)


@pytest.mark.parametrize("name", ["test.COM/valid_name:1.0.0", "test.com/valid_name:1.0.0"])
def test_u_img_accepted(name: str) -> None:
    assert images.parse(name).tag == "1.0.0"


def test_u_name2_a_file_address_ends_in_the_short_commit(make_repository: MakeRepository) -> None:
    repository = make_repository({"a": "a"})
    short = git(repository, "rev-parse", "HEAD")[:7]
    made = images.default(f"file://{repository}", short)
    assert made.endswith(short)
    images.parse(made)


def test_u_name3_a_path_begins_with_r2d_and_the_path() -> None:
    assert images.default("/srv/my repo", None).startswith("r2d-2fsrv-2fmy-20repo")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path / "guarded", password=True).start()
    yield made
    made.kill()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.tar"
    with tarfile.open(path, "w") as archive:
        for name, text in (("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), ("etc/group", b"root:x:0:\n")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


def _push(
    repository: Path, image: str, base: Path, tmp_path: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    data = os.environ.get("TEST_DATA") or str(tmp_path / "data")
    argv = [sys.executable, "-m", "rebind", "build", str(repository), "--image", image, "--push", "--data", data]
    environ = {**os.environ, "HOME": str(tmp_path / "home"), **variables}
    return subprocess.run([*argv, "--base", f"tar:{base}"], env=environ, capture_output=True, text=True, timeout=600)


@pytest.mark.network
@pytest.mark.session
@pytest.mark.timeout(900)
def test_x_regc_credentials_in_the_variable(
    guarded: Registry, base: Path, make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository({"requirements.txt": "six\n"})
    image = f"{guarded.host}/one:x"
    given = json.dumps({"registry": guarded.host, "username": NAME, "password": PASSWORD})
    done = _push(repository, image, base, tmp_path, CONTAINER_ENGINE_REGISTRY_CREDENTIALS=given)
    assert done.returncode == 0, done.stderr
    found = Client(guarded.host, Credentials(NAME, PASSWORD)).digest(images.parse(image))
    assert found == done.stdout.strip().splitlines()[-1]
    assert not (tmp_path / "home" / ".docker").exists()
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.network
@pytest.mark.session
@pytest.mark.timeout(900)
def test_x_regd_credentials_in_docker_s_configuration(
    guarded: Registry, base: Path, make_repository: MakeRepository, tmp_path: Path
) -> None:
    repository = make_repository({"requirements.txt": "six\n"})
    image = f"{guarded.host}/one:x"
    refused = _push(repository, image, base, tmp_path, DOCKER_CONFIG=str(tmp_path / "none"))
    assert refused.returncode == 1
    assert "does not allow" in refused.stderr
    auth = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {guarded.host: {"auth": auth}}}))
    done = _push(repository, image, base, tmp_path, DOCKER_CONFIG=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert Client(guarded.host, Credentials(NAME, PASSWORD)).digest(images.parse(image))
