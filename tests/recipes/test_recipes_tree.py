"""The files of a repository are a stranger's: links, pipes, devices, huge and binary files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.errors import RecipeError
from rebind.recipes import plan
from rebind.recipes.tree import LIMIT, Tree, decode


@pytest.mark.parametrize("name", ["requirements.txt", "runtime.txt", "pyproject.toml", "setup.py", "start", "apt.txt"])
@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "/nowhere/at/all"])
def test_a_link_out_of_the_repository_is_refused(repository, name, target):
    root = repository({})
    (root.parent / "secret").write_text("numpy")
    (root / name).symlink_to(target)
    with pytest.raises(RecipeError, match="leads out of the repository") as caught:
        plan(root)
    assert "root:" not in caught.value.text()


def test_a_linked_config_directory_outside_is_refused(repository):
    root = repository({})
    (root / "binder").symlink_to("/etc")
    with pytest.raises(RecipeError, match="leads out"):
        plan(root)


def test_a_file_below_a_linked_directory_is_refused(repository):
    root = repository({"requirements.txt": "-r etc/passwd"})
    (root / "etc").symlink_to("/etc")
    with pytest.raises(RecipeError, match="leads out"):
        plan(root)


def test_a_link_inside_the_repository_is_followed(repository):
    root = repository({"deps/list.txt": "numpy"})
    (root / "requirements.txt").symlink_to("deps/list.txt")
    assert plan(root).requirements.lines == ("numpy",)


def test_the_repository_itself_may_be_reached_over_a_link(repository, tmp_path):
    root = repository({"requirements.txt": "-r a.txt", "a.txt": "numpy"})
    (tmp_path / "link").symlink_to(root)
    assert plan(tmp_path / "link").requirements.lines == ("numpy",)


def test_a_loop_of_links_is_refused(repository):
    root = repository({})
    (root / "requirements.txt").symlink_to("other.txt")
    (root / "other.txt").symlink_to("requirements.txt")
    with pytest.raises(RecipeError, match="loop"):
        plan(root)


@pytest.mark.parametrize("name", ["requirements.txt", "runtime.txt", "postBuild", ".dockerignore"])
def test_a_pipe_is_not_waited_for(repository, name):
    root = repository({})
    os.mkfifo(root / name)
    with pytest.raises(RecipeError, match="not a plain file"):
        plan(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_not_opened(repository):
    root = repository({})
    try:
        os.mknod(root / "requirements.txt", 0o20666, os.makedev(1, 5))  # /dev/zero: endless
    except OSError:
        pytest.skip("this machine does not let root make a device")
    with pytest.raises(RecipeError, match="not a plain file"):
        plan(root)


@pytest.mark.parametrize("name", ["requirements.txt", "runtime.txt", "setup.py", "start", "postBuild", "apt.txt"])
def test_a_directory_with_the_name_of_a_file_is_an_error(repository, name):
    with pytest.raises(RecipeError, match="not a plain file"):
        plan(repository({f"{name}/": ""}))


def test_a_directory_called_dockerfile_is_not_configuration(repository):
    assert plan(repository({"Dockerfile/": "", "default.nix/": ""})).warnings == ()


def test_a_huge_file_is_refused(repository):
    with pytest.raises(RecipeError, match="larger than 4 MiB"):
        plan(repository({"requirements.txt": b"#" * (LIMIT + 1)}))


def test_nested_files_are_limited_together(repository):
    part = b"#" * (LIMIT // 2)
    files = {f"{n}.txt": part for n in range(3)} | {"requirements.txt": "-r 0.txt\n-r 1.txt\n-r 2.txt"}
    with pytest.raises(RecipeError, match="larger than 4 MiB"):
        plan(repository(files))


@pytest.mark.parametrize(
    "data", [b"numpy\0", b"\x7fELF\x02\x01\x01\0\0\0", b"\x89PNG\r\n\x1a\n\0", b"a\x07b", b"\xff\xfea"]
)
def test_what_is_not_text_is_refused(repository, data):
    with pytest.raises(RecipeError, match="not a text file"):
        plan(repository({"requirements.txt": data}))


def test_scripts_may_be_binary(repository):
    assert plan(repository({"start": b"\x7fELF\0\0"})).start == "start"


def test_a_missing_root_is_an_error(tmp_path):
    with pytest.raises(RecipeError):
        plan(tmp_path / "absent")
    with pytest.raises(RecipeError):
        plan(Path("a\0b"))


def test_a_file_as_root_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="not a directory"):
        plan(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_an_error(repository):
    root = repository({"requirements.txt": "numpy"})
    (root / "requirements.txt").chmod(0)
    with pytest.raises(RecipeError, match="cannot be read"):
        plan(root)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_decoding_gives_text_or_a_recipe_error(data):
    with suppress(RecipeError):
        assert "\0" not in decode(data, "file")


@settings(deadline=None)
@given(st.text(max_size=50))
def test_finding_any_name_stays_inside(name):
    tree = Tree(Path("/usr/share"))
    try:
        found = tree.find(name)
    except RecipeError:
        return
    assert found is None or not found.startswith(("..", "/"))
