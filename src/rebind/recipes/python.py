"""The plan of a Python repository: which files count, and how they act together (builder spec 1.1-1.6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from rebind.errors import RecipeError
from rebind.recipes.apt import parse_apt
from rebind.recipes.configdir import find_config_dir, within
from rebind.recipes.ignore import read_ignore
from rebind.recipes.others import check_legacy, find_others
from rebind.recipes.pipfile import FILE, LOCK
from rebind.recipes.pyproject import Project, read_project
from rebind.recipes.python_version import read_python_version
from rebind.recipes.requirements import read_requirements
from rebind.recipes.runtime import Runtime, parse_runtime
from rebind.recipes.scripts import find_script
from rebind.recipes.sources import Source, find_source
from rebind.recipes.tree import Tree
from rebind.recipes.versions import SEPARATE, allowed, check_version
from rebind.recipes.wheel_pythons import narrowed
from rebind.recipes.where import Where, shown
from rebind.values import Plan, PythonNeed, Requirements

_NEEDS = (
    *("requirements.txt", "pyproject.toml", "setup.py", "environment.yml", "environment.yaml", "Pipfile"),
    *("Pipfile.lock", "pylock.toml", "uv.lock", "poetry.lock", "pdm.lock"),
)


def python_plan(root: Path) -> Plan:
    """See `rebind.recipes.plan`."""
    tree = Tree.at(root)
    check_legacy(tree)
    config_dir = find_config_dir(tree)
    project = Project() if config_dir else read_project(tree)
    stated, runtime_warnings = _runtime(tree, config_dir)
    source = find_source(tree, config_dir, project, pipfiles=stated.language == "python")
    python, python_warnings = _python(tree, config_dir, stated, source, project)
    server, server_warnings = _server_requirements(tree, config_dir, python)
    post_build, post_build_warnings = find_script(tree, config_dir, "postBuild")
    start, start_warnings = find_script(tree, config_dir, "start")
    return Plan(
        config_dir=config_dir,
        python=python,
        requirements=source.requirements,
        server_requirements=server,
        pinned=source.pinned,
        date=stated.date or source.date,
        apt=_apt(tree, config_dir),
        post_build=post_build,
        start=start,
        ignore=read_ignore(tree, config_dir),
        warnings=(
            *find_others(tree, config_dir, source.files),
            *runtime_warnings,
            *python_warnings,
            *_pipfiles(tree, config_dir, stated),
            *_overlooked(tree, config_dir),
            *project.warnings,
            *source.warnings,
            *server_warnings,
            *post_build_warnings,
            *start_warnings,
        ),
    )


def _apt(tree: Tree, config_dir: str) -> tuple[str, ...]:
    path = within(config_dir, "apt.txt")
    return parse_apt(tree.text(path) or "", path)


@dataclass(frozen=True, slots=True)
class _Stated:
    """What runtime.txt says."""

    path: str
    language: str = "python"
    version: str = ""
    date: date | None = None


def _runtime(tree: Tree, config_dir: str) -> tuple[_Stated, tuple[str, ...]]:
    path = within(config_dir, "runtime.txt")
    text = tree.text(path)
    if text is None:
        return _Stated(path), ()
    try:
        runtime = parse_runtime(text, path)
        if runtime.name == "python":
            version = check_version(runtime.version, Where(path)) if runtime.version else ""
            return _Stated(path, "python", version, runtime.date), ()
    except RecipeError as error:
        # mybinder.org does not read runtime.txt beside these two
        if not any((tree.root / within(config_dir, name)).is_file() for name in ("Dockerfile", "default.nix")):
            raise
        return _Stated(path), (str(error),)
    return _Stated(path, runtime.name, date=runtime.date), (_language(runtime, path),)


def _python(
    tree: Tree, config_dir: str, stated: _Stated, source: Source, project: Project
) -> tuple[PythonNeed, tuple[str, ...]]:
    """The Python that is asked for: by runtime.txt (a Pipfile in its place), a lock, `.python-version`, conditions."""
    by_rebind = source.pinned is not None and source.pinned.joined is not None
    if source.alone and not by_rebind:
        return _of_pipfile(tree, config_dir, stated, source)
    requires = ",".join(dict.fromkeys(filter(None, (project.requires_python, source.requires_python))))
    by = "pyproject.toml" if project.requires_python or not source.files else source.files[0]
    wanted = "" if source.alone else stated.version
    if source.python and f"{source.python}.".startswith(f"{wanted}." if wanted else ""):
        return _need(source.python, requires, source.files[0], by), ()
    if wanted:
        return _need(wanted, requires, stated.path, by), ()
    version, file, warnings = read_python_version(tree, config_dir, requires)
    if requires and source.pinned and not version and allowed(None, requires):
        requires = narrowed(requires, source.pinned)
    return _need(version or None, requires, file, by), warnings


def _of_pipfile(tree: Tree, config_dir: str, stated: _Stated, source: Source) -> tuple[PythonNeed, tuple[str, ...]]:
    version, file, warnings = source.python, source.files[0], tuple[str, ...]()
    if not version:
        version, file, warnings = read_python_version(tree, config_dir, "")
    if stated.version and stated.version != source.python:
        ignored = (
            f"{stated.path}: its Python {stated.version} has no effect beside {source.files[0]}, as on mybinder.org."
        )
        warnings = (*warnings, ignored)
    return PythonNeed(version or None, "", file if version else ""), warnings


def _language(runtime: Runtime, path: str) -> str:
    if runtime.name in ("r", "julia"):
        start = f"{path} asks for {runtime.name}, which this version of rebind does not build"
    else:
        start = (
            f"{path} asks for {shown(runtime.name)}, which is not a language that is known (python, in small letters)"
        )
    # The date is the author's word on when the repository worked; that holds for Python packages as well.
    return f"{start}; plain Python is used{', with packages as of its date' if runtime.date else ''}."


def _need(version: str | None, requires: str, path: str, by: str) -> PythonNeed:
    """Raises RecipeError if the stated version and the conditions of the file `by` contradict each other."""
    if not allowed(version, requires):
        where = Where(path if version else by)
        asked = f"Python {version} is asked for, but " if version else ""
        what = f"{asked}{by} requires {shown(requires)}, which no supported version satisfies."
        if version and allowed(None, requires):
            what = f"{asked}{by} requires {shown(requires)}."
        raise where.error(what, "Change one of the two.")
    return PythonNeed(version, requires, path if version else by if requires else "")


def _pipfiles(tree: Tree, config_dir: str, stated: _Stated) -> tuple[str, ...]:
    found = [path for name in (FILE, LOCK) if (tree.root / (path := within(config_dir, name))).is_file()]
    if stated.language == "python" or not found:
        return ()
    return (f"{' and '.join(found)} is not read beside {stated.path} of {shown(stated.language)}, as on mybinder.org.",)


def _server_requirements(tree: Tree, config_dir: str, python: PythonNeed) -> tuple[Requirements, tuple[str, ...]]:
    """requirements3.txt, which counts only where Python is too old for the server (O-17)."""
    path = within(config_dir, "requirements3.txt")
    if set(allowed(python.version, python.requires)) <= SEPARATE:
        return read_requirements(tree, path)
    if not tree.is_file(path):
        return Requirements(), ()
    return Requirements(), (f"{path} is ignored: it counts only with Python 2.7, 3.5 or 3.6 in runtime.txt.",)


def _overlooked(tree: Tree, config_dir: str) -> tuple[str, ...]:
    """Files that a person may expect to count and that do not, by the rules of the config directory."""
    if not config_dir:
        return _setup_cfg(tree)
    here = [name for name in _NEEDS if (tree.root / config_dir / name).is_file()]
    root = [name for name in _NEEDS if (tree.root / name).is_file()]
    found = [
        f"{config_dir}/{name} is not read: it counts only in the root, and only without a {config_dir}/ directory."
        for name in ("pyproject.toml", "setup.py")
        if name in here
    ]
    if root and not here:
        found.append(
            f"{config_dir}/ replaces the root as the place of configuration, so {', '.join(root)} is not read."
        )
    return tuple(found)


def _setup_cfg(tree: Tree) -> tuple[str, ...]:
    path = tree.root / "setup.cfg"
    alone = not any((tree.root / name).is_file() for name in ("setup.py", "pyproject.toml"))
    if not (alone and path.is_file() and not path.is_symlink()):
        return ()
    if "[options]" in (tree.text("setup.cfg") or ""):
        return ("setup.cfg alone makes no package: it is not installed, as on mybinder.org; add a setup.py.",)
    return ()
