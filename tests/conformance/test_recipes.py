"""Rows of the builder specification that the recipes alone can show; the row's id stands in each test's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import pytest

from rebind.builds.ignore import IgnoreRules
from rebind.errors import RecipeError
from rebind.recipes import plan
from rebind.recipes.requirements import read_requirements
from rebind.recipes.runtime import Runtime, parse_runtime
from rebind.recipes.tree import Tree, decode
from rebind.values import LocalPackage, Plan, PythonNeed, Requirements

Planned = Callable[[Mapping[str, str]], Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """The plan of a repository of these files; a name that ends in `/` is an empty directory."""

    def make(files: Mapping[str, str]) -> Plan:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_text(content)
        return plan(tmp_path)

    return make


# Rules of sections 1.1 to 1.6


@pytest.mark.parametrize("config_dir", ["", "binder", ".binder"])
def test_u_bdir_one_config_dir(planned, config_dir):
    path = f"{config_dir}/requirements.txt" if config_dir else "requirements.txt"
    found = planned({path: "numpy"})
    assert found.config_dir == config_dir
    assert found.requirements.lines == ("numpy",)


@pytest.mark.parametrize("files", [{"binder/": "", ".binder/": ""}, {"binder/": "", ".binder/": "", "Dockerfile": ""}])
def test_u_bdir_both_config_dirs_are_an_error(planned, files):
    with pytest.raises(RecipeError, match="both"):
        planned(files)


@pytest.mark.parametrize(
    ("text", "name", "version", "stated"),
    [
        ("abc-001", "abc", "001", None),
        ("abc-001-2019-06-22", "abc", "001", date(2019, 6, 22)),
        ("abc-2019-06-22", "abc", None, date(2019, 6, 22)),
        ("a_b/c-0.0.1-2019-06-22", "a_b/c", "0.0.1", date(2019, 6, 22)),
        ("  abc-001\n", "abc", "001", None),
    ],
)
def test_u_rt_forms(text, name, version, stated):
    assert parse_runtime(text) == Runtime(name, version, stated)


@pytest.mark.parametrize("text", ["", "abc", "abc-001-25-06-22", "python 3.10", "garbage"])
def test_u_rt_bad_forms(planned, text):
    with pytest.raises(RecipeError, match=r"^runtime\.txt"):
        planned({"runtime.txt": text})


def test_u_rt_absent(planned):
    assert planned({}).python == PythonNeed()


@pytest.mark.parametrize("version", ["2.6", "3.0", "4.10", "3.99", "4", "3.15"])
def test_u_pyv_unsupported(planned, version):
    with pytest.raises(RecipeError, match=r"^runtime\.txt: .*not supported") as caught:
        planned({"runtime.txt": f"python-{version}"})
    assert "2.7, 3.5, 3.6" in caught.value.remedy


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_u_util3_encodings(tmp_path, encoding):
    (tmp_path / "requirements.txt").write_bytes("numpy\npandas # x\n".encode(encoding))
    assert plan(tmp_path).requirements.lines == ("numpy", "pandas")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_u_util3_encodings_beyond_ascii(encoding):
    assert decode("numpy # für é".encode(encoding), "requirements.txt") == "numpy # für é"


@pytest.mark.parametrize("line", ["-e .", "file://./pkg", "./pkg", "-e ./pkg", "pkg/", "pkg/x.whl", "x.whl"])
def test_u_util3_local_requirements(tmp_path, line):
    (tmp_path / "pkg").mkdir()
    for name in ("x.whl", "pkg/x.whl"):
        (tmp_path / name).touch()
    (tmp_path / "requirements.txt").write_text(line)
    assert plan(tmp_path).requirements.local


@pytest.mark.parametrize(
    "line", ["numpy", "-e git+https://x.org/a", "git://x.org/a", "--pre", "a @ https://x.org/b.whl"]
)
def test_u_util3_requirements_that_are_not_local(planned, line):
    assert not planned({"requirements.txt": line}).requirements.local


def test_u_leg_legacy_base_image(planned):
    with pytest.raises(RecipeError, match="no longer supported"):
        planned({"Dockerfile": "# old\nFROM andrewosh/binder-base:latest\n", "binder/": ""})


@pytest.mark.parametrize("files", [{}, {"Dockerfile": "FROM python:3.10\n# FROM andrewosh/binder-base"}])
def test_u_leg_other_images(planned, files):
    planned(files)


# Sample repositories of section 4.2


def test_v_def(planned):
    assert planned({"README.md": ""}) == Plan()


def test_v_np(planned):
    assert planned({"requirements.txt": "numpy\n"}) == Plan(requirements=Requirements(("numpy",)))


def test_v_py2(planned):
    found = planned({"runtime.txt": "python-2.7", "requirements.txt": "numpy"})
    assert found.python == PythonNeed("2.7", stated_in="runtime.txt")
    assert found.requirements.lines == ("numpy",)


def test_v_py2_major_only(planned):
    assert planned({"runtime.txt": "python-2"}).python.version == "2.7"


def test_v_py2k(planned):
    found = planned(
        {"runtime.txt": "python-2.7", "requirements.txt": "numpy", "requirements3.txt": "nbgitpuller==0.6.1"}
    )
    assert found.requirements.lines == ("numpy",)
    assert found.server_requirements.lines == ("nbgitpuller==0.6.1",)
    assert found.warnings == ()


def test_v_py3(planned):
    assert planned({"runtime.txt": "python-3"}).python.version == "3"


def test_v_35(planned):
    assert planned({"runtime.txt": "python-3.5"}).python.version == "3.5"


def test_v_pb(planned):
    found = planned({"requirements.txt": "jupyter-keepalive", "postBuild": "#!/bin/bash\nexit 1"})
    assert found.post_build == "postBuild"


def test_v_start(planned):
    assert planned({"start": '#!/bin/bash\nexport A=b\nexec "$@"'}).start == "start"
    assert planned({"binder/start": ""}).start == "binder/start"


def test_v_apt(planned):
    found = planned({"apt.txt": "# comment\n\ngfortran\nunp\n\nbyacc\n"})
    assert found.apt == ("byacc", "gfortran", "unp")
    assert found.warnings == ()


# Corner cases of section 4.5


def test_o_01_empty_config_dir(planned):
    found = planned({"binder/": "", "requirements.txt": "numpy", "setup.py": ""})
    assert found.requirements == Requirements()


def test_o_02_file_named_binder(planned):
    assert planned({"binder": "", "requirements.txt": "numpy"}).requirements.lines == ("numpy",)


@pytest.mark.parametrize("line", ["vim; touch /x", "vim;touch", "$(touch)", "-o Dpkg::Pre-Invoke::=touch"])
def test_o_03_apt_with_a_command(planned, line):
    with pytest.raises(RecipeError, match=r"^apt\.txt line 1"):
        planned({"apt.txt": line})


def test_o_04_apt_versions_and_two_names(planned):
    assert planned({"apt.txt": "foo=1.2*\nvim g++"}).apt == ("foo=1.2*", "g++", "vim")


def test_o_05_apt_capitals(planned):
    with pytest.raises(RecipeError, match="'Vim'"):
        planned({"apt.txt": "Vim"})


def test_o_06_patch_version(planned):
    assert planned({"runtime.txt": "python-3.10.2"}).python.version == "3.10.2"


def test_o_07_date(planned):
    found = planned({"runtime.txt": "python-3.10-2024-01-01"})
    assert (found.python.version, found.date) == ("3.10", date(2024, 1, 1))
    assert planned({"runtime.txt": "python-2024-01-01"}).date == date(2024, 1, 1)


@pytest.mark.parametrize("files", [{"install.R": ""}, {"runtime.txt": "r-4.4"}])
def test_o_08_r_is_named(planned, files):
    found = planned(files)
    assert next(iter(files)) in found.warnings[0]


def test_o_09_broken_runtime_beside_environment_yml(planned):
    with pytest.raises(RecipeError, match="'garbage'"):
        planned({"runtime.txt": "garbage", "environment.yml": ""})


def test_o_12_requires_a_patch_level(planned):
    found = planned({"pyproject.toml": '[build-system]\n[project]\nrequires-python = ">=3.11.4"'})
    assert found.python == PythonNeed(None, ">=3.11.4", "pyproject.toml")


def test_o_13_requires_one_patch_level(planned):
    assert planned({"pyproject.toml": '[project]\nrequires-python = "==3.11.5"'}).python.requires == "==3.11.5"


def test_o_14_project_without_build_system(planned):
    found = planned({"pyproject.toml": '[project]\nname = "a"\ndependencies = ["numpy", "pandas>=2"]'})
    assert found.requirements == Requirements(("numpy", "pandas>=2"))


def test_o_14_project_with_build_system_is_a_package(planned):
    found = planned({"pyproject.toml": '[build-system]\n[project]\nname = "a"\ndependencies = ["numpy"]'})
    assert found.requirements == Requirements(local=(LocalPackage("."),))


def test_o_15_nested_requirements(planned):
    assert planned({"requirements.txt": "-r other.txt", "other.txt": "there"}).requirements.lines == ("there",)


def test_o_16_paths(planned):
    found = planned({"requirements.txt": "./pkg\nx.whl", "pkg/setup.py": "", "x.whl": ""})
    assert found.requirements.local == (LocalPackage("pkg"), LocalPackage("x.whl"))


def test_o_17_requirements3_with_one_environment(planned):
    found = planned({"runtime.txt": "python-3.7", "requirements3.txt": "there = broken"})
    assert found.server_requirements == Requirements()
    assert "requirements3.txt is ignored" in found.warnings[0]


def test_o_19_postbuild_without_first_line_and_mode(planned, tmp_path):
    assert planned({"postBuild": "echo"}).post_build == "postBuild"
    assert not (tmp_path / "postBuild").stat().st_mode & 0o111  # the plan changes nothing


def test_o_27_root_ignore_file_beside_a_config_dir(planned):
    found = planned({"binder/.containerignore": "a", ".dockerignore": "b"})
    assert found.ignore == ("a",)


def test_o_27_both_ignore_files_and_configuration_that_they_name(planned):
    found = planned({".dockerignore": "# c\n*\n\n", ".containerignore": "!keep\n", "requirements.txt": "numpy"})
    assert found.ignore == ("*", "!keep")
    assert found.requirements.lines == ("numpy",)
    assert IgnoreRules(found.ignore).excludes("requirements.txt")


def test_o_29_description_beside_python(planned):
    found = planned({"DESCRIPTION": "Package: a", "runtime.txt": "python-3.10"})
    assert found.python.version == "3.10"
    assert "DESCRIPTION" in found.warnings[0]


def test_o_30_git_is_removed_by_an_ignore_file_only(planned):
    assert not IgnoreRules(planned({}).ignore).excludes(".git/config")
    assert IgnoreRules(planned({".dockerignore": ".git"}).ignore).excludes(".git/config")


def test_o_32_environment_yml_wins_elsewhere(planned):
    found = planned({"environment.yml": "", "setup.py": "", "requirements.txt": "there"})
    assert "requirements.txt, setup.py: ignored" in "\n".join(found.warnings)
    assert found.conda is not None
    assert found.requirements.lines == ()
    assert found.requirements.local == ()


# Public examples of section 4.6


def test_e_python2_with_3(planned):
    found = planned(
        {"runtime.txt": "python-2.7", "requirements.txt": "numpy\nmatplotlib", "requirements3.txt": "numpy"}
    )
    assert found.server_requirements.lines == ("numpy",)


def test_e_getting_data_a_zip_address(planned):
    address = "https://github.com/mwaskom/seaborn-data/archive/master.zip"
    assert planned({"requirements.txt": address}).requirements.lines == (address,)


def test_subdir_takes_the_part_of_the_root(tmp_path):
    (tmp_path / "requirements.txt").write_text("outer")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "requirements.txt").write_text("-r ../requirements.txt")
    with pytest.raises(RecipeError, match="leads out"):
        plan(tmp_path / "sub")
    assert read_requirements(Tree.at(tmp_path), "sub/requirements.txt")[0].lines == ("outer",)
