"""One requirement: a name (PEP 508), a URL, a Git repository, or a path of the repository itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from rebind.errors import RecipeError
from rebind.recipes.tree import Tree
from rebind.recipes.versions import SUPPORTED
from rebind.recipes.where import Where, shown
from rebind.values import REPO_DIR, LocalPackage

_LONGEST = 4096
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*) ?(?:\[(?P<extras>[^\[\]]*)\])? ?@ ?(?P<target>\S.*)")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://|(?P<file>file):", re.IGNORECASE)
_SCP = re.compile(r"(?:git\+)?[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+:.*")
_EXTRAS = re.compile(r"(?P<path>.*[^\[\]]) ?\[(?P<extras>[A-Za-z0-9._, -]*)\]")
_EXTRA = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar")
_GIT = frozenset(("git+https", "git+http", "git+ssh", "git+git"))
_WILD = re.compile(r"(>=|<) ?([0-9][0-9.]*)\.\*")  # `>=2.*`: old pips took it, PEP 440 does not
_CONDA = re.compile(r"^file://(?=/).*/(?:croots?|conda-bld|feedstock_root|tmp/build)/", re.IGNORECASE)
_LINUX = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "extra": ""}


@dataclass(frozen=True, slots=True)
class Reference:
    """What one requirement is: a line for the resolver, or a package of the repository; neither if it never applies."""

    line: str = ""
    local: LocalPackage | None = None
    named: bool = True
    """Whether the name of the package stands in the line."""
    warning: str = ""


def refer(text: str, tree: Tree, where: Where) -> Reference:
    """Tell what kind of requirement `text` is. Raises RecipeError for anything that pip would not take, for what leads
    out of the repository, and for `${VARIABLES}` (they would be filled in from the environment of the builder).
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        raise where.error(f"the requirement {shown(text)} is too long.")
    if "${" in text:
        raise where.error(f"{shown(text)} uses a variable, and a build has none.", "Write out the value.")
    if _SCP.fullmatch(text):
        raise where.error(f"{shown(text)} is not a URL.", "Write it as git+https://HOST/PATH.")
    named = _NAMED.fullmatch(text)
    if named:
        return _target(named["target"], tree, where, named["name"], _extras(named["extras"]))
    if _SCHEME.match(text) or _is_path(text):
        return _target(text, tree, where)
    return _by_name(text, where)


def _by_name(text: str, where: Where) -> Reference:
    try:
        Requirement(text)
        return Reference(text)
    except (InvalidRequirement, RecursionError) as error:
        mended = _WILD.sub(r"\1\2", text)
        if mended != text and _valid(mended):
            return Reference(mended, warning=f"{where}: {shown(text)} is read as {shown(mended)}.")
        reason = str(error).splitlines()[0][:200] if isinstance(error, InvalidRequirement) else "too deeply nested"
        raise where.error(f"{shown(text)} is not a requirement: {reason}.", _advice(text)) from error


def _valid(text: str) -> bool:
    try:
        Requirement(text)
    except (InvalidRequirement, RecursionError):
        return False
    return True


def _advice(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._-]+ ?=[^=].*", text):
        return "Write a fixed version with two signs, like numpy==1.26.4 (one sign is conda's spelling)."
    return "Write it like numpy, numpy==1.26.4 or numpy>=1.20,<2."


def _is_path(text: str) -> bool:
    core = text.partition(";")[0].strip()
    extras = _EXTRAS.fullmatch(core)
    path = extras["path"] if extras else core
    if path.startswith((".", "/", "~/")) or "/" in path:
        return True
    return path.lower().endswith(_ARCHIVES) and not re.search(r"[=<>!]", path)


def _target(text: str, tree: Tree, where: Where, name: str = "", extras: tuple[str, ...] = ()) -> Reference:
    """A URL or a path, with a marker after it."""
    scheme = _SCHEME.match(text)
    if scheme is None and not _is_path(text):
        raise where.error(f"{shown(text)} is neither a URL nor a path.", _advice(text))
    address, marker = _cut_marker(text, scheme is not None, where)
    if scheme is None:
        return _local(address, tree, where, marker, extras)
    if (scheme["scheme"] or "file").lower() == "file":
        if name and _CONDA.search(address):
            return _left_by_conda(name, extras, address, marker, where)
        return _local(_file_path(address, where), tree, where, marker, extras)
    url, warning = check_url(address, where)
    line = (f"{name}{_bracket(extras)} @ {url}" if name else url) + (f" ; {marker}" if marker else "")
    if name and not _valid(line):
        raise where.error(f"{shown(text)} is not a requirement.", _advice(text))
    return Reference(line, named=bool(name), warning=warning)


def _left_by_conda(name: str, extras: tuple[str, ...], address: str, marker: str, where: Where) -> Reference:
    """`pip freeze` under conda writes where a package was built instead of its version. The name is meant; the version
    stands there only if the path is that of a wheel, and else is that of the date.
    """
    try:
        pin = f"=={parse_wheel_filename(unquote(urlsplit(address).path.rpartition('/')[2]))[1]}"
    except (InvalidWheelFilename, ValueError):
        pin = ""
    line = f"{name}{_bracket(extras)}{pin}{f' ; {marker}' if marker else ''}"
    if not _valid(line):
        raise where.error(f"{shown(line)} is not a requirement.", _advice(line))
    if pin:
        return Reference(line)
    why = f"{name} is given by a folder of the machine where conda built it"
    return Reference(line, warning=f"{where}: {why}, so its version is not known; any version of the date may be used.")


