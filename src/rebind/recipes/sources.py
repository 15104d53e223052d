"""Which file says what Python packages there are, and what it says (builder spec 1.2, 1.3, 1.6, 1.10).

In this order: Pipfile.lock, Pipfile; requirements.txt; pylock.toml, uv.lock, poetry.lock, pdm.lock; pyproject.toml,
setup.py; the `# /// script` block of a single script. A pylock.toml that rebind wrote was made from one of these and
goes before it, as long as it still meets what that file asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from rebind.recipes import pdm, pipfile, poetry, pylock, uv_lock
from rebind.recipes.configdir import within
from rebind.recipes.inline import find_script_block
from rebind.recipes.locked import Locked
from rebind.recipes.pipfile import read_pipfile, read_pipfile_lock
from rebind.recipes.pyproject import Project
from rebind.recipes.requirements import parse_dependencies, read_requirements
from rebind.recipes.tree import Tree
from rebind.values import LocalPackage, Requirements
from rebind.values.pinned import Pinned

_REQUIREMENTS = "requirements.txt"
_LOCKS: dict[str, Callable[[Tree, str], Locked]] = {
    uv_lock.FILE: uv_lock.read_uv_lock,
    poetry.FILE: poetry.read_poetry_lock,
    pdm.FILE: pdm.read_pdm_lock,
}
_NO_SCRIPTS_BESIDE = (
    *("pyproject.toml", "setup.py", "setup.cfg", "postBuild", "environment.yml", "environment.yaml", "install.R"),
    *("Dockerfile", "Project.toml", "JuliaProject.toml", "REQUIRE", "default.nix", "DESCRIPTION"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """What one file says, or several that act together."""

    files: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    pinned: Pinned | None = None
    python: str = ""
    """The version that the file states, '' for none."""
    requires_python: str = ""
    date: date | None = None
    alone: bool = False
    """A Pipfile: neither the version in runtime.txt nor the package of the root counts beside it."""
    warnings: tuple[str, ...] = ()


def find_source(tree: Tree, config_dir: str, project: Project, *, pipfiles: bool) -> Source:
    """What decides the packages. `pipfiles`: whether a Pipfile counts. Raises RecipeError."""
    found = _of_pipfile(tree, config_dir) if pipfiles else None
    found = found or _of_requirements(tree, config_dir, project) or _of_lock(tree, config_dir, project)
    found = found or _of_project(tree, project) or _of_script(tree, config_dir) or Source()
    return _of_rebind(tree, config_dir, found) or found


def _of_pipfile(tree: Tree, config_dir: str) -> Source | None:
    path, lock = (within(config_dir, name) for name in (pipfile.FILE, pipfile.LOCK))
    warnings = tuple(
        f"{name} is not read: the Pipfile says what is installed, as on mybinder.org."
        for name in (within(config_dir, _REQUIREMENTS), *(() if config_dir else ("setup.py", "pyproject.toml")))
        if (tree.root / name).is_file()
    )
    if tree.is_file(lock):
        found = read_pipfile_lock(tree, lock)
        python = found.python or (read_pipfile(tree, path).python if tree.is_file(path) else "")
        more = (*warnings, *found.warnings)
        return Source((lock,), found.open, found.pinned, python, alone=True, warnings=more)
    if tree.is_file(path):
        listed = read_pipfile(tree, path)
        more = (*warnings, *listed.warnings)
        return Source((path,), listed.requirements, python=listed.python, alone=True, warnings=more)
    return None


def _of_requirements(tree: Tree, config_dir: str, project: Project) -> Source | None:
    path = within(config_dir, _REQUIREMENTS)
    if not tree.is_file(path):
        return None
    listed, warnings = read_requirements(tree, path)
    extra, more = parse_dependencies(project.dependencies, tree, "pyproject.toml")
    joined = replace(listed, lines=listed.lines + extra.lines, local=listed.local + extra.local)
    beside = [within(config_dir, name) for name in _LOCKS if (tree.root / within(config_dir, name)).is_file()]
    unread = (f"{name} is not read, because there is a {path}." for name in beside)
    files = (path, *_project_files(tree, project))
    return Source(files, _with_root(joined, project), warnings=(*warnings, *more, *unread))


def _of_lock(tree: Tree, config_dir: str, project: Project) -> Source | None:
    found = [(path, _LOCKS[name]) for name in _LOCKS if tree.is_file(path := within(config_dir, name))]
    standard = pylock.find_pylock(tree, config_dir)
    if standard:
        found.insert(0, (standard, pylock.read_pylock))
    if not found:
        return None
    path, read = found[0]
    unread = tuple(f"{other} is not read, because there is a {path}." for other, _ in found[1:])
    return _locked(path, read(tree, path), project, unread)


def _locked(path: str, locked: Locked, project: Project, warnings: tuple[str, ...]) -> Source:
    return Source(
        (path,),
        _with_root(locked.open, project),
        locked.pinned,
        locked.python,
        locked.pinned.requires_python,
        locked.date,
        warnings=(*_older(path, locked, project), *locked.warnings, *warnings),
    )


def _older(path: str, locked: Locked, project: Project) -> tuple[str, ...]:
    """A warning if the project has come to name packages that its lock does not have."""
    names = {package.name for package in locked.pinned.packages}
    wanted = {found for line in project.dependencies if (found := _name(line)) and found not in names}
    if not wanted:
        return ()
    return (f"{path} is older than pyproject.toml: it lacks {', '.join(sorted(wanted)[:10])}. Make it anew.",)


def _of_project(tree: Tree, project: Project) -> Source | None:
    if not (project.package or project.dependencies):
        return None
    listed, warnings = parse_dependencies(project.dependencies, tree, "pyproject.toml")
    return Source(_project_files(tree, project), _with_root(listed, project), warnings=warnings)


def _of_script(tree: Tree, config_dir: str) -> Source | None:
    if config_dir or any((tree.root / name).exists() for name in (*_NO_SCRIPTS_BESIDE, pipfile.FILE, pipfile.LOCK)):
        return None
    script = find_script_block(tree)
    listed, warnings = parse_dependencies(script.dependencies, tree, script.file)
    files = (script.file,) if script.file else ()
    more = (*script.warnings, *warnings)
    return Source(files, listed, requires_python=script.requires_python, warnings=more)


def _of_rebind(tree: Tree, config_dir: str, other: Source) -> Source | None:
    """The pylock.toml that rebind wrote, if it still meets what the file asks for that it was made from."""
    path = within(config_dir, pylock.FILE)
    if not other.files or other.files == (path,) or not tree.is_file(path):
        return None
    found = pylock.read_pylock(tree, path)
    if found.pinned.joined is None:
        ignored = f"{path} is not read, because there is a {other.files[0]}."
        return replace(other, warnings=(*other.warnings, ignored))
    unmet = _unmet(found.pinned, other)
    if unmet:
        warning = f"{path} does not meet {unmet} of {other.files[0]}: it is not used. `rebind lock` makes it anew."
        return replace(other, warnings=(*other.warnings, warning))
    return replace(
        other,
        files=(path,),
        requirements=Requirements(local=other.requirements.local),
        pinned=found.pinned,
        python=found.python,
        requires_python=found.pinned.requires_python,
        date=found.date,
    )


def _unmet(pinned: Pinned, other: Source) -> str:
    """What the other file asks for and the lock does not hold, '' for nothing."""
    versions = {package.name: package.version for package in pinned.packages}
    fixed: dict[str, set[str]] = {}
    for package in other.pinned.packages if other.pinned else ():
        fixed.setdefault(package.name, set()).add(package.version)
    for name, known in fixed.items():
        if name in versions and versions[name] not in known:
            return f"{name}=={' or '.join(sorted(known))}"
    return next((line for line in other.requirements.lines if not _meets(line, versions)), "")


def _meets(line: str, versions: Mapping[str, str]) -> bool:
    """True also where only a build or an interpreter could tell: a bare address, a marker."""
    try:
        wanted = Requirement(line)
        if wanted.marker is not None:
            return True
        version = versions.get(canonicalize_name(wanted.name))
        return version is not None and (bool(wanted.url) or wanted.specifier.contains(version, prereleases=True))
    except (InvalidRequirement, InvalidVersion):
        return True


def _with_root(requirements: Requirements, project: Project) -> Requirements:
    if not project.package or any(package.path == "." for package in requirements.local):
        return requirements
    return replace(requirements, local=(*requirements.local, LocalPackage(".")))


def _project_files(tree: Tree, project: Project) -> tuple[str, ...]:
    if project.package:
        return ("setup.py" if tree.is_file("setup.py") else "pyproject.toml",)
    return ("pyproject.toml",) if project.dependencies else ()


def _name(line: str) -> str:
    try:
        found = Requirement(line)
    except (InvalidRequirement, RecursionError):
        return ""
    return canonicalize_name(found.name) if found.marker is None else ""
