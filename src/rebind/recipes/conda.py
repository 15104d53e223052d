"""The plan of a repository with an `environment.yml` (builder spec 1.3 and 1.7). It alone says what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rebind.recipes.apt import parse_apt
from rebind.recipes.configdir import find_config_dir, within
from rebind.recipes.ignore import read_ignore
from rebind.recipes.others import check_legacy
from rebind.recipes.requirements import parse_dependencies
from rebind.recipes.runtime import parse_runtime
from rebind.recipes.scripts import find_script
from rebind.recipes.tree import Tree
from rebind.recipes.versions import SUPPORTED
from rebind.recipes.where import Where, shown
from rebind.values import CondaNeed, Plan, PythonNeed

FILES = ("environment.yml", "environment.yaml")
DEFAULT = "3.10"
_BEATEN = ("requirements.txt", "Pipfile", "Pipfile.lock", "setup.py", "pyproject.toml", "runtime.txt", "install.R")
_DECIDING = ("Dockerfile", "JuliaProject.toml", "Project.toml", "REQUIRE", "default.nix", "DESCRIPTION")
_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,200}|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
_PATCHES = range(31)
_MOST = 2000


def conda_plan(root: Path) -> Plan | None:
    """The plan, None if there is no such file. Raises RecipeError."""
    tree = Tree.at(root)
    check_legacy(tree)
    config_dir = find_config_dir(tree)
    found = [path for name in FILES if tree.is_file(path := within(config_dir, name))]
    if not found:
        return None
    where = Where(found[0])
    content = _read(tree.text(found[0]) or "", where)
    dependencies, pip = _dependencies(content, where)
    requirements, warnings = parse_dependencies(pip, tree, found[0])
    post_build, more = find_script(tree, config_dir, "postBuild")
    start, still_more = find_script(tree, config_dir, "start")
    runtime = tree.text(within(config_dir, "runtime.txt"))
    apt = within(config_dir, "apt.txt")
    return Plan(
        recipe="conda",
        config_dir=config_dir,
        python=_python(dependencies, where),
        requirements=requirements,
        date=None if runtime is None else parse_runtime(runtime, within(config_dir, "runtime.txt")).date,
        apt=parse_apt(tree.text(apt) or "", apt),
        conda=CondaNeed(_channels(content, where), dependencies),
        post_build=post_build,
        start=start,
        ignore=read_ignore(tree, config_dir),
        warnings=(*_warnings(tree, config_dir, found, dependencies), *warnings, *more, *still_more),
    )


def _read(text: str, where: Where) -> dict[str, object]:
    """The mapping of the file. Only plain YAML is read: no tags, no anchors that grow (safe loader)."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise where.error(f"it is no YAML ({str(error).splitlines()[0]}).", "Correct the file.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise where.error("it is not a mapping.", "Write it as `dependencies:` with a list below.")
    return {key: value for key, value in content.items() if isinstance(key, str)}


def _list(content: dict[str, object], key: str, where: Where) -> list[object]:
    value = content.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MOST:
        raise where.error(f"{key} is not a list (of at most {_MOST}).")
    return value


def _channels(content: dict[str, object], where: Where) -> tuple[str, ...]:
    found = [each.strip().rstrip("/") if isinstance(each, str) else "" for each in _list(content, "channels", where)]
    for channel in found:
        if not _CHANNEL.fullmatch(channel) or ".." in channel:
            raise where.error(f"{shown(channel)} is not a channel.", "Use a channel's name or its http(s) address.")
    return tuple(dict.fromkeys(each for each in found if each != "nodefaults")) or ("conda-forge",)


def _dependencies(content: dict[str, object], where: Where) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Match specs, and the entries of the `pip:` lists."""
    specs: list[str] = []
    pip: list[str] = []
    for item in _list(content, "dependencies", where):
        if isinstance(item, str):
            _match_spec(item, where)
            specs.append(item.strip())
        elif isinstance(item, dict) and set(item) == {"pip"}:
            pip += _pip(item["pip"], where)
        else:
            # Not shown: a few lines of YAML with aliases can stand for more text than fits into memory.
            raise where.error("an entry of dependencies is neither a package nor a `pip:` list.")
    return tuple(specs), tuple(pip)


def _pip(items: object, where: Where) -> Iterator[str]:
    for item in items if isinstance(items, list) else [] if items is None else [items]:
        if not isinstance(item, str) or len(item) > 2000:
            raise where.error("an entry of the `pip:` list is not a requirement.")
        yield item.strip()


def _match_spec(text: str, where: Where):  # type: ignore[no-untyped-def]  # a rattler.MatchSpec; imported late
    from rattler import MatchSpec

    channel = text.partition("::")[0] if "::" in text else "conda-forge"
    if not text.isprintable() or not _CHANNEL.fullmatch(channel.strip()) or ".." in channel:
        raise where.error(f"{shown(text)} is not a package with a version.")
    try:
        found = MatchSpec(text)
    except Exception as error:
        raise where.error(f"{shown(text)} is not a package with a version ({error}).") from error
    if found.name is None:
        raise where.error(f"{shown(text)} names no package.")
    return found


def _python(specs: tuple[str, ...], where: Where) -> PythonNeed:
    """The Python to begin with: the default if the file allows it, else the newest that it does."""
    found = [spec for text in specs if (spec := _match_spec(text, where)).name.normalized == "python"]
    conditions = [str(spec.version) for spec in found if spec.version is not None]
    fitting = [minor for minor in SUPPORTED if _allows(conditions, minor)]
    if not fitting:
        raise where.error(f"no supported Python is {', '.join(conditions)}.", f"Use one of {', '.join(SUPPORTED)}.")
    version = DEFAULT if DEFAULT in fitting else fitting[-1]
    return PythonNeed(version, stated_in=str(where) if conditions else "")


def _allows(conditions: list[str], minor: str) -> bool:
    from rattler import Version, VersionSpec

    levels = [Version(f"{minor}.{patch}") for patch in _PATCHES]
    return any(all(VersionSpec(condition).matches(level) for condition in conditions) for level in levels)


def _warnings(tree: Tree, config_dir: str, found: list[str], specs: tuple[str, ...]) -> Iterator[str]:
    if len(found) > 1:
        yield f"{found[1]} is ignored: {found[0]} comes first."
    beaten = [path for name in _BEATEN if (tree.root / (path := within(config_dir, name))).is_file()]
    if beaten:
        yield f"{', '.join(beaten)}: ignored, as on mybinder.org, because {found[0]} says what is installed."
    others = [path for name in _DECIDING if (tree.root / (path := within(config_dir, name))).is_file()]
    if others:
        yield (
            f"{', '.join(others)}: not acted on by this version of rebind, while mybinder.org would go by it; "
            f"installed is what {found[0]} says."
        )
    if any(spec.startswith("r-") for spec in specs):
        yield f"{found[0]} asks for R: its packages are installed, RStudio and Shiny Server are not."
