"""The dated index before a small real upstream."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from small_index import Client, Upstream

from rebind.errors import NetworkError
from rebind.locks import DatedIndex
from rebind.locks.pages import Pages

D2018 = "/2018-01-01T00:00:00Z"


def test_files_after_the_date_are_hidden(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    upstream.add("pkg", "2.0", "2018-01-01T00:00:00.000001Z")
    assert client.files(f"{D2018}/simple/pkg/") == ["pkg-1.0-py3-none-any.whl"]
    assert client.files("/2017-05-01T10:00:00Z/simple/pkg/") == ["pkg-1.0-py3-none-any.whl"]
    assert client.files("/2017-05-01T09:59:59Z/simple/pkg/") == []
    assert len(client.files("/today/simple/pkg/")) == 2


def test_a_project_is_asked_for_once(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    for date in ("2018-01-01T00:00:00Z", "2019-01-01T00:00:00Z", "today", "today"):
        client.files(f"/{date}/simple/pkg/")
    assert upstream.asked == ["/simple/pkg/"]


def test_later_yanks_are_forgotten_but_for_today(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z", yanked="broken")
    dated = json.loads(client.get(f"{D2018}/simple/pkg/").read())
    assert "yanked" not in dated["files"][0]
    today = json.loads(client.get("/today/simple/pkg/").read())
    assert today["files"][0]["yanked"] == "broken"
    assert "data-yanked" not in client.get(f"{D2018}/simple/pkg/", "text/html").read().decode()
    assert 'data-yanked="broken"' in client.get("/today/simple/pkg/", "text/html").read().decode()


def test_files_without_a_time_are_hidden_but_for_today_and_told_of(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", None)
    upstream.add("pkg", "0.9", "2017-05-01T10:00:00Z")
    assert client.files(f"{D2018}/simple/pkg/") == ["pkg-0.9-py3-none-any.whl"]
    assert len(client.files("/today/simple/pkg/")) == 2
    notes = json.loads(client.get(f"{D2018}/notes").read())
    assert "pkg" in notes["untimed"]
    assert json.loads(client.get(f"{D2018}/notes").read()) == notes  # reading takes nothing away
    assert json.loads(client.get(f"{D2018}/notes?since={time.time() + 1}").read()) == {}
    assert client.get(f"{D2018}/notes?since=x").status == 400


def test_build_tools_of_2019_are_shown_to_older_dates(upstream: Upstream, client: Client) -> None:
    for name in ("setuptools", "wheel", "other"):
        upstream.add(name, "30.0", "2017-01-01T00:00:00Z")
        upstream.add(name, "40.8", "2019-02-05T00:00:00Z")
        upstream.add(name, "46.0", "2020-03-08T00:00:00Z")
    assert len(client.files(f"{D2018}/simple/setuptools/")) == 2
    assert len(client.files(f"{D2018}/simple/wheel/")) == 2
    assert len(client.files(f"{D2018}/simple/other/")) == 1


def test_html_has_what_the_tools_of_the_time_need(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z", python=">=3.*,<4")
    text = client.get(f"{D2018}/simple/pkg/", "text/html").read().decode()
    assert '<a href="../../files/pkg/pkg-1.0-py3-none-any.whl#sha256=' in text
    assert 'data-requires-python="&gt;=3,&lt;4"' in text
    assert client.get(f"{D2018}/simple/pkg/", "*/*").headers["Content-Type"].startswith("text/html")


def test_an_upstream_that_knows_html_alone(upstream: Upstream, client: Client) -> None:
    upstream.html = True
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    upstream.add("pkg", "2.0", None)
    assert client.files(f"{D2018}/simple/pkg/") == ["pkg-1.0-py3-none-any.whl"]


def test_metadata_is_repaired(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z", ("pytz (>=2011k)",))
    text = client.get(f"{D2018}/files/pkg/pkg-1.0-py3-none-any.whl.metadata").read().decode()
    assert "Requires-Dist: pytz>=2011.11" in text
    assert "A description." not in text


@pytest.mark.parametrize("size", [None, "stated"])
def test_metadata_comes_out_of_the_wheel_where_upstream_has_none_beside_it(
    upstream: Upstream, client: Client, size: str | None
) -> None:
    upstream.sidecars = False
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z", ("pytz (>=2011k)",), **({} if size else {"size": None}))
    text = client.get(f"{D2018}/files/pkg/pkg-1.0-py3-none-any.whl.metadata").read().decode()
    assert "Requires-Dist: pytz>=2011.11" in text


def test_files_are_sent_on_and_sources_refused_behind_the_gate(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    upstream.add_sdist("pkg", "1.0", "2017-05-01T10:00:00Z")
    for gate in ("", "/wheels-only"):
        assert len(client.files(f"{D2018}{gate}/simple/pkg/")) == 2
        answer = client.get(f"{D2018}{gate}/files/pkg/pkg-1.0-py3-none-any.whl")
        assert (answer.status, answer.headers["Location"]) == (302, f"{upstream.base}/files/pkg-1.0-py3-none-any.whl")
    assert client.get(f"{D2018}/files/pkg/pkg-1.0.tar.gz").status == 302
    assert client.get(f"{D2018}/wheels-only/files/pkg/pkg-1.0.tar.gz").status == 403
    assert client.get(f"{D2018}/wheels-only/files/pkg/pkg-1.0.tar.gz.metadata").status == 403


def test_an_upstream_away(upstream: Upstream, client: Client) -> None:
    upstream.down = True
    answer = client.get(f"{D2018}/simple/pkg/")
    assert answer.status == 502
    assert "answered 503" in answer.read().decode()
    assert "pkg" in json.loads(client.get(f"{D2018}/notes").read())["failed"]


def test_an_old_page_serves_while_the_upstream_is_away(
    upstream: Upstream, client: Client, tmp_path: Path, index: DatedIndex
) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    client.files("/today/simple/pkg/")
    pages = Pages(tmp_path / "data" / "index")
    page = pages.read("pkg")
    assert page is not None
    index.stop()
    _age(pages, "pkg", 3600)
    upstream.down = True
    again = DatedIndex(tmp_path / "data", f"{upstream.base}/simple/", socket=tmp_path / "again.sock")
    again.start()
    try:
        asker = Client(again.socket)
        assert len(asker.files(f"{D2018}/simple/pkg/")) == 1  # still certain: nothing of 2018 can change
        assert json.loads(asker.get(f"{D2018}/notes").read()) == {}
        assert len(asker.files("/today/simple/pkg/")) == 1
        assert "answered 503" in json.loads(asker.get("/today/notes").read())["stale"]["pkg"]
    finally:
        again.stop()


def test_a_stale_page_is_asked_for_with_its_tag(
    upstream: Upstream, client: Client, tmp_path: Path, index: DatedIndex
) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    client.files("/today/simple/pkg/")
    index.stop()
    pages = Pages(tmp_path / "data" / "index")
    _age(pages, "pkg", 3600)
    again = DatedIndex(tmp_path / "data", f"{upstream.base}/simple/", socket=tmp_path / "again.sock")
    again.start()
    assert len(Client(again.socket).files("/today/simple/pkg/")) == 1
    again.stop()
    assert upstream.asked == ["/simple/pkg/"] * 2
    page = pages.read("pkg")
    assert page is not None
    assert time.time() - page.fetched < 600


def _age(pages: Pages, name: str, seconds: float) -> None:
    path = pages.path(name)
    head, rest = path.read_text().split("\n", 1)
    facts = json.loads(head)
    facts["fetched"] -= seconds
    path.write_text(json.dumps(facts) + "\n" + rest)


def test_changed_tells_whether_something_was_published_in_between(upstream: Upstream, client: Client) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T00:00:00Z")
    upstream.add("other", "1.0", "2017-07-01T00:00:00Z")

    def ask(after: int, until: int, *names: str) -> dict[str, list[str]]:
        body = json.dumps({"names": names, "after": after, "until": until})
        found: dict[str, list[str]] = json.loads(client.get("/changed", method="POST", body=body).read())
        return found

    april, june, august = 1491004800, 1496275200, 1501545600
    assert ask(april, june, "pkg", "other") == {"changed": ["pkg"], "unknown": []}
    assert ask(june, august, "pkg", "other", "absent") == {"changed": ["other"], "unknown": []}
    upstream.down = True
    assert ask(june, august, "new") == {"changed": [], "unknown": ["new"]}
    assert client.get("/changed", method="POST", body="[]").status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/simple/..%2f..%2fetc/",
        "/simple/..%2F..%2F..%2Fetc%2Fpasswd/",
        "/simple/%2e%2e/",
        "/simple/a%0d%0aSet-Cookie:%20x/",
        "/simple/a%00/",
        "/simple/a%20b/",
        "/simple/" + "a" * 5000 + "/",
        "/simple/%C3%A9/",
        "/simple/http:%2f%2f169.254.169.254/",
        "/files/pkg/..%2f..%2fsecret",
        "/files/pkg/%0d%0aLocation:%20http:%2f%2fevil",
        "/files/..%2fpkg/pkg-1.0-py3-none-any.whl",
        "/files/pkg/http:%2f%2f169.254.169.254%2fx.whl.metadata",
    ],
)
def test_attacks_on_names(upstream: Upstream, client: Client, tmp_path: Path, path: str) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    answer = client.get(f"{D2018}{path}")
    assert answer.status in (400, 404)
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert not [asked for asked in upstream.asked if asked != "/simple/pkg/"]
    assert {place.name for place in (tmp_path / "data").rglob("*") if place.is_file()} <= {"pkg.v1"}


@pytest.mark.parametrize(
    "date", ["..", "%2e%2e", "yesterday", "2018-13-01T00:00:00Z", "2018-01-01", "2018-01-01T00:00:00Z%0d%0a"]
)
def test_attacks_on_dates(upstream: Upstream, client: Client, date: str) -> None:
    upstream.add("pkg", "1.0", "2017-05-01T10:00:00Z")
    assert client.get(f"/{date}/simple/pkg/").status in (400, 404)


def test_what_does_not_exist_takes_no_room(upstream: Upstream, client: Client, tmp_path: Path) -> None:
    assert client.files(f"{D2018}/simple/absent/") == []
    assert not list((tmp_path / "data").rglob("absent*"))


def test_hostile_upstream_rows_are_left_out(upstream: Upstream, client: Client) -> None:
    data = b"x"
    for filename in ("../../evil-1.0.tar.gz", "evil-1.0.exe", "a\nb-1.0.tar.gz", "x" * 400 + "-1.0.tar.gz"):
        upstream.put("evil", filename, data, "2017-01-01T00:00:00Z")
    upstream.pages["evil"].append({"filename": "evil-3.0.tar.gz", "url": "file:///etc/passwd", "hashes": {}})
    upstream.pages["evil"].append(
        {"filename": "evil-4.0.tar.gz", "url": "http://u:secret@h/e-4.0.tar.gz", "hashes": {}}
    )
    assert client.files("/today/simple/evil/") == ["evil-4.0.tar.gz"]
    assert client.get("/today/files/evil/evil-4.0.tar.gz").headers["Location"] == "http://h/e-4.0.tar.gz"


def test_start_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = DatedIndex(tmp_path, "http://localhost/", socket=tmp_path / "file" / "index.sock")
    with pytest.raises(NetworkError, match="cannot listen"):
        index.start()
    index.stop()
