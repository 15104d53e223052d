from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.errors import RecipeError
from rebind.recipes import plan
from rebind.recipes.runtime import Runtime, parse_runtime
from rebind.recipes.versions import SUPPORTED, allowed, check_requires, check_version
from rebind.recipes.where import Where

BAD = [
    "",
    " \n",
    "abc",
    "python 3.10",
    "python-",
    "-3.10",
    "--",
    "python-3.10-2024",
    "python-3.10-2024-01",
    "python-3.10-24-01-01",
    "python-3.10-2024-1-1",
    "python-2024-02-30",
    "python-3.10-2024-01-01-x",
    "python-٢٠٢٤-01-01",
]


@pytest.mark.parametrize("text", BAD)
def test_bad_forms_are_named_with_the_good_ones(text):
    with pytest.raises(RecipeError, match=r"^binder/runtime\.txt: ") as caught:
        parse_runtime(text, "binder/runtime.txt")
    assert "python-3.10" in caught.value.remedy


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_runtime_or_a_recipe_error(text):
    with suppress(RecipeError):
        assert parse_runtime(text).name


name = st.text(st.characters(exclude_characters="-", categories=["L", "N", "P"]), min_size=1)


@settings(deadline=None)
@given(name, name, st.dates(min_value=date(1000, 1, 1)))
def test_every_form_reads_back(language, version, stated):
    assert parse_runtime(f"{language}-{version}") == Runtime(language, version)
    assert parse_runtime(f"{language}-{stated}\n") == Runtime(language, None, stated)
    assert parse_runtime(f" {language}-{version}-{stated}") == Runtime(language, version, stated)


@pytest.mark.parametrize("version", [*SUPPORTED, "3", "3.10.2", "3.14.99"])
def test_supported_versions_are_kept(version):
    assert check_version(version, Where("runtime.txt")) == version


@pytest.mark.parametrize(
    "version", ["2.6", "3.4", "3.15", "4", "1", "3.010", "3.10.2.1", "3.10rc1", "v3", "3.", "٣", "3.10\n", "9" * 5000]
)
def test_other_versions_are_refused_with_the_list(version):
    with pytest.raises(RecipeError, match="is not supported") as caught:
        check_version(version, Where("runtime.txt"))
    assert "3.14" in caught.value.remedy
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("version", "requires", "left"),
    [
        (None, "", SUPPORTED),
        ("3.10", "", ("3.10",)),
        ("3.1", "", ()),
        ("3", "<3.7", ("3.5", "3.6")),
        ("3.11", ">=3.11.4", ("3.11",)),
        ("3.11.2", ">=3.11.4", ()),
        ("3.11", "==3.11.5", ("3.11",)),
        (None, "~=3.11.4", ("3.11",)),
        (None, "==3.11.*", ("3.11",)),
        (None, ">=3.15", ()),
        (None, "==3.11.50", ()),
        (None, ">=3.13.0rc1", ("3.13", "3.14")),
        ("2.7", ">=2.7,!=3.0.*", ("2.7",)),
    ],
)
def test_what_requires_python_leaves(version, requires, left):
    assert allowed(version, requires) == left


@pytest.mark.parametrize("requires", ["^3.9", "3.9", "python>=3", ">=3," * 500, "\0"])
def test_a_broken_requires_python_is_refused(requires):
    with pytest.raises(RecipeError):
        check_requires(requires, Where("pyproject.toml"))


def test_another_language_is_named(repository):
    found = plan(repository({"runtime.txt": "julia-1.6"}))
    assert found.python.version is None
    assert found.warnings == (
        "runtime.txt asks for julia, which this version of rebind does not build; plain Python is used.",
    )


def test_a_misspelt_language_is_named(repository):
    assert "not a language that is known" in plan(repository({"runtime.txt": "Python-3.10"})).warnings[0]


def test_the_date_of_another_language_counts(repository):
    found = plan(repository({"runtime.txt": "r-4.3-2024-01-10"}))
    assert found.date == date(2024, 1, 10)
    assert "as of its date" in found.warnings[0]


def test_runtime_that_contradicts_the_package(repository):
    files = {"runtime.txt": "python-3.10", "pyproject.toml": '[project]\nrequires-python = ">=3.11"'}
    with pytest.raises(
        RecipeError, match=r"runtime\.txt: Python 3.10 is asked for, but pyproject\.toml requires '>=3.11'"
    ):
        plan(repository(files))


def test_nothing_satisfies_the_package(repository):
    with pytest.raises(RecipeError, match="no supported version"):
        plan(repository({"pyproject.toml": '[project]\nrequires-python = ">=4"'}))


def test_a_major_version_is_no_contradiction(repository):
    files = {"runtime.txt": "python-3", "pyproject.toml": '[project]\nrequires-python = ">=3.11"'}
    assert plan(repository(files)).python.version == "3"


@pytest.mark.parametrize("beside", ["Dockerfile", "default.nix"])
def test_a_broken_runtime_beside_a_file_that_ignores_it_is_a_warning(repository, beside):
    found = plan(repository({"runtime.txt": "garbage", beside: ""}))
    assert any("'garbage' names no runtime" in warning for warning in found.warnings)
