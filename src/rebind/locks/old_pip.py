"""Asks the pip of the time, for Pythons that uv no longer knows (2.7, 3.5); always inside the sandbox.

pip 20.3.4 is the last that runs on both. It has no way to say what it would install, so it downloads everything, and
the names of the files are looked up in the dated index: what strangers' build code leaves is never more than a name.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from rebind.errors import LockError, NetworkError
from rebind.locks.index_client import IndexClient
from rebind.locks.needs import BUILD_TOOLS, read_requirement
from rebind.locks.pages import UNTIMED, File, Page, Pages, acceptable, cut, project_name, true_url, version_of
from rebind.locks.question import INDEX_URL, Question
from rebind.locks.repair import repair_specifiers
from rebind.locks.resolve import UnresolvableError
from rebind.locks.workplace import WORK, Workplace, write_inputs
from rebind.values import Event, Interpreter, Package, Phase, Report

_PIP = ("pip", "20.3.4")
_LARGEST_TOOL = 16 * 1024 * 1024
_MOST_FILES = 2000
_ATTEMPTS = 6
_WRONG = re.compile(r"Package '([A-Za-z0-9._-]+)' requires a different Python")
_DISTUTILS = "[easy_install]\nindex_url = {index}\n"
_UNMET = ("No matching distribution found", "ResolutionImpossible", "Could not find a version")


class _WrongPythonError(Exception):
    def __init__(self, project: str, text: str) -> None:
        super().__init__(project)
        self.project, self.text = project, text


@dataclass(frozen=True, slots=True)
class OldResolver:
    """pip 20.3.4 with the setuptools and wheel of the day."""

    place: Workplace
    pages: Pages

    def resolve(self, question: Question, root: Path, report: Report) -> list[Package]:
        """The packages, with their true addresses. Raises UnresolvableError, LockError, NetworkError."""
        _refuse_checkouts(question)
        for _ in range(_ATTEMPTS):
            try:
                return self._attempt(question, root, report)
            except _WrongPythonError as wrong:
                bound = self._bound(question, wrong.project)
                if bound is None or bound in question.needs.constraints:
                    raise _failure(question, wrong.text) from None
                needs = replace(question.needs, constraints=(*question.needs.constraints, bound))
                question = replace(question, needs=needs)
                report(Event(Phase.BUILDING, f"Once more with {bound}: later ones are for other Pythons\n"))
        raise LockError(f"the packages that are needed {question.described} cannot be found out")

    def _attempt(self, question: Question, root: Path, report: Report) -> list[Package]:
        index = f"{INDEX_URL}/{question.label}/simple/"
        with self.place.desk() as desk:
            write_inputs(question, desk, local=True)
            self._tools(question, desk / "tools")
            for name in ("files", "home", "temporary"):
                (desk / name).mkdir()
            (desk / "home" / ".pydistutils.cfg").write_text(_DISTUTILS.format(index=index))  # for setup_requires
            variables = {"HOME": f"{WORK}/home", "TMPDIR": f"{WORK}/temporary", "PYTHONPATH": f"{WORK}/tools"}
            code, text = self.place.run(question, root, desk, _download(question, index), report, variables)
            wrong = _WRONG.search(text) if code != 0 else None
            if wrong:
                raise _WrongPythonError(wrong[1], text)
            if code != 0:
                raise _failure(question, text)
            return [package for path in _left(desk / "files") if (package := self._package(question, path))]

    def _bound(self, question: Question, project: str) -> str | None:
        """Some releases say only when they are built that they are for other Pythons, and then that pip gives up.

        So: nothing newer than the newest release that states in the index that it is for this one.
        """
        name = project_name(project)
        page = self.pages.read(name) if name else None
        files = page.files[: page.count(question.when.timestamp())] if page else ()
        stated = [file for file in files if file.requires_python and _runs(file, question.interpreter)]
        newest = max(stated, key=_order, default=None)
        return f"{name}<={newest.version}" if newest else None

    def _tools(self, question: Question, folder: Path) -> None:
        """Unpacks pip, setuptools and wheel; they are on the path of the interpreter, nothing is installed."""
        client = IndexClient(INDEX_URL, self.place.egress.proxy_url)
        when = question.when.timestamp()
        client.changed([_PIP[0], *BUILD_TOOLS], when, when)
        for name in (_PIP[0], *BUILD_TOOLS):
            page = self.pages.read(name)
            file = _tool(page, question.interpreter, when) if page else None
            if file is None:
                raise NetworkError(f"the package index has no {name} for Python {question.interpreter.version}")
            with zipfile.ZipFile(io.BytesIO(self._fetch(file))) as archive:
                archive.extractall(folder)

    def _fetch(self, file: File) -> bytes:
        proxy = self.place.egress.proxy_url
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        try:
            with opener.open(file.url, timeout=60) as answer:
                data = bytes(answer.read(_LARGEST_TOOL))
        except OSError as error:
            raise NetworkError(f"{file.name} cannot be fetched: {error}", remedy="Try again later.") from None
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise NetworkError(f"{file.name} is not what the index says that it is", remedy="Try again later.")
        return data

    def _package(self, question: Question, path: Path) -> Package | None:
        """The package of a downloaded file; None for one of the repository itself."""
        for name in _projects(path.name):
            page = self.pages.read(name)
            file = page.find(path.name) if page else None
            if file and file.sha256:
                uploaded = None if file.uploaded == UNTIMED else datetime.fromtimestamp(file.uploaded, UTC)
                return Package(name, version_of(name, file.name), file.url, file.sha256, file.name, file.size, uploaded)
        for line in question.needs.lines:
            requirement = read_requirement(line)
            url = true_url("", (requirement.url or "") if requirement else line.partition(" ")[0])
            if url and unquote(urlsplit(url).path.rpartition("/")[2]) == path.name:
                name = next(_projects(path.name), "")
                with path.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
                return Package(name, version_of(name, path.name), url, digest, path.name, path.stat().st_size)
        if question.needs.local:
            return None
        raise LockError(f"the file {path.name} is not in the index", remedy="Launch again.")


def _refuse_checkouts(question: Question) -> None:
    for line in question.needs.lines:
        if line.startswith("git+") or "@ git+" in line:
            raise LockError(
                f"{line.split('git+')[1]} is a Git repository, which cannot be locked for Python "
                f"{question.interpreter.version}",
                remedy="Name a release of the package, or the address of an archive.",
            )


def _tool(page: Page, interpreter: Interpreter, when: float) -> File | None:
    """The wheel of a build tool: the newest of the day that runs on the interpreter."""
    fitting = []
    for file in page.files:
        if not file.name.endswith("-none-any.whl") or not file.sha256:
            continue
        wanted = file.version == _PIP[1] if page.name == _PIP[0] else file.uploaded <= cut(page.name, when)
        if wanted and _runs(file, interpreter):
            fitting.append(file)
    return max(fitting, key=_order, default=None)


def _runs(file: File, interpreter: Interpreter) -> bool:
    return SpecifierSet(repair_specifiers(file.requires_python, bare=False)).contains(interpreter.version)


def _order(file: File) -> Version:
    try:
        return Version(file.version)
    except InvalidVersion:
        return Version("0")


def _download(question: Question, index: str) -> list[str]:
    constraints = ["-c", f"{WORK}/constraints.txt"] if question.needs.constraints else []
    options = [part for option in question.needs.options for part in option.split(" ", 1)]
    return [
        *(question.interpreter.inside, "-m", "pip", "download", "-r", f"{WORK}/requirements.txt", *constraints),
        *("--dest", f"{WORK}/files", "--index-url", index, "--trusted-host", urlsplit(INDEX_URL).hostname or ""),
        *("--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check", "--no-color", *options),
    ]


def _left(folder: Path) -> Iterator[Path]:
    """The files that the sandbox left: plain ones with the name of a package, and not without end."""
    if folder.is_symlink() or not folder.is_dir():
        raise LockError("the resolver left no files", remedy="Launch again.")
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= _MOST_FILES or not entry.is_file(follow_symlinks=False) or not acceptable(entry.name):
                raise LockError("the resolver left files that are no packages")
            yield folder / entry.name


def _projects(filename: str) -> Iterator[str]:
    """Names of projects that a file may be of: a dash may stand in the name and in the version."""
    parts = filename.split("-")
    for count in range(1, 2 if filename.endswith(".whl") else len(parts)):
        name = project_name("-".join(parts[:count]))
        if name:
            yield name


def _failure(question: Question, text: str) -> LockError:
    shown = text.replace(f"{INDEX_URL}/{question.label}/", "index:").strip()[-8000:]
    if any(sentence in text for sentence in _UNMET):
        return UnresolvableError(
            f"The requirements cannot all be met {question.described}.",
            detail=shown,
            remedy="Loosen the requirement that is named above, or give another date (`--as-of`, `?asof=` in a link).",
        )
    return LockError(
        f"the packages that are needed {question.described} cannot be found out",
        detail=shown,
        remedy="Correct the requirement that is named above.",
    )
