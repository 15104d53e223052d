"""The registry client against a real registry: once sent, broken off, two at once, with and without a password."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.images.conftest import CHUNK, small_image
from tests.images.registries import NAME, PASSWORD, Registry, Relay

from rebind.errors import BuildError, NetworkError, RefusedError, RepositoryError, SettingsError
from rebind.images import credentials, parse
from rebind.images.blobs import Blobs
from rebind.images.credentials import Credentials
from rebind.images.registry import Registry as Client


def test_what_is_there_is_not_sent_again(registry: Registry, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs, 1000, 5000)
    client = Client(registry.host, None)
    name = parse(f"{registry.host}/group/one:1")
    first = client.push(name, manifest, parts, blobs)
    assert first.blobs == 3
    assert client.push(parse(f"{registry.host}/group/one:2"), manifest, parts, blobs).sent == 0
    assert client.digest(name) == manifest.digest


def test_another_repository_of_the_registry_gives_its_blobs(registry: Registry, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs, 1000, 5000)
    client = Client(registry.host, None)
    client.push(parse(f"{registry.host}/one"), manifest, parts, blobs)
    mounts = {part.digest: "one" for part in parts}
    assert client.push(parse(f"{registry.host}/two"), manifest, parts, blobs, mounts=mounts).sent == 0
    assert client.digest(parse(f"{registry.host}/two")) == manifest.digest


def test_an_image_is_read_back(registry: Registry, blobs: Blobs, tmp_path: Path) -> None:
    manifest, parts = small_image(blobs, 3 << 20)
    client = Client(registry.host, None)
    client.push(parse(f"{registry.host}/one"), manifest, parts, blobs)
    others = Blobs(tmp_path / "others")
    others.start()
    config, layers = client.pull(parse(f"{registry.host}/one"), others)
    assert [layer["digest"] for layer in layers] == [parts[0].digest]
    assert config["rootfs"]["diff_ids"] == [parts[0].diff_id]
    assert others.has(parts[0].digest, parts[0].size)


def test_a_broken_connection_is_taken_up_or_begun_again(registry: Registry, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs, 3 * CHUNK)
    relay = Relay(registry.port, CHUNK + CHUNK // 2, lambda: None)
    try:
        Client(relay.host, None).push(parse(f"{relay.host}/one"), manifest, parts, blobs)
    finally:
        relay.close()
    assert relay.broken == 1
    assert relay.up < 5 * CHUNK
    assert Client(registry.host, None).digest(parse(f"{registry.host}/one")) == manifest.digest


def test_a_registry_that_dies_in_the_middle_gets_the_rest_when_it_is_back(registry: Registry, blobs: Blobs) -> None:
    old, old_parts = small_image(blobs, 1000, mark="old")
    client = Client(registry.host, None)
    name = parse(f"{registry.host}/one")
    client.push(name, old, old_parts, blobs)
    manifest, parts = small_image(blobs, 3 * CHUNK, 2000, mark="new")
    seen = []

    def die() -> None:
        registry.kill()

        def back() -> None:
            time.sleep(0.5)
            registry.start()
            seen.append(client.digest(name))

        threading.Thread(target=back).start()

    relay = Relay(registry.port, CHUNK + CHUNK // 2, die)
    try:
        Client(relay.host, None).push(parse(f"{relay.host}/one"), manifest, parts, blobs)
    finally:
        relay.close()
    assert seen == [old.digest]  # the tag was whole all the time
    assert client.digest(name) == manifest.digest


def test_a_registry_that_stays_away_is_said_so_and_breaks_no_tag(
    registry: Registry, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebind.images.registry.PATIENCE", 1.0)
    old, old_parts = small_image(blobs, 1000, mark="old")
    name = parse(f"{registry.host}/one")
    Client(registry.host, None).push(name, old, old_parts, blobs)
    manifest, parts = small_image(blobs, 3 * CHUNK, mark="new")
    relay = Relay(registry.port, CHUNK, registry.kill)
    try:
        with pytest.raises(NetworkError) as raised:
            Client(relay.host, None).push(parse(f"{relay.host}/one"), manifest, parts, blobs)
    finally:
        relay.close()
    assert raised.value.remedy
    registry.start()
    assert Client(registry.host, None).digest(name) == old.digest
    Client(registry.host, None).push(name, manifest, parts, blobs)
    assert Client(registry.host, None).digest(name) == manifest.digest


def test_two_pushes_of_one_image_at_once(registry: Registry, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs, 2 * CHUNK, 1 << 20, 1000)
    name = parse(f"{registry.host}/one")
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(Client(registry.host, None).push, name, manifest, parts, blobs) for _ in range(4)]
        assert {job.result().digest for job in jobs} == {manifest.digest}
    assert Client(registry.host, None).digest(name) == manifest.digest


def test_a_blob_that_is_damaged_here_is_not_sent_as_what_it_is_not(registry: Registry, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs, 5000)
    path = blobs.file(parts[0].digest)
    path.write_bytes(bytes(parts[0].size))
    with pytest.raises(BuildError, match="damaged"):
        Client(registry.host, None).push(parse(f"{registry.host}/one"), manifest, parts, blobs)
    assert not path.exists()
    assert Client(registry.host, None).digest(parse(f"{registry.host}/one")) is None


def test_a_password_is_needed_and_said_so(guarded: Registry, blobs: Blobs) -> None:
    manifest, parts = small_image(blobs)
    for who in (None, Credentials(NAME, "wrong")):
        with pytest.raises(RefusedError) as raised:
            Client(guarded.host, who).push(parse(f"{guarded.host}/one"), manifest, parts, blobs)
        assert "wrong" not in raised.value.text()
    pushed = Client(guarded.host, Credentials(NAME, PASSWORD)).push(
        parse(f"{guarded.host}/one"), manifest, parts, blobs
    )
    assert pushed.blobs == 2


def test_an_absent_image_is_named(registry: Registry, blobs: Blobs) -> None:
    with pytest.raises(RepositoryError, match="no image"):
        Client(registry.host, None).pull(parse(f"{registry.host}/none"), blobs)


# Credentials


def test_docker_s_file_is_read(tmp_path: Path) -> None:
    auth = base64.b64encode(b"ada:a:b").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"host.example:5000": {"auth": auth}}}))
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert credentials.find("host.example:5000", environ) == Credentials("ada", "a:b")
    assert credentials.find("host.example", environ) is None


def test_docker_s_helpers_are_asked(tmp_path: Path) -> None:
    helper = tmp_path / "docker-credential-own"
    helper.write_text('#!/bin/sh\nread name\necho "{\\"Username\\": \\"$name\\", \\"Secret\\": \\"x\\"}"\n')
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {"host.example": "own"}}))
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    found = credentials.find("host.example", environ)
    assert found is not None
    assert found.password == "x"


@pytest.mark.parametrize("helper", ["../../bin/sh", "a b", "-x", "a;b"])
def test_a_helper_is_a_plain_name(tmp_path: Path, helper: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": helper}))
    with pytest.raises(SettingsError):
        credentials.find("host.example", {"DOCKER_CONFIG": str(tmp_path), "PATH": "/usr/bin:/bin"})


def test_u_regt_credentials_without_the_three_keys_are_refused() -> None:
    for text in ("{}", "[]", "x", '{"registry": "a", "username": "b"}', '{"registry":"a","username":"b","password":1}'):
        with pytest.raises(SettingsError) as raised:
            credentials.find("a", {"CONTAINER_ENGINE_REGISTRY_CREDENTIALS": text})
        assert '"b"' not in raised.value.text()


def test_credentials_of_one_registry_are_not_another_s() -> None:
    text = json.dumps({"registry": "https://one.example", "username": "ada", "password": "x"})
    environ = {"CONTAINER_ENGINE_REGISTRY_CREDENTIALS": text, "DOCKER_CONFIG": "/nonexistent"}
    assert credentials.find("one.example", environ) == Credentials("ada", "x")
    assert credentials.find("two.example", environ) is None
    assert credentials.find("one.example.evil.test", environ) is None


def test_a_password_is_not_in_what_is_printed() -> None:
    assert "s3cret" not in repr(Credentials("ada", "s3cret"))


def test_skopeo_accepts_what_was_pushed(registry: Registry, blobs: Blobs, tmp_path: Path) -> None:
    import shutil

    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    manifest, parts = small_image(blobs, 5000)
    Client(registry.host, None).push(parse(f"{registry.host}/one:1"), manifest, parts, blobs)
    source = f"docker://{registry.host}/one:1"
    flags = ["--src-tls-verify=false", "--insecure-policy"]
    subprocess.run(["skopeo", *flags[1:], "copy", flags[0], source, f"oci:{tmp_path}/copy:x"], check=True)
    copied = json.loads((tmp_path / "copy" / "index.json").read_text())
    assert copied["manifests"][0]["digest"] == manifest.digest
