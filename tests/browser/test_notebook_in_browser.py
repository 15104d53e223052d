"""From the form to a running notebook, as a visitor sees it: a real hub, a real session, a real browser."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from selenium.webdriver.common.keys import Keys
from tests.browser.chromium import Lab
from tests.browser.conftest import CELLS, SLIDER, UNUSUAL, notebook, put
from tests.whole.programs import Hub, ask, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.session, pytest.mark.network, pytest.mark.timeout(300)]

BUILT = 240.0
"""Seconds; the first launch installs the notebook server too."""


class Opened:
    """A session of the repository, opened without the launch page."""

    def __init__(self, ready: dict[str, str]) -> None:
        self.url, self.token = ready["url"], ready["token"]

    def at(self, path: str) -> str:
        return f"{self.url}{path}{'&' if '?' in path else '?'}token={self.token}"

    def read(self, path: str) -> str:
        """Content of a file of the session, '' if it is not there."""
        status, body = ask(self.at(f"api/contents/{quote(path)}?type=file&format=text"))
        return str(json.loads(body)["content"]) if status == 200 else ""


@pytest.fixture(scope="module")
def opened(hub: Hub, repository: str) -> Opened:
    return Opened(hub.launch(repository))


@pytest.fixture(scope="module")
def broken(served: Path, git_url: str) -> str:
    """A repository that cannot be built."""
    put(served, "broken", {"requirements.txt": "six==77\n"})
    return f"{git_url}/broken"


def link(hub: Hub, repository: str, query: str = "") -> str:
    return f"{hub.url}/v2/git/{quote(repository, safe='')}/HEAD{query}"


def test_from_the_form_to_a_run_notebook_by_keyboard(browser: Lab, hub: Hub, repository: str) -> None:
    browser.driver.get(hub.url)
    assert browser.focused() == "address"
    browser.press(repository, Keys.TAB, Keys.TAB)
    assert browser.focused() == "path"
    browser.press("index.ipynb")
    browser.wait(lambda: "labpath=index.ipynb" in browser.one("#out-url").get_property("value"), "the link")
    browser.press(Keys.TAB, Keys.TAB)
    if browser.focused() != "go":
        browser.press(Keys.TAB)
    assert browser.focused() == "go"
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.all("#log div"), "a line of the log")
    browser.wait(lambda: "/user/" in browser.driver.current_url, "the session", BUILT)
    browser.wait_for_notebook()
    browser.run_by_keyboard(len(CELLS))
    assert browser.errors() == []
    assert browser.outputs()[0] == "42 42"
    assert browser.all(".jp-OutputArea-output img[src^='data:image/png']")
    assert browser.all(".jp-OutputArea-output .widget-slider")
    assert not browser.all(".Toastify__toast, .jp-Dialog")
    assert browser.origins() == {urlsplit(hub.url).netloc}
    assert browser.complaints() == []


def test_a_widget_moves_the_value_in_the_kernel(browser: Lab, opened: Opened) -> None:
    browser.driver.get(opened.at("doc/tree/index.ipynb"))
    browser.wait_for_notebook()
    browser.run_by_keyboard(len(CELLS))
    handle = browser.wait(lambda: browser.all(".widget-slider .noUi-handle"), "the slider")[0]
    handle.click()
    browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.wait(lambda: browser.text(".widget-slider .widget-readout") == "5", "the moved slider")
    wait_until(lambda: opened.read("moved.txt") == "5", what="the value in the kernel")
    assert browser.complaints() == []


def test_widgets_of_an_older_day_are_shown(browser: Lab, hub: Hub, served: Path, git_url: str) -> None:
    """What came with ipywidgets 7 then is not for the JupyterLab of today."""
    files = {"requirements.txt": "ipywidgets==7.7.2\n", "index.ipynb": notebook(SLIDER)}
    put(served, "older", files, date="2023-03-01T12:00:00Z")
    older = Opened(hub.launch(f"{git_url}/older"))
    browser.driver.get(older.at("doc/tree/index.ipynb"))
    browser.wait_for_notebook()
    browser.run_by_keyboard(1)
    browser.wait(lambda: browser.all(".jp-OutputArea-output .widget-slider"), "the slider")
    assert browser.errors() == []
    assert browser.complaints() == []


def test_what_is_saved_is_there_after_a_reload(browser: Lab, opened: Opened) -> None:
    browser.driver.get(opened.at(f"doc/tree/{quote(UNUSUAL)}"))
    browser.wait_for_notebook()
    browser.press(Keys.ESCAPE, "b", Keys.ENTER)
    browser.press("print('kept', 7 * 11)")
    browser.press(Keys.ENTER, hold=Keys.SHIFT)
    browser.wait(lambda: "kept 77" in browser.outputs(), "the output")
    browser.press("s", hold=Keys.CONTROL)
    wait_until(lambda: "kept 77" in opened.read(UNUSUAL), what="saving")
    browser.driver.refresh()
    browser.wait_for_notebook()
    browser.wait(lambda: "kept 77" in browser.outputs(), "the kept output")
    assert browser.complaints() == []


def test_a_terminal_takes_commands(browser: Lab, opened: Opened) -> None:
    browser.driver.get(opened.at("lab/tree/index.ipynb"))
    browser.wait(lambda: browser.all(".jp-NotebookPanel"), "the notebook")
    browser.driver.get(opened.at("terminals/one"))
    browser.wait(lambda: browser.all(".jp-Terminal .xterm-helper-textarea"), "a terminal")[0].click()
    wait_until(lambda: json.loads(ask(opened.at("api/terminals"))[1]), what="the terminal's shell")
    browser.press("echo $((6 * 7)) $USER $(pwd) > said.txt", Keys.ENTER)
    wait_until(lambda: opened.read("said.txt") == "42 jovyan /home/jovyan\n", what="the command")


def test_the_classic_page(browser: Lab, hub: Hub, repository: str) -> None:
    browser.driver.get(link(hub, repository, "?filepath=index.ipynb"))
    browser.wait(lambda: "/user/" in browser.driver.current_url, "the session", BUILT)
    browser.wait_for_notebook()
    assert "/notebooks/index.ipynb" in browser.driver.current_url
    browser.run_by_keyboard(len(CELLS))
    assert browser.outputs()[0] == "42 42"
    assert browser.errors() == []
    assert browser.origins() == {urlsplit(hub.url).netloc}


def test_the_classic_file_list(browser: Lab, opened: Opened) -> None:
    browser.driver.get(opened.at("tree"))
    browser.wait(lambda: "index.ipynb" in browser.text("body"), "the list of files")


@pytest.mark.parametrize(
    ("query", "place"),
    [
        (f"?labpath={quote(UNUSUAL)}", "doc/tree"),
        (f"?urlpath={quote('lab/tree/' + UNUSUAL, safe='')}", "lab/tree"),
        (f"?urlpath=/lab/tree/{quote(UNUSUAL)}", "lab/tree"),
    ],
    ids=["labpath", "urlpath", "urlpath with a slash"],
)
def test_links_to_a_notebook_with_an_unusual_name(
    browser: Lab, hub: Hub, repository: str, query: str, place: str
) -> None:
    browser.driver.get(link(hub, repository, query))
    browser.wait(lambda: "/user/" in browser.driver.current_url, "the session", BUILT)
    browser.wait_for_notebook()
    assert unquote(urlsplit(browser.driver.current_url).path).endswith(f"/{place}/{UNUSUAL}")
    assert "print('grün', 6 * 7)" in browser.text(".jp-Notebook")


def test_a_failed_build_is_told_and_its_log_stays(browser: Lab, hub: Hub, broken: str) -> None:
    browser.driver.get(link(hub, broken))
    browser.wait(lambda: browser.text("#kicker").lower() == "not launched", "the failure", BUILT)
    assert "six" in browser.text("#launch section:first-of-type")
    assert "Traceback" not in browser.text("body")
    assert browser.text("#log").count("\n") > 1
    assert browser.focused() == "again"
    assert browser.one("[data-step=build]").get_attribute("data-state") == "failed"
    assert browser.one("#change").get_attribute("href") == f"{hub.url}/"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_fit_a_phone(browser: Lab, hub: Hub, repository: str, broken: str, dark: bool) -> None:
    address = f"{hub.url}/?address={quote(repository, safe='')}%2F{'long' * 30}&path={quote(UNUSUAL)}"
    with browser.phone(dark=dark):
        for url in (hub.url, address, link(hub, broken), f"{hub.url}/about", f"{hub.url}/nothing"):
            browser.driver.get(url)
            if url == link(hub, broken):
                browser.wait(lambda: browser.text("#kicker").lower() == "not launched", "the failure", BUILT)
            assert browser.overflow() <= 0, url
            script = "return getComputedStyle(document.body).backgroundColor"
            red = int(re.findall(r"\d+", browser.driver.execute_script(script))[0])
            assert (red < 60) is dark


def test_without_scripts_the_launch_page_leads_to_the_session(hub: Hub, repository: str) -> None:
    """Follows redirects and `<meta http-equiv=refresh>`, and nothing else."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    url = link(hub, repository, "?labpath=index.ipynb")
    until = time.monotonic() + BUILT
    while "/user/" not in url:
        assert time.monotonic() < until, url
        with opener.open(url, timeout=60) as answer:
            url, page = answer.url, answer.read().decode()
        refresh = re.search(r'<meta http-equiv="refresh" content="(\d+)(?:; url=([^"]*))?"', page)
        if refresh:
            time.sleep(min(int(refresh[1]), 1))
            url = urljoin(url, unescape(refresh[2] or ""))
        elif "/user/" not in url:
            pytest.fail(page)
    assert "/doc/tree/index.ipynb" in url
    assert "jupyter-config-data" in page
