"""Bad input through the real command line: one clear sentence with what to do, a code, a `failed` event with --json."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.conftest import MakeRepository, git
from tests.whole.conftest import SMALL, processes
from tests.whole.programs import rebind

pytestmark = [pytest.mark.session, pytest.mark.network]


def failed(*arguments: str | Path, data: Path, code: int = 1, **settings: str) -> str:
    """Runs a command for people and for programs; gives the text, which both get. Never a traceback."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    person = rebind(*arguments, data=data, **settings)
    program = rebind(*arguments[:place], "--json", *arguments[place:], data=data, **settings)
    assert (person.returncode, program.returncode) == (code, code), person.stderr + program.stderr
    assert "Traceback" not in person.stderr + program.stderr
    last = json.loads(program.stdout.splitlines()[-1])
    assert last["phase"] == "failed", last
    assert person.stderr.partition("Error: ")[2].strip() == last["message"].strip()
    return str(last["message"])


@dataclass
class Case:
    """A repository that cannot be had or built."""

    words: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    command: str = "plan"


CASES = {
    "ref that is not there": Case(("no branch, tag or commit 'v9'", "spelled"), options=("--ref", "v9")),
    "master, which is main": Case(("'master'", "It is 'main' here"), options=("--ref", "master")),
    "runtime.txt with nonsense": Case(("runtime.txt: 'garbage'", "python-3.10"), {"runtime.txt": "garbage\n"}),
    "runtime.txt of tomorrow": Case(("runtime.txt", "9.9", "3.10"), {"runtime.txt": "python-9.9\n"}),
    "requirements that contradict": Case(
        ("cannot all be met", "pandas==2.0.0 depends on numpy>=1.2", "you require numpy==1.0", "--as-of"),
        {"requirements.txt": "pandas==2.0.0\nnumpy==1.0\n"},
    ),
    "a package that does not exist": Case(
        ("rebind-no-such-package was not found in the package registry",),
        {"requirements.txt": "six\nrebind-no-such-package\n"},
    ),
    "a line that is no requirement": Case(("requirements.txt", "six ???"), {"requirements.txt": "six ???\n"}),
    "a package that came later": Case(
        ("six==1.17.0", "Loosen"), {"requirements.txt": "six==1.17.0\nsix<1.10\n"}, ("--as-of", "2020-01-01")
    ),
    "both config directories": Case(("binder", ".binder"), {"binder/a": "", ".binder/a": ""}),
    "a directory above the repository": Case(("'../..'", "--subdir"), options=("--subdir", "../..")),
    "a directory that leads out": Case(("'a/../../..'", "--subdir"), options=("--subdir", "a/../../..")),
    "a directory that is not there": Case(("no directory 'lib'", "--subdir"), options=("--subdir", "lib")),
    "a directory that is a file": Case(("no directory 'a'", "--subdir"), {"a": ""}, ("--subdir", "a")),
    "packages of the future": Case(("2199-01-01 is in the future", "today"), options=("--as-of", "2199-01-01")),
    "packages of a day that never was": Case(("'2023-02-30' is not a date",), options=("--as-of", "2023-02-30")),
    "packages of nonsense": Case(("'soon' is not a date", "2019-05-31"), options=("--as-of", "soon")),
    "a postBuild that fails": Case(
        ("postBuild ended with code 3", "the last line"),
        {"postBuild": "#!/bin/sh\necho begun\necho the last line >&2\nexit 3\n"},
        command="build",
    ),
    "a postBuild in a language that is not there": Case(
        ("postBuild ended with code 127", "not found"), {"postBuild": "#!/opt/no/such\n"}, command="build"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_repository_that_cannot_be_built(name: str, data: Path, make_repository: MakeRepository) -> None:
    case = CASES[name]
    text = failed(case.command, make_repository(case.files), *case.options, data=data)
    for word in case.words:
        assert word in text


ADDRESSES = {
    "nothing there": ("/no/such/folder", "/no/such/folder"),
    "nothing there, relative": ("./no-such-folder", "./no-such-folder"),
    "a word": ("pandas", "'pandas'"),
    "empty": ("", "Give a folder"),
    "nobody listens": ("http://127.0.0.1:9/ada/lab", "does not answer"),
    "a password": ("https://ada:hunter2@example.org/lab", "GIT_CREDENTIAL_ENV"),
    "a helper program": ("ext::sh -c id", "ext"),
    "another scheme": ("ftp://example.org/lab", "ftp"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_that_leads_nowhere(name: str, data: Path) -> None:
    address, words = ADDRESSES[name]
    text = failed("plan", address, data=data)
    assert words in text
    assert "hunter2" not in text


def test_an_address_is_never_an_option(data: Path) -> None:
    done = rebind("plan", "--", "--upload-pack=touch /tmp/x", data=data)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "Nothing is known" in done.stderr


def test_a_plain_file_is_no_repository(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notebook.ipynb").write_text("{}")
    assert "folder" in failed("plan", tmp_path / "notebook.ipynb", data=data)


def test_a_repository_without_a_commit(data: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "empty")
    assert "commit" in failed("plan", f"file://{tmp_path}/empty", data=data)


def test_a_post_build_that_never_ends(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository({"postBuild": "#!/bin/sh\necho begun\nsleep 98765\n"})
    text = failed("build", path, data=data, build_timeout="2s")
    assert "postBuild took longer than 2 seconds" in text
    assert "begun" in text
    assert not processes("sleep 98765")
    # Nothing half-made is taken for whole: it runs, and fails, again. Without the script it works.
    assert "took longer" in failed("build", path, data=data, build_timeout="1s")
    make_repository({"postBuild": "true\n"})
    assert rebind("build", path, data=data).returncode == 0


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("#!/bin/sh\necho it dies >&2\nexit 3\n", ("code 3", "it dies")),
        ("#!/bin/sh\necho forgot\n", ("code 0", "forgot")),
    ],
    ids=["dies", "does not run its arguments"],
)
def test_a_server_that_dies_at_start(
    start: str, words: tuple[str, ...], data: Path, make_repository: MakeRepository
) -> None:
    path = make_repository({"start": start})
    text = failed("launch", path, "--no-open", data=data)
    assert all(word in text for word in (*words, "`start` script")), text
    assert not list((data / "run" / "sessions").glob("*/session.json"))


def test_a_server_that_never_answers(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository({"start": "#!/bin/sh\nsleep 87654\n"})
    text = failed("launch", path, "--no-open", data=data, start_timeout="3s")
    assert "3 s" in text
    assert not processes("sleep 87654")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_sesions": "3"}, ("REBIND_MAX_SESIONS", "REBIND_MAX_SESSIONS")),
        ({"session_memory": "lots"}, ("session_memory", "'lots'", "2G")),
        ({"idle_timeout": "-5"}, ("idle_timeout", "10m")),
        ({"settings": "/no/such.toml"}, ("/no/such.toml", "REBIND_SETTINGS")),
    ],
)
def test_a_wrong_setting(settings: dict[str, str], words: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    text = failed("plan", tmp_path, data=data, **settings)
    assert all(word in text for word in words), text


def test_a_command_that_is_not_there(data: Path, make_repository: MakeRepository) -> None:
    done = rebind("run", make_repository(SMALL), "--", "no-such-command", data=data)
    assert done.returncode == 127
    assert "no-such-command" in done.stderr
    assert "Traceback" not in done.stderr
