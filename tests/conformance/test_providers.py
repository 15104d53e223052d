"""What every provider must do, and the rows of the builder's surface that speak of fetching.

The first half runs over every provider; for another one, give it a fixture that makes the same small history.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from rebind.errors import AddressError, RefNotFoundError, RepositoryError
from rebind.providers import Provider
from rebind.providers.access import Access
from rebind.providers.addresses import parse_url
from rebind.providers.git import GitProvider
from rebind.providers.local import LocalProvider
from rebind.values import Commit, Event, Phase, Spec

DATE = "2018-02-03T04:05:06+01:00"
WHEN = datetime(2018, 2, 3, 3, 5, 6, tzinfo=UTC)


def git(root: Path, *arguments: str, text: str = "") -> str:
    names = {f"GIT_{who}_{what}": "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dates = {"GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(root), *arguments]
    environment = {**os.environ, **names, **dates, **quiet}
    done = subprocess.run(command, env=environment, input=text, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "files")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """100 commits; branches main, feature/main (at 50) and other (away from main); tag v1 at 80."""
    root = tmp_path / "served" / "history"
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    stream = "".join(
        f"commit refs/heads/main\ncommitter Ada <Ada> {int(WHEN.timestamp())} +0100\ndata 1\nc\n"
        f"M 100644 inline f{number % 5}\ndata {len(str(number))}\n{number}\n"
        for number in range(100)
    )
    git(root, "fast-import", "--quiet", text=stream)
    git(root, "reset", "-q", "--hard", "main")
    git(root, "tag", "-a", "v1", "-m", "x", "HEAD~20")
    git(root, "branch", "feature/main", "HEAD~50")
    git(root, "checkout", "-q", "-b", "other")
    commit(root, {"only-other": "x"})
    git(root, "checkout", "-q", "main")
    return root


@dataclass
class Case:
    """One provider and how it is asked for the history."""

    provider: Provider
    address: str

    def spec(self, ref: str | None) -> Spec:
        spec = self.provider.detect(self.address)
        assert spec is not None
        return replace(spec, ref=ref)

    def take(self, ref: str | None, into: Path) -> Commit:
        found = self.provider.resolve(self.spec(ref))
        self.provider.fetch(found, into, lambda event: None)
        return found


CASES: dict[str, Callable[[Path, Path], Case]] = {
    "git": lambda root, data: Case(GitProvider(cache=data, allow_local=True), f"file://{root}"),
    "local": lambda root, data: Case(LocalProvider(cache=data), str(root)),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, history: Path, tmp_path: Path) -> Case:
    return CASES[request.param](history, tmp_path / "data")


def test_it_is_a_provider_and_is_made_without_effect(case: Case, tmp_path: Path) -> None:
    assert isinstance(case.provider, Provider)
    assert case.provider.name == case.spec(None).provider
    assert not (tmp_path / "data").exists()


def test_unknown_addresses_are_left_to_others(case: Case) -> None:
    for address in ("", "what is this", "10.5281/zenodo.1", "no/such/folder", "\0"):
        assert case.provider.detect(address) is None


def test_links_lead_to_the_same_spec(case: Case) -> None:
    spec = case.spec("feature/main")
    assert case.provider.parse(f"{quote(spec.repository, safe='')}/feature%2Fmain") == spec
    assert case.provider.parse(f"{quote(spec.repository, safe='')}/feature/main") == spec
    assert case.provider.parse(f"{quote(spec.repository, safe='')}/") == replace(spec, ref=None)
    for raw in ("", f"{quote(spec.repository, safe='')}/--option", f"{quote(spec.repository, safe='')}%00/x", "-x/y"):
        with pytest.raises(AddressError):
            case.provider.parse(raw)


def test_a_commit_has_id_date_and_identity(case: Case, history: Path) -> None:
    found = case.provider.resolve(case.spec("main"))
    assert found.id == git(history, "rev-parse", "main")
    assert found.date == WHEN
    assert found.date.tzinfo == UTC
    assert found.identity == f"local{history}"
    assert found.spec == case.spec("main")
    assert case.provider.resolve(case.spec("main")) == found


def test_files_and_git_of_the_commit(case: Case, history: Path, tmp_path: Path) -> None:
    found = case.take("v1", tmp_path / "out")
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [".git", "f0", "f1", "f2", "f3", "f4"]
    assert git(tmp_path / "out", "rev-parse", "HEAD") == found.id
    assert git(tmp_path / "out", "status", "--porcelain") == ""
    assert git(tmp_path / "out", "remote", "get-url", "origin")
    commit(tmp_path / "out", {"new": "from a session"})
    away = git(history, "rev-parse", "other")
    assert away not in git(tmp_path / "out", "cat-file", "--batch-all-objects", "--batch-check")


def test_tags_of_the_history_come_along(case: Case, history: Path, tmp_path: Path) -> None:
    git(history, "tag", "light", "main~10")
    git(history, "tag", "away", "other")
    case.take("main", tmp_path / "out")
    assert git(tmp_path / "out", "tag").split() == ["light", "v1"]
    assert git(tmp_path / "out", "describe") == f"v1-20-g{git(history, 'rev-parse', '--short', 'main')}"
    git(tmp_path / "out", "fsck")
    case.take("feature/main", tmp_path / "older")
    assert git(tmp_path / "older", "tag") == ""


def test_progress_has_the_phase_fetching(case: Case, tmp_path: Path) -> None:
    events: list[Event] = []
    case.provider.fetch(case.provider.resolve(case.spec("main")), tmp_path / "out", events.append)
    assert events
    assert all(event.phase is Phase.FETCHING and event.message.endswith("\n") for event in events)


def test_errors_are_of_the_tree_and_leave_nothing(case: Case, history: Path, tmp_path: Path) -> None:
    for ref in ("nope", "other-feature/main", "e" * 40, "eeeeeeee", "refs/heads/nope"):
        with pytest.raises(RefNotFoundError):
            case.provider.resolve(case.spec(ref))
    for ref in ("-x", "--upload-pack=x", "a b", "a\nb", "a..b", "main~1"):
        with pytest.raises(AddressError):
            case.provider.resolve(case.spec(ref))
    gone = case.spec("main")
    found = case.provider.resolve(gone)
    with pytest.raises(RepositoryError):
        case.provider.resolve(replace(gone, repository=f"{gone.repository}-none"))
    with pytest.raises(RepositoryError):
        case.provider.fetch(replace(found, id="e" * 40), tmp_path / "out", lambda event: None)
    assert not (tmp_path / "out").exists()


# Rows of the builder's surface


def test_u_depth1_no_ref_and_head_have_a_history_of_one(history: Path, tmp_path: Path) -> None:
    case = CASES["git"](history, tmp_path / "data")
    for ref in (None, "HEAD"):
        case.take(ref, tmp_path / f"out-{ref}")
        assert git(tmp_path / f"out-{ref}", "rev-list", "--count", "HEAD") == "1"


def test_u_depth2_a_ref_has_its_whole_history(case: Case, history: Path, tmp_path: Path) -> None:
    head, middle = git(history, "rev-parse", "main"), git(history, "rev-parse", "main~50")
    for number, (ref, length) in enumerate([("main", 100), (head, 100), (middle, 50)]):
        case.take(ref, tmp_path / str(number))
        assert git(tmp_path / str(number), "rev-list", "--count", "HEAD") == str(length)


def test_u_git1_content_id_and_unknown_ref(history: Path, tmp_path: Path) -> None:
    case = CASES["git"](history, tmp_path / "data")
    found = case.take(None, tmp_path / "out")
    assert found.id == git(tmp_path / "out", "rev-parse", "HEAD") == git(history, "rev-parse", "HEAD")
    with pytest.raises(RefNotFoundError, match="'no-such-ref'"):
        case.provider.resolve(case.spec("no-such-ref"))


def test_u_git2_submodules_of_the_commit_only(case: Case, history: Path, tmp_path: Path) -> None:
    library = tmp_path / "served" / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    recorded = commit(library, {"lib": "recorded"})
    commit(library, {"lib": "newer"})
    before = git(history, "rev-parse", "HEAD")
    (history / ".gitmodules").write_text('[submodule "lib"]\n\tpath = lib\n\turl = ../library\n')
    git(history, "add", ".gitmodules")
    git(history, "update-index", "--add", "--cacheinfo", f"160000,{recorded},lib")
    git(history, "commit", "-q", "-m", "submodule")
    case.take("main", tmp_path / "with")
    assert (tmp_path / "with" / "lib" / "lib").read_text() == "recorded"
    assert git(tmp_path / "with" / "lib", "rev-parse", "HEAD") == recorded
    case.take(before, tmp_path / "without")
    assert not (tmp_path / "without" / "lib").exists()


def test_u_loc_directory_yes_file_no(tmp_path: Path) -> None:
    provider = LocalProvider(cache=tmp_path / "data")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    assert provider.detect(str(tmp_path / "folder")) == Spec("local", str(tmp_path / "folder"))
    assert provider.detect(str(tmp_path / "folder" / "file")) is None
    # There is no commit; the name is that of the content, so an unchanged folder is not built again.
    assert provider.resolve(Spec("local", str(tmp_path / "folder"))).id.startswith("sha256-")


@pytest.mark.parametrize("text", ["username=ada\npassword=pw", r"username=ada\npassword=pw"])
def test_u_cred_helper_expands_escapes(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CREDENTIAL_ENV", text)
    access = Access(home=tmp_path, allow_local=True)
    access.prepare()
    url = parse_url("https://example.org/a")
    command = ["git", *access.options(), "credential", "fill"]
    asked = "protocol=https\nhost=example.org\n\n"
    done = subprocess.run(command, env=access.environment(url), input=asked, capture_output=True, text=True, check=True)
    assert "username=ada\npassword=pw\n" in done.stdout


@pytest.mark.parametrize("ref", ["origin/{sha}", "{sha}"])
def test_e_ligo_short_commit_with_and_without_origin(ref: str, case: Case, history: Path, tmp_path: Path) -> None:
    wanted = git(history, "rev-parse", "main~33")
    assert case.take(ref.format(sha=wanted[:11]), tmp_path / "out").id == wanted


@pytest.mark.parametrize(("ref", "name"), [("origin/main", "main"), ("main", "main"), ("v1", "v1^{}")])
def test_e_req_branch_origin_and_tag(ref: str, name: str, case: Case, history: Path, tmp_path: Path) -> None:
    assert case.take(ref, tmp_path / "out").id == git(history, "rev-parse", name)


def test_o_22_feature_main_is_not_main(case: Case, history: Path, tmp_path: Path) -> None:
    found = case.take("feature/main", tmp_path / "out")
    assert found.id == git(history, "rev-parse", "feature/main") != git(history, "rev-parse", "main")
    git(history, "branch", "-D", "feature/main")
    with pytest.raises(RefNotFoundError):
        case.provider.resolve(case.spec("feature/main"))


def test_o_30_git_comes_along_and_works(case: Case, history: Path, tmp_path: Path) -> None:
    case.take(None, tmp_path / "out")
    assert commit(tmp_path / "out", {"n.ipynb": "{}"})
    assert git(tmp_path / "out", "log", "--oneline")
