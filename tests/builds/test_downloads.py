"""Files arrive whole, as they were locked, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import Lines, Served, serving, wheel_bytes

from rebind.builds.connections import shown
from rebind.builds.downloads import Downloads
from rebind.builds.store import Store
from rebind.errors import BuildError, NetworkError
from rebind.values import Package


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloads]:
    made = Downloads(Store(tmp_path / "store"), pause=0.0)
    yield made
    made.close()


def nothing_kept(tmp_path: Path) -> bool:
    store = tmp_path / "store"
    return not any(path for kind in ("downloads", "tmp") for path in (store / kind).iterdir())


def test_fetched_once(served: Served, downloads: Downloads) -> None:
    package = served.add()
    first = downloads.fetch(package)
    assert first.name == package.filename
    assert downloads.fetch(package) == first
    assert len(served.asked) == 1


def test_connections_are_kept(served: Served, downloads: Downloads) -> None:
    for name in "abc":
        downloads.fetch(served.add(name))
    (kept,) = downloads._client._idle.values()
    assert len(kept) == 1


def test_attack_another_file_than_the_locked_one(served: Served, downloads: Downloads, tmp_path: Path) -> None:
    package = served.add()
    served.files["/" + package.filename] = b"evil".ljust(package.size or 0)
    with pytest.raises(BuildError, match=r"tiny-1.0-py3-none-any.whl .* is not the file that was locked"):
        downloads.fetch(package)
    assert nothing_kept(tmp_path)


def test_attack_a_file_without_end(served: Served, downloads: Downloads, tmp_path: Path) -> None:
    package = served.add()
    served.files["/" + package.filename] = bytes(10_000)
    with pytest.raises(BuildError, match="larger than"):
        downloads.fetch(package)
    assert nothing_kept(tmp_path)


def test_goes_on_where_the_connection_broke(served: Served, downloads: Downloads) -> None:
    package = served.add(data=wheel_bytes(files={"x": bytes(range(256)) * 50}))
    served.cut = [100, 250]
    assert downloads.fetch(package).read_bytes() == served.files["/" + package.filename]
    assert [wanted for _, wanted in served.asked] == ["", "bytes=100-", "bytes=350-"]


def test_begins_anew_if_the_server_knows_no_ranges(served: Served, downloads: Downloads) -> None:
    package = served.add()
    served.cut, served.ranges = [100], False
    assert downloads.fetch(package).read_bytes() == served.files["/" + package.filename]


def test_server_errors_are_tried_again(served: Served, downloads: Downloads) -> None:
    package = served.add()
    served.fail = [503, 429, 500]
    downloads.fetch(package)
    assert len(served.asked) == 4


def test_server_errors_without_end(served: Served, downloads: Downloads, tmp_path: Path) -> None:
    package = served.add()
    served.fail = [503] * 9
    with pytest.raises(NetworkError, match="HTTP 503") as caught:
        downloads.fetch(package)
    assert caught.value.remedy
    assert nothing_kept(tmp_path)


def test_gone_and_refused_are_not_tried_again(served: Served, downloads: Downloads) -> None:
    package = served.add()
    served.fail = [404]
    with pytest.raises(BuildError, match="HTTP 404"):
        downloads.fetch(package)
    served.fail = [403]
    with pytest.raises(BuildError, match="refused"):
        downloads.fetch(package)
    assert len(served.asked) == 2


def test_network_away(downloads: Downloads, served: Served) -> None:
    package = replace(served.add(), url="http://127.0.0.1:1/tiny-1.0-py3-none-any.whl")
    with pytest.raises(NetworkError, match="could not be downloaded") as caught:
        downloads.fetch(package)
    assert "network" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_redirects(served: Served, downloads: Downloads) -> None:
    package = replace(served.add(), url=f"{served.url}/moved")
    served.redirects["/moved"] = "/" + package.filename
    assert downloads.fetch(package).is_file()
    served.redirects["/turn"] = "/turn"
    other = replace(served.add("other"), url=f"{served.url}/turn")
    with pytest.raises(BuildError, match="without end"):
        downloads.fetch(other)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "data:,x"])
def test_attack_redirect_to_another_scheme(served: Served, downloads: Downloads, target: str) -> None:
    package = replace(served.add(), url=f"{served.url}/moved")
    served.redirects["/moved"] = target
    with pytest.raises(BuildError, match="only http and https"):
        downloads.fetch(package)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "ftp://host/x", "https://", "git+https://x/y"])
def test_attack_by_url(downloads: Downloads, url: str) -> None:
    with pytest.raises(BuildError):
        downloads.fetch(Package("x", "1", url, "1" * 64, "x-1-py3-none-any.whl"))


@pytest.mark.parametrize("filename", ["../x.whl", "/x.whl", "a/b.whl", "", "-x.whl", "x\n.whl", "x" * 300, ".."])
def test_attack_by_file_name(downloads: Downloads, served: Served, filename: str) -> None:
    with pytest.raises(BuildError, match="file name"):
        downloads.fetch(replace(served.add(), filename=filename))
    assert served.asked == []


@pytest.mark.parametrize("sha256", ["", "1" * 63, "../" + "1" * 61, "A" * 64])
def test_attack_by_hash(downloads: Downloads, served: Served, sha256: str) -> None:
    with pytest.raises(BuildError):
        downloads.fetch(replace(served.add(), sha256=sha256))


def test_credentials_stay_out_of_logs(served: Served, downloads: Downloads) -> None:
    secret = served.url.replace("http://", "http://user:hunter2@")
    package = replace(served.add(), url=f"{secret}/absent?token=hunter2#hunter2")
    with pytest.raises(BuildError) as caught:
        downloads.fetch(package)
    assert "hunter2" not in caught.value.text()
    assert shown("https://u:p@host:8/a?b#c") == "https://host:8/a"


def test_everything_goes_through_the_proxy(served: Served, tmp_path: Path) -> None:
    """The server stands for the proxy: it is asked for the whole address of a host that does not exist."""
    package = served.add()
    served.files[f"http://pypi.rebind.internal/{package.filename}"] = served.files.pop("/" + package.filename)
    through = Downloads(Store(tmp_path / "store"), served.url, pause=0.0)
    through.fetch(replace(package, url=f"http://pypi.rebind.internal/{package.filename}"))
    assert served.asked == [(f"http://pypi.rebind.internal/{package.filename}", "")]
    through.close()


def test_large_files_are_announced(served: Served, downloads: Downloads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebind.builds.downloads.SAID_ALONE", 1)
    lines = Lines()
    downloads.fetch(served.add(), lines.say)
    assert "Downloading tiny-1.0-py3-none-any.whl (0.0 MB)" in lines
