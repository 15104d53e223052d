from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.errors import RecipeError
from rebind.recipes import plan
from rebind.recipes.apt import parse_apt
from rebind.recipes.others import _OTHERS
from rebind.recipes.scripts import find_script
from rebind.recipes.tree import Tree


@pytest.mark.parametrize("name", [name for other in _OTHERS for name in other.names])
def test_every_other_file_is_named(repository, name):
    found = plan(repository({name: ""}))
    assert any(warning.startswith(f"{name} (") for warning in found.warnings)


@pytest.mark.parametrize("name", ["Dockerfile", "default.nix", "Project.toml", "install.R", "DESCRIPTION"])
def test_the_strong_warning_comes_first(repository, name):
    first = plan(repository({name: ""})).warnings[0]
    assert name in first
    assert "WITHOUT" in first


def test_with_requirements_the_strong_warning_says_what_is_installed(repository):
    files = {"default.nix": "", "install.R": "", "requirements.txt": "a", "setup.py": ""}
    first = plan(repository(files)).warnings[0]
    assert "default.nix and install.R" in first
    assert "requirements.txt and setup.py" in first


def test_files_that_do_not_decide_give_no_strong_warning(repository):
    found = plan(repository({"renv.lock": "", "pixi.lock": "", "package.json": "{}"}))
    assert len(found.warnings) == 2
    assert "pixi.lock" in found.warnings[0]


def test_apt_txt_of_the_config_directory(repository):
    found = plan(repository({"binder/apt.txt": "vim=2:9* g++\n-t bookworm-backports", "apt.txt": "x; y"}))
    assert found.apt == ("-t bookworm-backports", "g++", "vim=2:9*")
    assert found.warnings == ()


def test_a_linked_dockerfile_is_not_followed(repository):
    root = repository({})
    (root / "default.nix").symlink_to("/etc/passwd")
    assert "default.nix" in plan(root).warnings[0]


@pytest.mark.parametrize(
    "token",
    ["vim;", ";", "/x", "Vim", '"x"', "-t", "-oDPkg::Pre-Invoke::=id", "vim-", "a`id`", "$(id)", "a|b", "a&&b", "../x",
     "foo=1;x", "foo=$(id)", "foo==1", "=1", "-y", "--", "-t=-y", "-t;id", "-t a/b", "foo/", "foo/../x", "foo/a;b",
     "foo=1/a", "*", "foo*", "~nfoo", "?true", "task^", "foo_", "\u0430pt", "vim\u200b", "-t\u0430",
     "é", "a\\b", "foo>1", "foo:", "https://x.org/a.deb", "./a.deb"],
)  # fmt: skip
def test_apt_takes_names_only(token):
    with pytest.raises(RecipeError, match=r"^binder/apt\.txt line 2: "):
        parse_apt(f"gfortran\nvim {token}", "binder/apt.txt")


def test_apt_takes_all_names_of_debian():
    text = "# c\n\ngfortran # trailing\n g++ libsodium-dev\nlibstdc++6:amd64 0ad foo=1:1.2~rc1-3+b1*"
    assert parse_apt(text) == (
        "0ad",
        "foo=1:1.2~rc1-3+b1*",
        "g++",
        "gfortran",
        "libsodium-dev",
        "libstdc++6:amd64",
    )
    assert parse_apt("# nothing") == ()


@pytest.mark.parametrize("option", ["-t sid", "-tsid", "-t=sid", "--target-release sid", "--target-release=sid"])
def test_apt_suite_for_all(option):
    assert parse_apt(f"vim {option} ed/bookworm") == ("-t sid", "ed/bookworm", "vim")
    with pytest.raises(RecipeError, match="two suites"):
        parse_apt(f"vim {option}\n-t bookworm")


def test_apt_with_too_many_packages():
    with pytest.raises(RecipeError, match="2000"):
        parse_apt("\n".join(f"package{number}" for number in range(2001)))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_apt_tokens_never_hold_shell_or_options(text):
    try:
        found = parse_apt(text)
    except RecipeError:
        return
    found = tuple(token.removeprefix("-t ") for token in found)
    assert all(token[0].isalnum() and not set(token) & set(";|&$`'\"\\<>() \n") for token in found)
    assert all(token.isascii() and token.isprintable() for token in found)


def test_a_root_that_is_overlooked_is_named(repository):
    root = repository({"binder/postBuild": "", "requirements.txt": "a", "environment.yml": ""})
    assert plan(root).warnings == (
        "binder/ replaces the root as the place of configuration, so requirements.txt, environment.yml is not read.",
    )


def test_package_files_in_the_config_directory_are_named(repository):
    found = plan(repository({"binder/setup.py": "", "binder/requirements.txt": "a"}))
    assert found.requirements.local == ()
    assert found.warnings[0].startswith("binder/setup.py is not read")


def test_windows_line_ends_in_a_script_are_named(repository):
    root = repository({"start": "#!/bin/bash\r\nexec", "postBuild": "#!/bin/bash\necho \r\n"})
    assert "Windows" in find_script(Tree.at(root), "", "start")[1][0]
    assert find_script(Tree.at(root), "", "postBuild") == ("postBuild", ())
