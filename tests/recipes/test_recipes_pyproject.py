from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.errors import RecipeError
from rebind.recipes import plan
from rebind.recipes.pyproject import Project, parse_pyproject
from rebind.values import LocalPackage

BUILD = '[build-system]\nrequires = ["hatchling"]\n'


def test_a_package():
    text = f'{BUILD}[project]\nname = "a"\nrequires-python = ">=3.9"\ndependencies = ["numpy"]'
    assert parse_pyproject(text) == Project(package=True, requires_python=">=3.9")


def test_only_settings_of_tools():
    assert parse_pyproject("[tool.black]\nline-length = 100") == Project()


def test_poetry_without_project_is_named():
    found = parse_pyproject(f'{BUILD}[tool.poetry]\nname = "a"')
    assert not found.package
    assert "[tool.poetry]" in found.warnings[0]


def test_dynamic_dependencies_are_named():
    assert "not installed" in parse_pyproject('[project]\nname = "a"\ndynamic = ["dependencies"]').warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "[[",
        "a = " + "[" * 4000,
        "a = " + "9" * 5000,
        "a." * 20_000 + "a = 1",
        "#\n" * 150_000,
        "project = 1",
        "[project]\ndependencies = 'numpy'",
        "[project]\ndependencies = [1]",
        "[project]\nrequires-python = 3",
        "[project]\nrequires-python = '^3.9'",
    ],
)
def test_broken_files(text):
    with pytest.raises(RecipeError, match=r"^pyproject\.toml: ") as caught:
        parse_pyproject(text)
    assert len(str(caught.value)) < 400


def test_broken_dependencies(repository):
    for line in ("numpy=1", "../x", "-e .", "a\\u0000b", "./a\\u0000b", "https://x.org/\\u0000"):
        with pytest.raises(RecipeError, match=r"^pyproject\.toml: "):
            plan(repository({"pyproject.toml": f'[project]\ndependencies = ["{line}"]'}))


def test_setup_py_is_never_run(repository, tmp_path):
    root = repository({"setup.py": f"open({str(tmp_path / 'ran')!r}, 'w')", "conftest.py": "1/0"})
    assert plan(root).requirements.local == (LocalPackage("."),)
    assert not (tmp_path / "ran").exists()


def test_setup_py_beside_a_project(repository):
    found = plan(repository({"setup.py": "", "pyproject.toml": '[project]\ndependencies = ["numpy"]'}))
    assert found.requirements.local == (LocalPackage("."),)
    assert found.requirements.lines == ()


def test_an_editable_root_in_the_requirements_is_not_added_again(repository):
    found = plan(repository({"setup.py": "", "requirements.txt": "-e .[test]"}))
    assert found.requirements.local == (LocalPackage(".", True, ("test",)),)


def test_requirements_and_a_project_are_added(repository):
    found = plan(repository({"requirements.txt": "a", "pyproject.toml": '[project]\ndependencies = ["b"]'}))
    assert found.requirements.lines == ("a", "b")


def test_setup_cfg_alone_is_named(repository):
    assert "setup.cfg" in plan(repository({"setup.cfg": "[metadata]\n[options]\n"})).warnings[0]
    assert plan(repository({"setup.cfg": "[flake8]\n"})).warnings == ()


@settings(deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["[project]", "\n", "dependencies=", "[", "]", '"a"', "="])).map("".join)
)
def test_any_text_is_a_project_or_a_recipe_error(text):
    with suppress(RecipeError):
        parse_pyproject(text)
