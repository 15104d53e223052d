"""Archives, forges and Mercurial: the rows of the builder's surface, and what every provider must do.

Each archive is asked at a small server of ours that speaks its API.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.providers.record_servers import (
    HYDRO,
    Ckan,
    Dataverse,
    Figshare,
    Handles,
    Heritage,
    Hydroshare,
    Invenio,
    Osf,
    Service,
    as_file,
    as_json,
    contents,
    tarred,
    zipped,
)

from rebind import __version__
from rebind.errors import AddressError, NetworkError, RefNotFoundError, RefusedError, RepositoryError
from rebind.providers import Provider
from rebind.providers.any_doi import DoiProvider
from rebind.providers.builtin import PROVIDERS, Needs
from rebind.providers.ckan import CkanProvider
from rebind.providers.dataverse import DataverseProvider
from rebind.providers.doi import read_doi, target
from rebind.providers.figshare import FigshareProvider
from rebind.providers.hydroshare import HydroshareProvider
from rebind.providers.mercurial import HgProvider
from rebind.providers.online import Online
from rebind.providers.osf import OsfProvider
from rebind.providers.swh import SwhProvider
from rebind.providers.web_archive import ArchiveProvider
from rebind.providers.zenodo import ZenodoProvider
from rebind.values import Commit, Event, Phase, Spec

QUICK = Online(pause=0.0)
FILES = {"requirements.txt": b"numpy\n", "data/a b.csv": b"1,2\n"}
Started = Any


def quiet(event: Event) -> None:
    assert event.phase is Phase.FETCHING
    assert event.message.endswith("\n")


@pytest.fixture
def start() -> Iterator[Started]:
    """Starts a service for the time of the test."""
    with ExitStack() as stack:
        yield stack.enter_context


def take(provider: Provider, spec: Spec | None, into: Path) -> Commit:
    assert spec is not None
    commit = provider.resolve(spec)
    provider.fetch(commit, into, quiet)
    return commit


# What every provider must do


@dataclass
class Case:
    provider: Provider
    address: str
    link: str
    service: Service
    id: str
    date: datetime


def _zenodo(start: Started, data: Path) -> Case:
    service = start(Invenio(files={"3242074": FILES}))
    handles = start(Handles(targets={"10.5281/zenodo.3242074": f"{service.url}/record/3242074"}))
    provider = ZenodoProvider(online=QUICK, doi_url=handles.url, sites=[service.url])
    when = datetime(2019, 6, 9, 23, 59, 59, 999999, tzinfo=UTC)
    return Case(provider, "10.5281/zenodo.3242074", "10.5281/zenodo.3242074", service, "3242074", when)


def _figshare(start: Started, data: Path) -> Case:
    service = start(Figshare(versions={"1": FILES}))
    provider = FigshareProvider(online=QUICK, site=service.url, api_url=service.url)
    doi = "10.6084/m9.figshare.9782777.v1"
    provider.doi_url = start(Handles(targets={doi: f"{service.url}/articles/code/x/9782777/1"})).url
    return Case(provider, doi, doi, service, "9782777.v1", datetime(2019, 1, 5, 10, 11, 12, tzinfo=UTC))


def _dataverse(start: Started, data: Path) -> Case:
    files = {"1": ("requirements.txt", "", FILES["requirements.txt"]), "2": ("a b.csv", "data", FILES["data/a b.csv"])}
    service = start(Dataverse(files=files))
    url = f"{service.url}/citation?persistentId=doi:10.7910/DVN/TJCLKP"
    handles = start(Handles(targets={"10.7910/DVN/TJCLKP": url}))
    provider = DataverseProvider(online=QUICK, doi_url=handles.url, scheme="http")
    when = datetime(2018, 5, 1, 12, tzinfo=UTC)
    return Case(provider, "10.7910/DVN/TJCLKP", "10.7910/DVN/TJCLKP", service, "3035124.v2.1", when)


def _hydroshare(start: Started, data: Path) -> Case:
    service = start(Hydroshare(files=FILES, waits=1))
    provider = HydroshareProvider(online=QUICK, site=service.url, interval=0.01)
    when = datetime(2019, 9, 25, 16, 9, 17, 6152, tzinfo=UTC)
    return Case(provider, f"{service.url}/resource/{HYDRO}", HYDRO, service, f"{HYDRO}.v1569427757", when)


def _ckan(start: Started, data: Path) -> Case:
    service = start(Ckan(prefix="/en", bodies={"/f/requirements.txt": FILES["requirements.txt"]}))
    service.resources = [{"id": "r1", "url": f"{service.url}/f/requirements.txt"}, {"id": "r2", "url": ""}]
    url = f"{service.url}/en/dataset/sample-dataset-1"
    when = datetime(2024, 2, 27, 14, 15, 54, 573058, tzinfo=UTC)
    return Case(CkanProvider(online=QUICK), url, url.replace("/", "%2F"), service, "sample-dataset-1.v1709043354", when)


def _swh(start: Started, data: Path) -> Case:
    service = start(Heritage(files=FILES, cooking=2))
    swhid = f"swh:1:rev:{'2' * 40}"
    provider = SwhProvider(online=QUICK, api_url=service.url, interval=0.01)
    return Case(provider, swhid, swhid, service, f"swh:1:dir:{'1' * 40}", datetime(2017, 2, 3, 3, 5, 6, tzinfo=UTC))


def _osf(start: Started, data: Path) -> Case:
    service = start(Osf(files=FILES))
    provider = OsfProvider(online=QUICK, site=service.url, api_url=service.url)
    return Case(
        provider,
        f"{service.url}/5hzc9",
        "5hzc9",
        service,
        "5hzc9.v1546398245",
        datetime(2019, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def _archive(start: Started, data: Path) -> Case:
    body = tarred({f"top-1.0/{name}": text for name, text in FILES.items()})
    reply = as_file(body, Last_Modified="Wed, 08 May 2019 07:08:09 GMT", ETag='"x"')
    service = start(Service(replies={"/x/top.tar.gz": reply}))
    url = f"{service.url}/x/top.tar.gz"
    id = f"sha256-{hashlib.sha256(body).hexdigest()}"
    when = datetime(2019, 5, 8, 7, 8, 9, tzinfo=UTC)
    return Case(ArchiveProvider(cache=data, online=QUICK), url, url.replace("/", "%2F"), service, id, when)


CASES = {
    "zenodo": _zenodo,
    "figshare": _figshare,
    "dataverse": _dataverse,
    "hydroshare": _hydroshare,
    "ckan": _ckan,
    "swh": _swh,
    "osf": _osf,
    "archive": _archive,
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, start: Started, tmp_path: Path) -> Case:
    return CASES[request.param](start, tmp_path / "data")


def test_it_is_a_provider_and_asks_nothing_to_know_its_addresses(case: Case, tmp_path: Path) -> None:
    assert isinstance(case.provider, Provider)
    spec = case.provider.detect(case.address)
    assert spec is not None
    assert spec.provider == case.provider.name == case.provider.display["id"]  # type: ignore[attr-defined]
    assert case.service.asked == []
    assert not (tmp_path / "data").exists()


def test_unknown_addresses_are_left_to_others(case: Case) -> None:
    for address in (
        "",
        "what is this",
        "no/such/folder",
        "\0",
        "https://github.com/a/b",
        "git@example.org:a/b",
        "http://[",
    ):
        assert case.provider.detect(address) is None


def test_links_lead_to_the_same_record(case: Case) -> None:
    linked = case.provider.parse(case.link)
    assert linked == case.provider.parse(f"{case.link}/")
    assert case.provider.resolve(linked).id == case.id
    for raw in ("", "%ff", "x%00y", "%0d%0aHost:x"):
        with pytest.raises(AddressError):
            case.provider.parse(raw)


def test_commit_and_files(case: Case, tmp_path: Path) -> None:
    spec = case.provider.detect(case.address)
    commit = take(case.provider, spec, tmp_path / "out")
    assert (commit.spec, commit.id, commit.date) == (spec, case.id, case.date)
    wanted = FILES if case.provider.name != "ckan" else {"requirements.txt": b"numpy\n"}
    assert contents(tmp_path / "out") == wanted
    assert case.provider.resolve(replace(commit.spec, ref=commit.id)).id == commit.id
    again = case.provider.parse(commit.link)
    assert case.provider.resolve(again).identity == commit.identity
    assert {asked.headers["user-agent"] for asked in case.service.asked} == {f"rebind/{__version__}"}


def test_errors_are_of_the_tree_and_leave_nothing(case: Case, tmp_path: Path) -> None:
    spec = case.provider.detect(case.address)
    assert spec is not None
    commit = case.provider.resolve(spec)
    case.service.asked.clear()
    with pytest.raises((RefNotFoundError, RepositoryError)):
        case.provider.resolve(replace(spec, ref="no-such-version"))
    limited = replace(case.provider.online, max_bytes=5)  # type: ignore[attr-defined]
    case.provider.online = limited  # type: ignore[attr-defined]
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    with pytest.raises(RepositoryError, match="larger than"):
        case.provider.fetch(commit, tmp_path / "out", quiet)
    assert list(tmp_path.glob("out*")) == []


def test_too_many_files(case: Case, tmp_path: Path) -> None:
    spec = case.provider.detect(case.address)
    assert spec is not None
    commit = case.provider.resolve(spec)
    case.provider.online = replace(case.provider.online, max_files=0)  # type: ignore[attr-defined]
    with pytest.raises(RepositoryError, match="holds more than"):
        case.provider.fetch(commit, tmp_path / "out", quiet)
    assert list(tmp_path.glob("out*")) == []


def test_no_network_is_said_plainly(case: Case) -> None:
    spec = case.provider.detect(case.address)
    assert spec is not None
    case.service.__exit__(None, None, None)
    try:
        with pytest.raises(NetworkError, match=r"127\.0\.0\.1 cannot be reached: Connection refused"):
            case.provider.resolve(spec)
    finally:
        case.service.__enter__()


# DOIs


@pytest.mark.parametrize(
    "text",
    ["10.5281/zenodo.1", "doi:10.5281/zenodo.1", "DOI: 10.5281/zenodo.1", "doi.org/10.5281/zenodo.1",
     "https://doi.org/10.5281/zenodo.1", "http://dx.doi.org/10.5281/zenodo.1", "dx.doi.org/10.5281%2Fzenodo.1/"],
)  # fmt: skip
def test_u_doi_spellings(text: str) -> None:
    if "%2F" in text:
        text = text.replace("%2F", "/")
    assert read_doi(text) == "10.5281/zenodo.1"


@pytest.mark.parametrize(
    "text",
    ["", "10.5281", "10.5281/", "11.5/x", "https://example.org/10.5281/x", "10.5281/a b", "10.1234/../api/x", "a"],
)
def test_u_doi_what_is_none(text: str) -> None:
    assert read_doi(text) is None


def test_u_doi_404_and_errors(start: Started, tmp_path: Path) -> None:
    handles = start(Handles(targets={"10.1000/x": "https://example.org/y"}))
    handles.replies["/api/handles/10.1000/empty"] = as_json({"responseCode": 1, "values": [{"type": "EMAIL"}]})
    handles.replies["/api/handles/10.1000/broken"] = as_file(b"<html>")
    handles.replies["/api/handles/10.1000/down"] = (500, {}, b"")
    with QUICK.http(QUICK.watch("x")) as http:
        assert target(http, "10.1000/x", handles.url) == "https://example.org/y"
        for doi, said in [
            ("no", "There is no DOI"),
            ("empty", "leads nowhere"),
            ("broken", "no JSON"),
            ("down", "500"),
        ]:
            with pytest.raises(RepositoryError, match=said):
                target(http, f"10.1000/{doi}", handles.url)


def test_u_doi_any_archive_is_found_by_where_a_doi_leads(start: Started, tmp_path: Path) -> None:
    service = start(Invenio(files={"7": FILES}))
    targets = {"10.99999/abc": f"{service.url}/records/7", "10.99999/else": "https://example.org/x"}
    handles = start(Handles(targets=targets))
    zenodo = ZenodoProvider(online=QUICK, sites=[service.url])
    provider = DoiProvider(archives=[zenodo], online=QUICK, doi_url=handles.url)
    commit = take(provider, provider.detect("https://doi.org/10.99999/abc"), tmp_path / "out")
    assert (commit.id, commit.spec.provider) == ("7", "doi")
    assert contents(tmp_path / "out") == FILES
    with pytest.raises(RepositoryError, match="no archive known here"):
        provider.resolve(provider.parse("10.99999/else"))


def test_every_address_has_one_provider_and_no_network_is_asked(tmp_path: Path) -> None:
    needs = Needs(tmp_path / "c", None, True, None, None, tmp_path / "git")
    providers = [make(needs) for make in PROVIDERS.values()]
    assert next(iter(PROVIDERS)) == "local"
    assert list(PROVIDERS)[-1] == "git"
    expected = {
        "https://github.com/a/b": "gh",
        "github.com/a/b/tree/main": "gh",
        "git@github.com:a/b": "git",
        "https://gist.github.com/a/0123456789abcdef0123": "gist",
        "https://gitlab.com/a/b/c/-/tree/main": "gl",
        "https://bitbucket.org/a/b": "bitbucket",
        "https://huggingface.co/datasets/a/b/tree/main": "hf",
        "10.5281/zenodo.3242074": "zenodo",
        "https://doi.org/10.6084/m9.figshare.9782777.v1": "figshare",
        "10.7910/DVN/TJCLKP": "dataverse",
        f"10.4211/hs.{HYDRO}": "hydroshare",
        f"swh:1:dir:{'a' * 40};origin=https://x": "swh",
        "https://osf.io/5hzc9/": "osf",
        "10.17605/OSF.IO/5HZC9": "osf",
        "10.18419/darus-1234": "doi",
        "https://example.org/x.zip": "archive",
        "https://demo.ckan.org/dataset/sample-dataset-1": "ckan",
        "hg+https://example.org/x": "hg",
        "https://hg.example.org/x": "hg",
        "https://example.org/dataset/x.git": "git",
        "https://example.org/a": "git",
    }
    for address, name in expected.items():
        specs = [provider.detect(address) for provider in providers]
        assert next(spec.provider for spec in specs if spec) == name, address


# Zenodo


@pytest.mark.parametrize(
    "address",
    ["https://zenodo.org/record/3232985", "https://zenodo.org/records/3232985", "http://zenodo.org/record/3232985#x",
     "zenodo.org/records/3232985/files/a.zip", "https://sandbox.zenodo.org/records/1", "https://www.zenodo.org/record/1",
     "https://data.caltech.edu/records/hsah2-n6w67", "https://zenodo.org/doi/10.5281/zenodo.1", "10.5072/zenodo.1",
     "10.5281/zenodo.3232985", "doi:10.5281/zenodo.3232985", "https://doi.org/10.5281/zenodo.1", "10.22002/hsa-n6w"],
)  # fmt: skip
def test_u_zen_addresses(address: str) -> None:
    assert ZenodoProvider().detect(address) is not None


@pytest.mark.parametrize(
    "address",
    ["/some/path", "https://example.com/record/1", "https://zenodo.org/communities/x", "https://zenodo.org/record/../x",
     "https://zenodo.org.evil.example/record/1", "https://zenodo.org@evil.example/record/1", "ftp://zenodo.org/record/1",
     "10.6084/m9.figshare.1", "https://doi.org/10.7910/DVN/X"],
)  # fmt: skip
def test_u_zen_foreign_addresses(address: str) -> None:
    assert ZenodoProvider().detect(address) is None


def test_u_zen_foreign_doi_is_refused(start: Started) -> None:
    handles = start(Handles(targets={"10.1000/x": "https://figshare.com/articles/x/1"}))
    provider = ZenodoProvider(online=QUICK, doi_url=handles.url)
    with pytest.raises(RepositoryError, match="which is not of Zenodo"):
        provider.resolve(provider.parse("10.1000/x"))


@pytest.mark.parametrize("rdm", [False, True])
def test_u_zen_zip_is_lifted(start: Started, tmp_path: Path, rdm: bool) -> None:
    files = {"v1.zip": zipped({f"repo-1/{name}": body for name, body in FILES.items()})}
    service = start(Invenio(files={"3242074": files}, rdm=rdm))
    provider = ZenodoProvider(online=QUICK, sites=[service.url])
    commit = take(provider, provider.detect(f"{service.url}/records/3242074"), tmp_path / "out")
    assert commit.id == "3242074"
    assert contents(tmp_path / "out") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_u_zen_two_zips_are_left_alone(start: Started, tmp_path: Path) -> None:
    files = {"a.zip": zipped(FILES), "b.zip": zipped(FILES)}
    service = start(Invenio(files={"1": files}))
    provider = ZenodoProvider(online=QUICK, sites=[service.url])
    take(provider, provider.detect(f"{service.url}/record/1"), tmp_path / "out")
    assert contents(tmp_path / "out") == files


def test_e_zen_a_concept_means_its_newest_version(start: Started, tmp_path: Path) -> None:
    service = start(Invenio(files={"3242074": FILES}, concepts={"3242073": "3242074"}))
    doi = "10.5281/zenodo.3242073"
    handles = start(Handles(targets={doi: f"{service.url}/records/3242073"}))
    provider = ZenodoProvider(online=QUICK, doi_url=handles.url, sites=[service.url])
    commit = take(provider, provider.detect(doi), tmp_path / "out")
    assert (commit.id, commit.spec.repository) == ("3242074", doi)
    assert (commit.link, commit.page) == ("10.5281/zenodo.3242074", "https://doi.org/10.5281/zenodo.3242074")
    assert commit.identity.endswith("/3242073")


def test_u_zen_a_wrong_checksum_is_noticed(start: Started, tmp_path: Path) -> None:
    service = start(Invenio(files={"1": FILES}, checksum="md5:" + "0" * 32))
    provider = ZenodoProvider(online=QUICK, sites=[service.url])
    with pytest.raises(RepositoryError, match="checksum"):
        take(provider, provider.detect(f"{service.url}/record/1"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "", "x" * 300, "a\0b", "a/" * 200 + "b"])
def test_u_zen_names_that_lead_out_are_refused(start: Started, tmp_path: Path, name: str) -> None:
    service = start(Invenio(files={"1": {name: b"x"}}))
    provider = ZenodoProvider(online=QUICK, sites=[service.url])
    (tmp_path / "in").mkdir()
    with pytest.raises(RepositoryError):
        take(provider, provider.detect(f"{service.url}/record/1"), tmp_path / "in" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in"]


# Figshare


@pytest.mark.parametrize(
    ("address", "repository", "ref"),
    [
        ("https://figshare.com/articles/title/9782777", "https://figshare.com/articles/9782777", "1"),
        ("https://figshare.com/articles/title/9782777/2", "https://figshare.com/articles/9782777", "2"),
        ("https://figshare.com/articles/code/title/9782777/3", "https://figshare.com/articles/9782777", "3"),
        ("https://figshare.com/articles/dataset/2020/9782777", "https://figshare.com/articles/9782777", "1"),
        ("https://figshare.com/articles/software/t/9782777/10", "https://figshare.com/articles/9782777", "10"),
        ("https://figshare.com/account/articles/9782777", "https://figshare.com/articles/9782777", "1"),
        ("https://monash.figshare.com/articles/code/t/9782777", "https://figshare.com/articles/9782777", "1"),
        ("10.6084/m9.figshare.9782777.v3", "10.6084/m9.figshare.9782777.v3", "3"),
        ("https://doi.org/10.6084/m9.figshare.9782777", "10.6084/m9.figshare.9782777", "1"),
    ],
)
def test_u_fig_addresses(address: str, repository: str, ref: str) -> None:
    assert FigshareProvider().detect(address) == Spec("figshare", repository, ref)


@pytest.mark.parametrize(
    "address",
    ["https://figshare.com/articles", "https://figshare.com/articles/title/x", "https://evilfigshare.com/articles/t/1",
     "https://figshare.com/collections/t/1", "https://figshare.com/articles/t/1/2/3", "10.5281/zenodo.1"],
)  # fmt: skip
def test_u_fig_foreign_addresses(address: str) -> None:
    assert FigshareProvider().detect(address) is None


def figshare(start: Started, **settings: Any) -> tuple[FigshareProvider, str]:
    service = start(Figshare(**settings))
    doi = "10.6084/m9.figshare.9782777"
    handles = start(Handles(targets={doi: f"{service.url}/articles/code/title/9782777"}))
    provider = FigshareProvider(online=QUICK, doi_url=handles.url, site=service.url, api_url=service.url)
    return provider, f"{service.url}/articles/code/title/9782777"


def test_u_fig_versions(start: Started, tmp_path: Path) -> None:
    provider, url = figshare(start, versions={"1": {"a": b"1"}, "2": {"a": b"2"}, "3": {"a": b"3"}})
    assert take(provider, provider.detect(url), tmp_path / "one").id == "9782777.v1"
    assert take(provider, provider.detect(f"{url}/2"), tmp_path / "two").id == "9782777.v2"
    linked = take(provider, provider.parse("10.6084/m9.figshare.9782777"), tmp_path / "newest")
    assert (linked.id, linked.link) == ("9782777.v3", "10.6084/m9.figshare.9782777.v3")
    assert [(tmp_path / name / "a").read_bytes() for name in ("one", "two", "newest")] == [b"1", b"2", b"3"]
    with pytest.raises(RepositoryError, match="no article 9782777 in version 7"):
        provider.resolve(replace(linked.spec, ref="7"))


def test_u_fig_zip_by_its_name_and_link_only_files(start: Started, tmp_path: Path) -> None:
    packed = zipped({f"top/{name}": body for name, body in FILES.items()})
    provider, url = figshare(
        start, versions={"1": {"x.zip": packed, "far": b""}, "2": {"x": packed}}, link_only=("far",)
    )
    take(provider, provider.detect(url), tmp_path / "one")
    assert contents(tmp_path / "one") == FILES
    take(provider, provider.detect(f"{url}/2"), tmp_path / "two")
    assert contents(tmp_path / "two") == {"x": packed}


# Dataverse


@pytest.mark.parametrize(
    "address",
    ["https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP",
     "https://dataverse.harvard.edu/citation?persistentId=doi:10.7910/DVN/TJCLKP",
     "https://dataverse.harvard.edu/file.xhtml?persistentId=doi:10.7910/DVN/6ZXAGT/3YRRYJ",
     "https://dataverse.harvard.edu/api/access/datafile/3323458",
     "https://data.example.org/dataverse/dataset.xhtml?persistentId=hdl:1902.1/21243",
     "doi:10.7910/DVN/6ZXAGT/3YRRYJ"],
)  # fmt: skip
def test_x_dv1_addresses(address: str) -> None:
    assert DataverseProvider().detect(address) is not None


@pytest.mark.parametrize(
    "address",
    ["/some/path/here", "some text", "https://example.com/path/here", "https://google.com/?persistentId=doi:10.7910/DVN/X",
     "10.5281/zenodo.3232985", "https://dataverse.harvard.edu/dataset.xhtml?persistentId=evil",
     "https://dataverse.harvard.edu/api/access/datafile/../x", "https://a@b/api/access/datafile/1",
     "https://dataverse.harvard.edu/dataverse/x"],
)  # fmt: skip
def test_x_dv1_foreign_addresses(address: str) -> None:
    assert DataverseProvider().detect(address) is None


DATASET = {
    "3323458": ("notes.txt", "", b"hello"),
    "3323459": ("table.tab", "data", b"a,b\n1,2\n"),
    "3323460": ("run.py", "code/deep", b"print()\n"),
}


def test_x_dv1_a_doi_is_of_a_file_or_of_a_data_set(start: Started) -> None:
    file = "doi:10.7910/DVN/TJCLKP/3YRRYJ"
    service = start(Dataverse(files=DATASET, file_dois={file: "3323459"}))
    targets = {
        "10.7910/DVN/TJCLKP/3YRRYJ": f"{service.url}/file.xhtml?persistentId={file}",
        "10.7910/DVN/TJCLKP": f"{service.url}/citation?persistentId=doi:10.7910/DVN/TJCLKP",
        "10.7910/DVN/NONE": f"{service.url}/citation?persistentId=doi:10.7910/DVN/NONE",
    }
    provider = DataverseProvider(online=QUICK, doi_url=start(Handles(targets=targets)).url, scheme="http")
    found = {doi: provider.resolve(provider.parse(doi)) for doi in targets if "NONE" not in doi}
    assert {commit.id for commit in found.values()} == {"3035124.v2.1"}
    assert len({commit.identity for commit in found.values()}) == 1
    assert {commit.link for commit in found.values()} == {"10.7910/DVN/TJCLKP"}
    with pytest.raises(RepositoryError, match="no data set and no file"):
        provider.resolve(provider.parse("10.7910/DVN/NONE"))


def test_x_dv1_handles_and_the_list_of_installations(start: Started) -> None:
    service = start(Dataverse(files=DATASET, persistent="hdl:1902.1/21243"))
    service.replies["/list"] = as_json({"installations": [{"name": "Ours", "hostname": f"127.0.0.1:{service.port}"}]})
    service.replies["/empty"] = as_json({"installations": []})
    url = f"{service.url}/dataset.xhtml?persistentId=hdl:1902.1/21243"
    for path in (None, "/list"):
        provider = DataverseProvider(
            online=QUICK, scheme="http", installations_url=f"{service.url}{path}" if path else None
        )
        assert provider.resolve(provider.detect(url) or Spec("", "")).id == "3035124.v2.1"
    provider = DataverseProvider(online=QUICK, scheme="http", installations_url=f"{service.url}/empty")
    with pytest.raises(RefusedError, match="not on the list"):
        provider.resolve(provider.detect(url) or Spec("", ""))


@pytest.mark.parametrize("form", ["dataset", "file", "number"])
def test_x_dv2_the_whole_data_set_arrives_in_its_folders(start: Started, tmp_path: Path, form: str) -> None:
    file = "doi:10.7910/DVN/TJCLKP/3YRRYJ"
    service = start(Dataverse(files=DATASET, file_dois={file: "3323459"}))
    address = {
        "dataset": f"{service.url}/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP",
        "file": f"{service.url}/file.xhtml?persistentId={file}",
        "number": f"{service.url}/api/access/datafile/3323460",
    }[form]
    provider = DataverseProvider(online=QUICK, scheme="http")
    take(provider, provider.detect(address), tmp_path / "out")
    found = {name: hashlib.md5(body).hexdigest() for name, body in contents(tmp_path / "out").items()}
    names = {"notes.txt": "3323458", "data/table.csv": "3323459", "code/deep/run.py": "3323460"}
    assert found == {name: hashlib.md5(DATASET[id][2]).hexdigest() for name, id in names.items()}


def test_x_dv2_a_single_top_folder_is_lifted(start: Started, tmp_path: Path) -> None:
    service = start(Dataverse(files={"1": ("a", "top", b"a"), "2": ("b", "top/inner", b"b")}))
    provider = DataverseProvider(online=QUICK, scheme="http")
    url = f"{service.url}/citation?persistentId=doi:10.7910/DVN/TJCLKP"
    take(provider, provider.detect(url), tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": b"a", "inner/b": b"b"}


# HydroShare


def test_u_hyd_addresses_and_links() -> None:
    provider = HydroshareProvider()
    spec = Spec("hydroshare", f"https://www.hydroshare.org/resource/{HYDRO}")
    for address in (
        spec.repository,
        f"http://www.hydroshare.org/resource/{HYDRO}/",
        f"hydroshare.org/resource/{HYDRO}",
    ):
        assert provider.detect(address) == spec
    for raw in (HYDRO, f"10.4211/hs.{HYDRO}", f"https%3A%2F%2Fwww.hydroshare.org%2Fresource%2F{HYDRO}%2F"):
        assert provider.parse(raw) == spec
    assert provider.detect(f"doi:10.4211/hs.{HYDRO}") is not None
    for other in (
        "10.5281/zenodo.1",
        "https://www.hydroshare.org/resource/xyz",
        f"https://example.org/resource/{HYDRO}",
    ):
        assert provider.detect(other) is None


def test_u_hyd_the_bag_takes_time(start: Started, tmp_path: Path) -> None:
    service = start(Hydroshare(files=FILES, waits=3))
    provider = HydroshareProvider(online=QUICK, site=service.url, interval=0.01)
    take(provider, provider.detect(f"{service.url}/resource/{HYDRO}"), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    service.waits = 10**6
    provider = HydroshareProvider(online=QUICK, site=service.url, interval=0.01, patience=0.05)
    with pytest.raises(RepositoryError, match="had not packed"):
        take(provider, provider.detect(f"{service.url}/resource/{HYDRO}"), tmp_path / "late")
    assert not (tmp_path / "late").exists()


def test_u_hyd_a_change_between_is_noticed(start: Started, tmp_path: Path) -> None:
    service = start(Hydroshare(files=FILES))
    provider = HydroshareProvider(online=QUICK, site=service.url)
    commit = provider.resolve(provider.parse(HYDRO))
    service.modified = "2020-01-01T00:00:00Z"
    with pytest.raises(RefNotFoundError, match="no longer as"):
        provider.fetch(commit, tmp_path / "out", quiet)
    with pytest.raises(RepositoryError, match="no public resource"):
        provider.resolve(provider.parse("0" * 32))


# CKAN


def test_u_ckan_addresses() -> None:
    provider = CkanProvider()
    base = "https://demo.ckan.org/dataset/sample"
    assert provider.detect(base) == Spec("ckan", base)
    assert provider.detect(f"{base}/resource/x?view=1") == Spec("ckan", base)
    assert provider.detect(f"{base}?activity_id=a1") == Spec("ckan", f"{base}?activity_id=a1")
    assert provider.detect(f"{base}/history/b2?activity_id=a1") == Spec("ckan", f"{base}?activity_id=b2")
    assert provider.detect("https://x.org/data/en/dataset/y") == Spec("ckan", "https://x.org/data/en/dataset/y")
    foreign = ("datasets/y", "dataset/", "dataset/y.git", "dataset/a%0d%0ab", "a\nb/dataset/x")
    for address in (*(f"https://x.org/{path}" for path in foreign), "https://github.com/dataset/x", "10.5281/zenodo.1"):
        assert provider.detect(address) is None
    assert provider.detect("https://u@x.org/dataset/y") is None


def test_u_ckan_versions_names_and_errors(start: Started, tmp_path: Path) -> None:
    service = start(Ckan(bodies={"/f/a.csv": b"1", "/g/a.csv": b"2", "/h/": b"3"}))
    ends = ("/f/a.csv", "/g/a.csv", "/h/")
    service.resources = [{"id": f"r{n}", "url": f"{service.url}{path}"} for n, path in enumerate(ends)]
    service.resources.append({"id": "r9", "url": "ftp://example.org/x"})
    provider = CkanProvider(online=QUICK)
    url = f"{service.url}/dataset/sample-dataset-1"
    commit = take(provider, provider.detect(url), tmp_path / "out")
    assert contents(tmp_path / "out") == {"a.csv": b"1", "r1-a.csv": b"2", "r2": b"3"}
    older = provider.resolve(provider.detect(f"{url}?activity_id=8d5c7a") or commit.spec)
    assert (older.id, older.identity) == ("sample-dataset-1.v1609459200", commit.identity)
    with pytest.raises(RefNotFoundError, match="has no data set 'none'"):
        provider.resolve(Spec("ckan", f"{service.url}/dataset/none"))
    service.ckan = False
    with pytest.raises(RepositoryError, match="the server is no CKAN"):
        provider.resolve(commit.spec)


# Software Heritage


@pytest.mark.parametrize("kind", ["dir", "rev"])
def test_u_swh_accepted(kind: str) -> None:
    provider = SwhProvider()
    swhid = f"swh:1:{kind}:{'0a' * 20}"
    for text in (swhid, f"{swhid};origin=https://x;lines=1", f"https://archive.softwareheritage.org/{swhid};origin=x/"):
        assert provider.detect(text) == Spec("swh", swhid) == provider.parse(text.replace(";", "%3B"))


@pytest.mark.parametrize("text", ["cnt:", "ori:", "rel:", "snp:", "dir:x", "rev:", "2:dir:"])
def test_u_swh_refused(text: str) -> None:
    address = f"swh:{text}{'0a' * 20}" if text.startswith("2") else f"swh:1:{text}{'0a' * 20}"
    if text == "rev:":
        address = address[:-1]
    for read in (SwhProvider().detect, SwhProvider().parse):
        with pytest.raises(AddressError):
            read(address)


@pytest.mark.parametrize("kind", ["dir", "rev"])
def test_u_swh_a_pending_vault(start: Started, tmp_path: Path, kind: str) -> None:
    service = start(Heritage(files={"only/" + name: body for name, body in FILES.items()}, cooking=3))
    provider = SwhProvider(online=QUICK, api_url=service.url, interval=0.01, token="s3cret")
    swhid = f"swh:1:{kind}:{('1' if kind == 'dir' else '2') * 40}"
    commit = take(provider, provider.detect(swhid), tmp_path / "out")
    assert commit.id == f"swh:1:dir:{'1' * 40}"
    assert set(contents(tmp_path / "out")) == {f"only/{name}" for name in FILES}  # only the vault's own folder goes
    assert {asked.headers.get("authorization") for asked in service.asked} == {"Bearer s3cret"}
    service.failed = True
    with pytest.raises(RepositoryError, match="out of pans"):
        provider.fetch(commit, tmp_path / "again", quiet)


def test_u_swh_the_date_of_a_directory_is_that_of_a_revision_that_is_it(start: Started) -> None:
    service = start(Heritage(files=FILES))
    provider = SwhProvider(online=QUICK, api_url=service.url)
    anchored = f"swh:1:dir:{'1' * 40};origin=https://x;anchor=swh:1:rev:{'2' * 40}"
    assert provider.resolve(provider.parse(anchored)).date == datetime(2017, 2, 3, 3, 5, 6, tzinfo=UTC)
    service.directory = "3" * 40
    lying = anchored.replace("1" * 40, "4" * 40)
    service.replies[f"/api/1/directory/{'4' * 40}/"] = as_json([])
    assert provider.resolve(provider.parse(lying)).date.year > 2020


# Mercurial

needs_hg = pytest.mark.skipif(shutil.which("hg") is None, reason="Mercurial is not installed")


@pytest.fixture
def mercurial(tmp_path: Path) -> Path:
    root = tmp_path / "hg"
    root.mkdir()

    def hg(*arguments: str) -> None:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HGRCPATH": "", "HGUSER": "ada", "LC_ALL": "C.UTF-8"}
        subprocess.run(["hg", "--cwd", str(root), *arguments], env=environment, check=True, capture_output=True)

    hg("init")
    for number, (name, branch) in enumerate([("a", "default"), ("b", "my branch"), ("c", "default")]):
        hg("branch", "--force", branch)
        (root / name).write_text(name)
        hg("add", name)
        hg("commit", "-m", name, "-d", f"{1500000000 + number} 0")
    hg("tag", "v1", "--rev", "0", "-d", "1500000009 0")
    return root


@needs_hg
def test_u_hg_detects_only_what_is_mercurial(mercurial: Path, tmp_path: Path) -> None:
    provider = HgProvider(cache=tmp_path / "c", allow_local=True)
    (tmp_path / "plain").mkdir()
    assert provider.detect(f"file://{mercurial}") == Spec("hg", f"file://{mercurial}")
    assert provider.detect(f"hg+file://{tmp_path}/plain") is not None
    for address in (
        f"file://{tmp_path}/plain",
        "https://github.com/a/b",
        "https://example.org/x.git",
        "/etc",
        "hg",
        "",
    ):
        assert provider.detect(address) is None
    public = HgProvider(cache=tmp_path / "c")
    assert public.detect(f"file://{mercurial}") is None
    with pytest.raises(RefusedError):
        public.resolve(Spec("hg", f"file://{mercurial}"))
    for address in ("hg+ssh://-oProxyCommand=x/y", "hg+https://u:p@x/y", "hg+ext::sh"):
        with pytest.raises(AddressError):
            provider.detect(address)
    assert list(tmp_path.glob("c/*")) == []


@needs_hg
def test_u_hg_refs_content_id_and_a_working_copy(mercurial: Path, tmp_path: Path) -> None:
    provider = HgProvider(cache=tmp_path / "c", allow_local=True)
    spec = Spec("hg", f"file://{mercurial}")
    files = {
        None: {"a", "b", "c", ".hgtags"},
        "my branch": {"a", "b"},
        "v1": {"a"},
        "default": {"a", "b", "c", ".hgtags"},
    }
    for number, (ref, names) in enumerate(files.items()):
        commit = take(provider, replace(spec, ref=ref), tmp_path / str(number))
        assert {path.name for path in (tmp_path / str(number)).iterdir()} == names | {".hg"}
    assert provider.resolve(replace(spec, ref="v1")).date == datetime.fromtimestamp(1500000000, UTC)
    assert provider.resolve(replace(spec, ref=commit.id[:12])) == replace(
        commit, spec=replace(spec, ref=commit.id[:12])
    )
    command = ["hg", "--cwd", str(tmp_path / "0"), "identify", "--id", "--debug"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == commit.id


@needs_hg
def test_u_hg_bad_refs(mercurial: Path, tmp_path: Path) -> None:
    provider = HgProvider(cache=tmp_path / "c", allow_local=True)
    spec = Spec("hg", f"file://{mercurial}")
    for ref in ("nope", "all()", "max(all())", "0:tip", "f" * 40):
        with pytest.raises(RefNotFoundError):
            provider.resolve(replace(spec, ref=ref))
    for ref in ('x" or all() or "', "--config=x", "a\nb", "'"):
        with pytest.raises(AddressError):
            provider.resolve(replace(spec, ref=ref))
    with pytest.raises(RepositoryError):
        provider.resolve(Spec("hg", f"file://{tmp_path}/none"))


@needs_hg
def test_u_hg_a_topic_is_known_by_its_commits(mercurial: Path, tmp_path: Path) -> None:
    extension = tmp_path / "topical.py"
    extension.write_text(
        "def reposetup(ui, repo):\n"
        "    class Topical(repo.__class__):\n"
        "        def commitctx(self, ctx, *args, **kwargs):\n"
        "            ctx.extra()[b'topic'] = b'idea'\n"
        "            return super(Topical, self).commitctx(ctx, *args, **kwargs)\n"
        "    repo.__class__ = Topical\n"
    )
    (mercurial / "d").write_text("d")
    command = ["hg", "--cwd", str(mercurial), "--config", f"extensions.topical={extension}"]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HGRCPATH": "", "HGUSER": "ada"}
    subprocess.run([*command, "commit", "-A", "-m", "d"], env=environment, check=True, capture_output=True)
    provider = HgProvider(cache=tmp_path / "c", allow_local=True)
    take(provider, Spec("hg", f"file://{mercurial}", "idea"), tmp_path / "out")
    assert (tmp_path / "out" / "d").exists()
