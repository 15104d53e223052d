"""Chromium as a visitor uses it: what is seen, typed and pressed, what the console says, which hosts are asked."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

Found = TypeVar("Found")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--window-size=1500,900",
)  # fmt: skip


class Chromium:
    """A browser window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def wait(self, see: Callable[[], Found], what: str, timeout: float = 60) -> Found:
        """Looks until it sees something; fails with what the page shows."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            try:
                if found := see():
                    return found
            except WebDriverException:  # the page is just changing
                pass
            time.sleep(0.1)
        shown = self.driver.find_element(By.TAG_NAME, "body").text[:2000]
        pytest.fail(
            f"{what} was not seen within {timeout:.0f} s at {self.driver.current_url}; the page shows:\n{shown}"
        )

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def press(self, *keys: str, hold: str = "") -> None:
        """Presses keys wherever the focus is."""
        actions = ActionChains(self.driver)
        for held in hold:
            actions.key_down(held)
        actions.send_keys(*keys)
        for held in hold:
            actions.key_up(held)
        actions.perform()

    def focused(self) -> str:
        return self.driver.switch_to.active_element.get_attribute("id") or ""

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        script = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
        return int(self.driver.execute_script(script))

    def forget(self) -> None:
        """Drops what the logs hold so far, and what the page of an earlier test still does."""
        self.driver.get("about:blank")
        for name in ("browser", "performance"):
            self.driver.get_log(name)

    def complaints(self) -> list[str]:
        """Errors of the console since `forget`."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def origins(self) -> set[str]:
        """`host:port` of all requests and websockets since `forget`."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            url = ""
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
            elif message["method"] == "Network.webSocketCreated":
                url = message["params"]["url"]
            if url.startswith(("http", "ws")):
                found.add(urlsplit(url).netloc)
        return found

    @contextmanager
    def phone(self, *, dark: bool) -> Iterator[None]:
        """A small screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


class Lab(Chromium):
    """JupyterLab, or the classic page, in the window."""

    def wait_for_notebook(self) -> None:
        self.wait(lambda: self.all(".jp-Notebook .jp-CodeCell"), "a notebook")
        # Before it has asked for a kernel it calls "No Kernel" idle.
        self.wait(lambda: "Python" in self.text(".jp-KernelName"), "the kernel's name")
        self.wait(lambda: self.all(".jp-Notebook-ExecutionIndicator[data-status=idle]"), "an idle kernel")
        # JupyterLab puts the focus there when all is loaded; keys that are pressed earlier go elsewhere.
        self.wait(lambda: self.all(".jp-Notebook .jp-Cell:focus-within"), "the focus in the notebook")

    def run_by_keyboard(self, cells: int) -> None:
        """Shift-Enter in each cell, from the first; returns when all have run."""
        for _ in range(cells):
            self.press(Keys.ENTER, hold=Keys.SHIFT)
        self.wait(lambda: self._ran(cells), f"the end of {cells} cells")

    def _ran(self, cells: int) -> bool:
        prompts = self.prompts()
        return len(prompts) >= cells and all(prompt.strip("[]:").isdigit() for prompt in prompts[:cells])

    def prompts(self) -> list[str]:
        return [each.text.strip() for each in self.all(".jp-Notebook .jp-CodeCell .jp-InputPrompt")]

    def outputs(self) -> list[str]:
        return [each.text.strip() for each in self.all(".jp-Notebook .jp-OutputArea-output")]

    def errors(self) -> list[str]:
        return [each.text for each in self.all("[data-mime-type='application/vnd.jupyter.error']")]


@contextmanager
def chromium() -> Iterator[Lab]:
    """A new one, with nothing remembered."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Lab(driver)
    finally:
        driver.quit()
