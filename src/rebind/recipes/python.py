"""The plan of a Python repository: which files count, and how they act together (builder spec 1.1-1.6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

from rebind.errors import RecipeError
from rebind.recipes.apt import parse_apt
from rebind.recipes.configdir import find_config_dir, within
from rebind.recipes.ignore import read_ignore
from rebind.recipes.others import check_legacy, find_others
from rebind.recipes.pyproject import Project, read_project
from rebind.recipes.requirements import parse_dependencies, read_requirements
from rebind.recipes.runtime import Runtime, parse_runtime
from rebind.recipes.scripts import find_script
from rebind.recipes.tree import Tree
from rebind.recipes.versions import SEPARATE, allowed, check_version
from rebind.recipes.where import Where, shown
from rebind.values import LocalPackage, Plan, PythonNeed, Requirements

_NEEDS = ("requirements.txt", "pyproject.toml", "setup.py", "environment.yml", "environment.yaml", "Pipfile")


def python_plan(root: Path) -> Plan:
    """See `rebind.recipes.plan`."""
    tree = Tree.at(root)
    check_legacy(tree)
    config_dir = find_config_dir(tree)
    project = Project() if config_dir else read_project(tree)
    python, stated, runtime_warnings = _runtime(tree, config_dir, project)
    requirements, warnings = _requirements(tree, config_dir, project)
    server, server_warnings = _server_requirements(tree, config_dir, python)
    post_build, post_build_warnings = find_script(tree, config_dir, "postBuild")
    start, start_warnings = find_script(tree, config_dir, "start")
    return Plan(
        config_dir=config_dir,
        python=python,
        requirements=requirements,
        server_requirements=server,
        date=stated,
        apt=_apt(tree, config_dir),
        post_build=post_build,
        start=start,
        ignore=read_ignore(tree, config_dir),
        warnings=(
            *find_others(tree, config_dir, _acted_on(tree, config_dir, project)),
            *runtime_warnings,
            *_overlooked(tree, config_dir),
            *project.warnings,
            *warnings,
            *server_warnings,
            *post_build_warnings,
            *start_warnings,
        ),
    )


def _apt(tree: Tree, config_dir: str) -> tuple[str, ...]:
    path = within(config_dir, "apt.txt")
    return parse_apt(tree.text(path) or "", path)


def _runtime(tree: Tree, config_dir: str, project: Project) -> tuple[PythonNeed, date | None, tuple[str, ...]]:
    """The Python that is asked for, the date, and warnings."""
    path = within(config_dir, "runtime.txt")
    text = tree.text(path)
    if text is None:
        return _need(None, project, path), None, ()
    try:
        runtime = parse_runtime(text, path)
        if runtime.name == "python":
            version = check_version(runtime.version, Where(path)) if runtime.version else None
            return _need(version, project, path), runtime.date, ()
    except RecipeError as error:
        # mybinder.org does not read runtime.txt beside these two
        if not any((tree.root / within(config_dir, name)).is_file() for name in ("Dockerfile", "default.nix")):
            raise
        return _need(None, project, path), None, (str(error),)
    return _need(None, project, path), runtime.date, (_language(runtime, path),)


def _language(runtime: Runtime, path: str) -> str:
    if runtime.name in ("r", "julia"):
        start = f"{path} asks for {runtime.name}, which this version of rebind does not build"
    else:
        start = (
            f"{path} asks for {shown(runtime.name)}, which is not a language that is known (python, in small letters)"
        )
    # The date is the author's word on when the repository worked; that holds for Python packages as well.
    return f"{start}; plain Python is used{', with packages as of its date' if runtime.date else ''}."


def _need(version: str | None, project: Project, path: str) -> PythonNeed:
    """Raises RecipeError if the stated version and the package's requires-python contradict each other."""
    requires = project.requires_python
    if not allowed(version, requires):
        where = Where(path if version else "pyproject.toml")
        asked = f"Python {version} is asked for, but " if version else ""
        what = f"{asked}pyproject.toml requires {shown(requires)}, which no supported version satisfies."
        if version and allowed(None, requires):
            what = f"{asked}pyproject.toml requires {shown(requires)}."
        raise where.error(what, "Change one of the two.")
    file = path if version else "pyproject.toml" if requires else ""
    return PythonNeed(version, requires, file)


def _requirements(tree: Tree, config_dir: str, project: Project) -> tuple[Requirements, tuple[str, ...]]:
    """requirements.txt, then the dependencies or the package of the root."""
    listed, warnings = read_requirements(tree, within(config_dir, "requirements.txt"))
    extra, more = parse_dependencies(project.dependencies, tree, "pyproject.toml")
    root = (LocalPackage("."),) if project.package and all(package.path != "." for package in listed.local) else ()
    joined = replace(listed, lines=listed.lines + extra.lines, local=listed.local + extra.local + root)
    return joined, warnings + more


def _server_requirements(tree: Tree, config_dir: str, python: PythonNeed) -> tuple[Requirements, tuple[str, ...]]:
    """requirements3.txt, which counts only where Python is too old for the server (O-17)."""
    path = within(config_dir, "requirements3.txt")
    if set(allowed(python.version, python.requires)) <= SEPARATE:
        return read_requirements(tree, path)
    if not tree.is_file(path):
        return Requirements(), ()
    return Requirements(), (f"{path} is ignored: it counts only with Python 2.7, 3.5 or 3.6 in runtime.txt.",)


def _acted_on(tree: Tree, config_dir: str, project: Project) -> tuple[str, ...]:
    path = within(config_dir, "requirements.txt")
    found = [path] if tree.is_file(path) else []
    if project.package:
        found.append("setup.py" if tree.is_file("setup.py") else "pyproject.toml")
    elif project.dependencies:
        found.append("pyproject.toml")
    return tuple(found)


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
