"""Lock files that real tools wrote (uv 0.13, pipenv 2026.10, poetry 2.5 and 1.1, pdm 2.19, pip 26.3), in `locks/`.

The project in all of them: click, six, iniconfig for development, markupsafe in one version below Python 3.11 and
another from there on, and toolz and `there` as optional parts.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rebind.errors import LockError, RecipeError
from rebind.locks.pinned import applying
from rebind.recipes import plan
from rebind.values import Interpreter, LocalPackage, Plan, PythonNeed

LOCKS = Path(__file__).parent / "locks"


def python(version: str) -> Interpreter:
    return Interpreter(version, Path("/usr"), Path("/usr/bin/python3"))


def planned(folder: str, root: Path, **files: str) -> Plan:
    shutil.copytree(LOCKS / folder, root, dirs_exist_ok=True)
    for name, text in files.items():
        (root / name.replace("_txt", ".txt")).write_text(text)
    return plan(root)


def versions(found: Plan, version: str) -> dict[str, str]:
    assert found.pinned is not None
    return {package.name: package.version for package in applying(found.pinned, python(version))}


def test_uv_lock_is_walked_from_the_project(tmp_path: Path) -> None:
    found = planned("uv", tmp_path)
    assert found.pinned is not None
    assert found.pinned.source == "uv.lock"
    assert found.requirements.lines == ()
    assert found.requirements.local == ()
    assert found.warnings == ()
    assert set(versions(found, "3.11.7")) == {"click", "iniconfig", "markupsafe", "six"}
    assert versions(found, "3.11.7")["markupsafe"] == "3.0.2"
    assert versions(found, "3.10.13")["markupsafe"] == "2.1.5"
    assert versions(found, "3.9.18")["click"] < versions(found, "3.10.13")["click"]


def test_uv_lock_takes_the_groups_that_the_project_chooses(tmp_path: Path) -> None:
    shutil.copytree(LOCKS / "uv", tmp_path, dirs_exist_ok=True)
    project = tmp_path / "pyproject.toml"
    text = project.read_text()
    project.write_text(f'{text}\n[tool.uv]\ndefault-groups = ["docs"]\n')
    assert "there" in versions(plan(tmp_path), "3.11.7")
    assert "iniconfig" not in versions(plan(tmp_path), "3.11.7")
    project.write_text(f'{text}\n[tool.uv]\ndefault-groups = "all"\n')
    assert {"there", "iniconfig"} < set(versions(plan(tmp_path), "3.11.7"))


def test_uv_lock_older_than_its_project_says_so(tmp_path: Path) -> None:
    shutil.copytree(LOCKS / "uv", tmp_path, dirs_exist_ok=True)
    project = tmp_path / "pyproject.toml"
    project.write_text(project.read_text().replace('    "six",', '    "six",\n    "numpy",'))
    assert any("lacks numpy" in warning for warning in plan(tmp_path).warnings)


def test_uv_workspace_installs_the_members_that_its_root_needs(tmp_path: Path) -> None:
    found = planned("uv-workspace", tmp_path)
    assert set(versions(found, "3.11.7")) == {"six"}
    assert found.requirements.local == (LocalPackage("packages/a", True), LocalPackage("packages/b", True))
    assert found.warnings == ()


def test_files_of_a_lock_keep_their_addresses_and_hashes(tmp_path: Path) -> None:
    found = planned("uv", tmp_path)
    assert found.pinned is not None
    six = next(package for package in found.pinned.packages if package.name == "six")
    wheel = next(file for file in six.files if file.filename.endswith(".whl"))
    assert wheel.url.startswith("https://files.pythonhosted.org/packages/")
    assert wheel.url.endswith("/six-1.17.0-py2.py3-none-any.whl")
    assert wheel.sha256 == "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
    assert wheel.uploaded is not None


def test_pipfile_lock_wins_over_the_pipfile(tmp_path: Path) -> None:
    found = planned("pipenv", tmp_path)
    assert found.python == PythonNeed("3.11", "", "Pipfile.lock")
    assert set(versions(found, "3.11.7")) == {"click", "iniconfig", "markupsafe", "six"}
    assert found.requirements.lines == ()
    assert found.pinned is not None
    assert all(package.hashes and not package.files for package in found.pinned.packages)


def test_poetry_lock_has_markers_since_format_2_1(tmp_path: Path) -> None:
    found = planned("poetry", tmp_path)
    assert set(versions(found, "3.10.13")) == {"click", "iniconfig", "markupsafe"}
    assert versions(found, "3.10.13")["markupsafe"] == "2.1.5"
    assert versions(found, "3.12.1")["markupsafe"] == "3.0.2"
    with pytest.raises(LockError, match=r"poetry\.lock is for Python >=3\.9, not for 3\.8"):
        versions(found, "3.8.18")


def test_poetry_lock_of_before_is_walked_from_the_project(tmp_path: Path) -> None:
    found = planned("poetry-1.1", tmp_path)
    assert versions(found, "3.10.13") == {
        "click": "8.1.8",
        "iniconfig": "2.1.0",
        "markupsafe": "2.1.5",
        "six": "1.17.0",
    }
    assert versions(found, "3.12.1")["markupsafe"] == "3.0.2"
    assert found.pinned is not None
    assert found.pinned.requires_python == ">=3.8,<4"


def test_poetry_lock_of_before_without_its_project(tmp_path: Path) -> None:
    shutil.copytree(LOCKS / "poetry-1.1", tmp_path, dirs_exist_ok=True)
    (tmp_path / "pyproject.toml").unlink()
    text = (tmp_path / "poetry.lock").read_text()
    # only a project says which of two versions is meant, so one of them goes
    start = text.index('[[package]]\nname = "markupsafe"\nversion = "2.1.5"')
    (tmp_path / "poetry.lock").write_text(text[:start] + text[text.index("[[package]]", start + 1) :])
    assert {"click", "iniconfig", "six"} < set(versions(plan(tmp_path), "3.12.1"))
    assert "colorama" not in versions(plan(tmp_path), "3.12.1")


def test_pdm_lock_takes_the_groups_for_development(tmp_path: Path) -> None:
    found = planned("pdm", tmp_path)
    expected = {"click": "8.1.8", "iniconfig": "2.1.0", "markupsafe": "2.1.5", "six": "1.17.0"}
    assert versions(found, "3.11.7") == expected
    assert found.pinned is not None
    assert found.pinned.requires_python == ">=3.9"


def test_pylock_of_uv(tmp_path: Path) -> None:
    found = planned("standard", tmp_path)
    assert found.pinned is not None
    assert found.pinned.source == "pylock.toml"
    assert found.pinned.joined is None
    assert versions(found, "3.12.1")["markupsafe"] == "3.0.2"
    assert versions(found, "3.10.13")["markupsafe"] == "2.1.5"
    assert "colorama" not in versions(found, "3.9.18")


def test_pylock_of_pip_with_a_name(tmp_path: Path) -> None:
    shutil.copy(LOCKS / "standard" / "pylock.pip.toml", tmp_path)
    found = plan(tmp_path)
    assert found.pinned is not None
    assert found.pinned.source == "pylock.pip.toml"
    assert versions(found, "3.11.7") == {"markupsafe": "2.1.5", "six": "1.17.0"}
    (tmp_path / "pylock.docs.toml").write_text("")
    with pytest.raises(RecipeError, match=r"several lock files.*pylock\.docs\.toml"):
        plan(tmp_path)


@pytest.mark.parametrize("folder", ["uv", "poetry", "standard", "poetry-1.1", "pdm"])
def test_requirements_txt_goes_before_a_lock(tmp_path: Path, folder: str) -> None:
    found = planned(folder, tmp_path, requirements_txt="there\n")
    assert found.pinned is None
    assert "there" in found.requirements.lines
    assert any("is not read, because there is a requirements.txt" in warning for warning in found.warnings)


def test_a_pipfile_goes_before_all(tmp_path: Path) -> None:
    shutil.copytree(LOCKS / "uv", tmp_path, dirs_exist_ok=True)
    found = planned("pipenv", tmp_path, requirements_txt="there\n")
    assert found.pinned is not None
    assert found.pinned.source == "Pipfile.lock"
    assert any("requirements.txt is not read" in warning for warning in found.warnings)


def test_one_lock_counts_in_a_fixed_order(tmp_path: Path) -> None:
    for folder in ("uv", "standard", "poetry"):
        shutil.copytree(LOCKS / folder, tmp_path, dirs_exist_ok=True)
    found = plan(tmp_path)
    assert found.pinned is not None
    assert found.pinned.source == "pylock.toml"
    assert sum("is not read, because there is a pylock.toml" in warning for warning in found.warnings) == 2


def test_locks_of_the_config_directory(tmp_path: Path) -> None:
    shutil.copytree(LOCKS / "uv", tmp_path / "binder")
    (tmp_path / "requirements.txt").write_text("there")
    found = plan(tmp_path)
    assert found.pinned is not None
    assert found.pinned.source == "binder/uv.lock"
    assert versions(found, "3.11.7")["six"] == "1.17.0"


def test_a_python_without_wheels_for_the_lock_is_not_chosen(tmp_path: Path) -> None:
    found = planned("uv", tmp_path)
    # MarkupSafe 3.0.2 has wheels for 3.9 to 3.13
    assert found.python.version is None
    assert found.python.requires == ">=3.9,!=3.14.*"
    assert planned("uv", tmp_path, runtime_txt="python-3.14").python.version == "3.14"


def test_a_python_that_the_lock_excludes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"runtime\.txt: Python 3\.8 is asked for, but pyproject\.toml requires"):
        planned("uv", tmp_path, runtime_txt="python-3.8")
    (tmp_path / "pyproject.toml").unlink()
    with pytest.raises(RecipeError, match=r"runtime\.txt: Python 3\.8 is asked for, but uv\.lock requires '>=3\.9'"):
        plan(tmp_path)
