"""The pages in a real browser, behind the real proxy: what scripts do, and that nothing of a stranger's runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_hub import SETTINGS, ScriptedHub, Served, ready
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from rebind.routes.process import ProxyProcess
from rebind.values import Event, Phase

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="chromium and chromedriver are not installed"),
]
Browser = webdriver.Chrome
EVIL = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
SPEC = "/v2/git/https%3A%2F%2Fexample.org%2Flab.git/HEAD"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                     "--no-proxy-server", "--window-size=1200,1000"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


class Site:
    """A hub with a script behind a proxy; the hub's web application can go away and come back."""

    def __init__(self, directory: Path) -> None:
        self.hub = ScriptedHub()
        self._socket = directory / "hub.sock"
        sqlite3.connect(directory / "rebind.db").close()
        self._proxy = ProxyProcess("127.0.0.1", 0, directory / "rebind.db", self._socket, directory / "run")
        self._proxy.start()
        self.url = self._proxy.url
        self.appear()

    def appear(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._served = Served(self.hub, SETTINGS, self._socket).start()

    def vanish(self) -> None:
        self._served.stop()
        self._served._thread.join(10)

    def stop(self) -> None:
        self.vanish()
        self._proxy.stop()


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    browser.get_log("browser")  # what an earlier test left
    yield site
    site.stop()


def wait(browser: Browser, until: Callable[[Browser], object]) -> None:
    WebDriverWait(browser, 20, poll_frequency=0.05).until(until)


def complaints(browser: Browser) -> list[str]:
    """Errors of the console, but for the answers of a session that is not there."""
    return [entry["message"] for entry in browser.get_log("browser") if "/user/" not in entry["message"]]


def test_form_to_session(browser: Browser, site: Site) -> None:
    site.hub.script = [Event(Phase.BUILDING, "line\n"), ready(f"{site.url}/user/ada-1/")]
    browser.get(site.url)
    browser.find_element(By.ID, "address").send_keys("https://example.org/lab.git")
    browser.find_element(By.ID, "path").send_keys("a b.ipynb")
    expected = f"{site.url}{SPEC}?labpath=a%20b.ipynb"
    wait(browser, lambda b: b.find_element(By.ID, "out-url").get_property("value") == expected)
    assert expected in browser.find_element(By.ID, "out-markdown").get_property("value")
    browser.find_element(By.ID, "go").click()
    wait(browser, lambda b: b.current_url == f"{site.url}/user/ada-1/doc/tree/a%20b.ipynb?token=T0KEN")
    assert site.hub.asked[0]["origin"] == f"{site.url}/"
    assert site.hub.asked[0]["client"] == "127.0.0.1"
    assert complaints(browser) == []


def test_a_bad_address_is_said(browser: Browser, site: Site) -> None:
    browser.get(site.url)
    browser.find_element(By.ID, "address").send_keys("what is this")
    browser.find_element(By.ID, "go").click()
    wait(browser, lambda b: "not the address of a repository" in b.find_element(By.ID, "problem").text)


def test_log_lines_are_text(browser: Browser, site: Site) -> None:
    site.hub.script = [Event(Phase.BUILDING, f"\x1b[31m{EVIL}\x1b[0m\n"), Event(Phase.BUILDING, "1%\r99%\n"), None]
    browser.get(f"{site.url}/v2/git/%3Cscript%3Edocument.title=1%3C%2Fscript%3E/HEAD")
    wait(browser, lambda b: "99%" in b.find_element(By.ID, "log").text)
    log = browser.find_element(By.ID, "log")
    assert log.text.split("\n")[0] == EVIL
    assert "\n1%" not in log.text
    assert log.find_elements(By.TAG_NAME, "img") == []
    assert browser.title.startswith("Git repository: <script>")
    assert complaints(browser) == []


def test_a_failure_says_what_and_what_to_do(browser: Browser, site: Site) -> None:
    site.hub.script = [Event(Phase.BUILDING, "line\n"), Event(Phase.FAILED, "postBuild failed.\nCorrect it.\n")]
    browser.get(site.url + SPEC)
    wait(browser, lambda b: b.find_element(By.ID, "state").text == "postBuild failed.")
    assert browser.find_element(By.ID, "remedy").text == "Correct it."
    assert browser.find_element(By.CSS_SELECTOR, "[data-step=build]").get_attribute("data-state") == "failed"
    site.hub.script = [ready(f"{site.url}/user/ada-1/")]
    browser.find_element(By.ID, "again").click()
    wait(browser, lambda b: "/user/ada-1/" in b.current_url)
    assert len(site.hub.asked) == 2


def test_a_page_that_is_loaded_again_does_not_launch_again(browser: Browser, site: Site) -> None:
    site.hub.script = [Event(Phase.BUILDING, "line\n"), None]
    browser.get(site.url + SPEC)
    for _ in range(2):
        wait(browser, lambda b: "line" in b.find_element(By.ID, "log").text)
        browser.refresh()
    wait(browser, lambda b: "line" in b.find_element(By.ID, "log").text)
    assert len(site.hub.asked) == 1


def test_a_hub_that_restarts_does_not_end_the_watching(browser: Browser, site: Site) -> None:
    site.hub.script = [Event(Phase.BUILDING, "first\n"), None]
    browser.get(site.url + SPEC)
    wait(browser, lambda b: "first" in b.find_element(By.ID, "log").text)
    site.vanish()
    wait(browser, lambda b: "connection was lost" in b.find_element(By.ID, "state").text)
    site.hub.script = [Event(Phase.BUILDING, "first\n"), Event(Phase.BUILDING, "second\n"), None]
    site.appear()
    wait(browser, lambda b: "second" in b.find_element(By.ID, "log").text)
    assert browser.find_element(By.ID, "log").text.count("first") == 1
    assert len(site.hub.asked) == 1