def _bracket(extras: tuple[str, ...]) -> str:
    return f"[{','.join(extras)}]" if extras else ""


def _cut_marker(text: str, is_url: bool, where: Where) -> tuple[str, str]:
    """A URL ends at a blank (it may hold a `;`), a path at the `;` (it may hold blanks)."""
    if is_url:
        address, _, rest = text.partition(" ")
        if address.endswith(";"):
            address, rest = address[:-1], f";{rest}"
    else:
        address, sign, rest = text.partition(";")
        rest = sign + rest
    if not rest:
        return address.strip(), ""
    try:
        if not rest.startswith(";"):
            raise InvalidMarker
        return address.strip(), str(Marker(rest[1:].strip()))
    except (InvalidMarker, RecursionError) as error:
        raise where.error(f"what stands after {shown(address)} is not an environment marker.") from error


def check_url(url: str, where: Where) -> tuple[str, str]:
    """The URL to use, and a warning. Raises RecipeError for other schemes and for what git would take as an option."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise where.error(f"{shown(url)} is not a URL.") from error
    scheme = "git+git" if parts.scheme == "git" else parts.scheme
    if scheme not in _GIT | {"http", "https"}:
        raise where.error(f"{shown(url)}: {scheme} addresses cannot be installed from.", "Use https or git+https.")
    ref = parts.path.rpartition("@")[2] if "@" in parts.path else ""
    folder = ",".join(parse_qs(parts.fragment).get("subdirectory", ()))
    risky = any(unquote(part).startswith("-") for part in (parts.netloc, host, ref))  # an option to git or ssh
    if not host or risky or ".." in folder or not url.isprintable():
        raise where.error(f"{shown(url)} is not an address that can be fetched.")
    if scheme == "git+git" and host == "github.com":  # GitHub closed the git protocol in 2022
        mended = parts._replace(scheme="git+https").geturl()
        return mended, f"{where}: github.com no longer answers git:// addresses; {shown(mended)} is used."
    return parts._replace(scheme=scheme).geturl(), ""


def _file_path(url: str, where: Where) -> str:
    """The path of a `file:` URL, fragment kept; `file:./x` and the misspelt `file://./x` are relative."""
    rest = url[len("file:") :]
    path, sign, fragment = rest.partition("#")
    if path.startswith("//"):
        host, slash, after = path[2:].partition("/")
        if host not in ("", "localhost", ".", ".."):
            raise where.error(f"{shown(url)} names another machine.")
        path = (host if host.startswith(".") else "") + slash + after
    return unquote(path) + sign + fragment


def _local(text: str, tree: Tree, where: Where, marker: str, extras: tuple[str, ...]) -> Reference:
    path, _, fragment = text.partition("#")
    facts = parse_qs(fragment)
    found = _EXTRAS.fullmatch(path.strip())
    if found:
        path, extras = found["path"], _extras(found["extras"])
    egg = _EXTRAS.fullmatch("".join(facts.get("egg", ())))
    extras = extras or _extras(egg["extras"] if egg else None)
    inside = inside_path(path.strip(), tree, where)
    inside = inside_path("/".join([inside, *facts.get("subdirectory", ())]), tree, where)
    if not all(_EXTRA.fullmatch(extra) for extra in extras):
        raise where.error(f"the extras of {shown(path)} are not names.")
    applies = _applies(marker) if marker else {True}
    if applies == {False}:
        return Reference()
    some = f"{where}: {shown(path)} is installed whatever its marker {shown(marker)} says."
    warning = some if False in applies else ""
    return Reference(local=LocalPackage(inside, extras=extras), named=False, warning=warning)


def inside_path(path: str, tree: Tree, where: Where, base: str = "") -> str:
    """`path`, seen from the directory `base`, as a real path relative to the root. Raises RecipeError if it is outside
    or absent. A path below the place where the repository lies in a session counts from the root.
    """
    for prefix in (f"{REPO_DIR}/", "~/"):
        if path.startswith(prefix):
            path, base = f"./{path[len(prefix) :]}", ""
    if not path:
        raise where.error("a path is missing.")
    remedy = "Paths count from the repository's root; write the name and version of a package that is not in it."
    if path.startswith(("/", "~")):
        remedy = f"{remedy} `pip list --format=freeze` writes names and versions without paths."
        raise where.error(f"{shown(path)} is outside the repository.", remedy)
    try:
        found = tree.find(f"{base}/{path}" if base else path)
    except RecipeError as error:
        raise where.error(str(error), error.remedy) from error
    if found is None:
        raise where.error(f"{shown(path)} is not in the repository.", remedy)
    if not (tree.is_dir(found) or tree.is_file(found)):
        raise where.error(f"{shown(path)} is neither a file nor a directory.")
    return found


def _extras(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _applies(text: str) -> set[bool]:
    """What a marker says on Linux under the Pythons that can be asked for."""
    marker = Marker(text)
    try:
        return {
            marker.evaluate({**_LINUX, "python_version": minor, "python_full_version": f"{minor}.0"})
            for minor in SUPPORTED
        }
    except (ValueError, LookupError):
        return {True, False}
