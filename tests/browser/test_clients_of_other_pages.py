"""Published clients of BinderHub, unmodified, against our hub: thebe on a page of another origin, binderhub-client in
node (launch-api 2.1, 2.2)."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from tests.browser.chromium import Lab
from tests.browser.conftest import put
from tests.whole.programs import Hub, ask, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.session,
    pytest.mark.network,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed (Debian: npm)"),
]
BUILT = 240.0
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A book</title>
<script type="text/x-thebe-config">%s</script><link rel="stylesheet" href="lib/thebe.css">
<script src="lib/index.js"></script></head>
<body><div class="thebe-activate"></div><div class="thebe-status"></div>
<pre data-executable="true" data-language="python">print(6 * 7)</pre>
<pre data-executable="true" data-language="python">import six; six.__version__</pre></body></html>"""
CLIENT = """
globalThis.window = globalThis;
globalThis.document = { cookie: "", addEventListener() {}, removeEventListener() {} };
const { BinderRepository } = await import("@jupyterhub/binderhub-client/client.js");
const [spec, build, buildOnly] = process.argv.slice(2);
const repository = new BinderRepository(spec, new URL(build), { buildOnly: buildOnly === "true" });
for await (const event of repository.fetch()) {
  console.log(JSON.stringify(event));
  if (["ready", "failed"].includes(event.phase)) repository.close();
}
process.exit(0);
"""


def npm(folder: Path, *arguments: str) -> None:
    command = ["npm", *arguments, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with thebe in it, and the URL where another server than ours serves it."""
    folder = tmp_path_factory.mktemp("site")
    npm(folder, "pack", "thebe@0.9.3")
    # Not `npm install`: the bundle has all of its dependencies in it.
    subprocess.run(["tar", "-xzf", "thebe-0.9.3.tgz", "--strip-components=1"], cwd=folder, check=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def write_page(folder: Path, hub: Hub, repository: str, *, saved: bool = False) -> None:
    config = {
        "bootstrap": True,
        "requestKernel": True,
        "binderOptions": {"binderUrl": hub.url, "repo": repository, "repoProvider": "git", "ref": "HEAD"},
        "savedSessionOptions": {"enabled": saved},
    }
    (folder / "book.html").write_text(PAGE % json.dumps(config))


def run_cells(browser: Lab) -> None:
    """Waits for a kernel (before, thebe drops clicks) and runs both cells."""
    browser.wait(lambda: len(browser.all(".thebe-run-button")) == 2, "thebe's buttons")
    browser.wait(lambda: "kernel connected" in browser.text(".thebe-status").lower(), "the kernel", BUILT)
    for button in browser.all(".thebe-run-button"):
        button.click()
    browser.wait(lambda: "42" in [each.text.strip() for each in browser.all(".jp-OutputArea-output")], "42")
    browser.wait(lambda: len(browser.all(".jp-OutputArea-output")) == 2, "the second output")


def test_thebe_runs_cells_of_a_page_elsewhere(browser: Lab, hub: Hub, repository: str, site: tuple[Path, str]) -> None:
    write_page(site[0], hub, repository)
    browser.driver.get(f"{site[1]}/book.html")
    run_cells(browser)
    assert browser.errors() == []
    assert urlsplit(hub.url).netloc in browser.origins()


def test_a_saved_session_of_thebe_is_used_again_and_a_dead_one_is_dropped(
    browser: Lab, hub: Hub, repository: str, site: tuple[Path, str]
) -> None:
    def kept() -> str:
        script = (
            "return Object.entries(localStorage).filter(([name]) => name.startsWith('thebe-binder')).map(e => e[1])[0]"
        )
        return str(json.loads(browser.driver.execute_script(script))["baseUrl"])

    write_page(site[0], hub, repository, saved=True)
    browser.driver.get(f"{site[1]}/book.html")
    run_cells(browser)
    first = kept()
    browser.driver.refresh()
    run_cells(browser)
    assert kept() == first
    token = browser.driver.execute_script(
        "return JSON.parse(Object.values(localStorage).find(t => t.includes('baseUrl'))).token"
    )
    assert ask(f"{first}api/shutdown", token, "POST")[0] == 200
    wait_until(lambda: ask(f"{first}api/status", token)[0] != 200, what="the end of the session")
    browser.driver.refresh()
    run_cells(browser)
    assert kept() != first


def client(folder: Path, hub: Hub, spec: str, *, build_only: bool = False) -> list[dict[str, str]]:
    """Events that the npm client gives."""
    (folder / "client.mjs").write_text(CLIENT)
    command = ["node", "client.mjs", spec, f"{hub.url}/build/", str(build_only).lower()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILT)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client installed."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    npm(folder, "install", "@jupyterhub/binderhub-client@0.5.0")
    return folder


def spec_of(repository: str, ref: str = "HEAD") -> str:
    return f"git/{quote(repository, safe='')}/{ref}"


def test_the_npm_client_follows_a_new_and_a_known_build(hub: Hub, served: Path, git_url: str, node: Path) -> None:
    put(served, "fresh", {"requirements.txt": "iniconfig\n"})
    events = client(node, hub, spec_of(f"{git_url}/fresh"))
    phases = [event["phase"] for event in events]
    assert (phases[0], phases[-1]) == ("waiting", "ready")
    assert phases.index("fetching") < phases.index("building") < phases.index("built") < phases.index("launching")
    assert events[-1]["url"].startswith(f"{hub.url}/user/")
    assert events[-1]["token"]
    known = [event["phase"] for event in client(node, hub, spec_of(f"{git_url}/fresh"))]
    assert (known[0], known[-1], set(known[1:-1])) == ("built", "ready", {"launching"})


def test_the_npm_client_is_told_what_failed(hub: Hub, git_url: str, node: Path) -> None:
    events = client(node, hub, spec_of(f"{git_url}/nothing-here"))
    assert [event["phase"] for event in events if event["phase"] != "waiting"] == ["failed"]
    assert "Could not resolve ref for" in events[-1]["message"]


def test_the_npm_client_is_told_that_nothing_is_only_built_here(hub: Hub, repository: str, node: Path) -> None:
    events = client(node, hub, spec_of(repository), build_only=True)
    assert [event["phase"] for event in events] == ["failed"]
    assert "Building but not launching is not permitted" in events[-1]["message"]
