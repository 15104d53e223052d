"""Rows of the builder's spec (4.2, 4.3, 4.5) that concern Python, scripts and config folders, on the whole program.

`rebind run ADDRESS -- COMMAND` takes the part of "the repository's verify program as the container's command".
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import MakeRepository, git
from tests.whole.conftest import Publish
from tests.whole.programs import Hub, ask, execute, rebind

pytestmark = [pytest.mark.session, pytest.mark.network]

Files = dict[str, "str | bytes"]
Verify = Callable[..., list[str]]

VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


@pytest.fixture
def verify(data: Path, make_repository: MakeRepository) -> Verify:
    """A function that runs a shell script in the environment of a repository; its lines. Fails if the script does."""

    def verify(files: Files, script: str, *options: str, **settings: str) -> list[str]:
        path = make_repository(files)
        done = rebind("run", path, *options, "--", "/bin/sh", "-euc", script, data=data, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return verify


@pytest.fixture
def refused(data: Path, make_repository: MakeRepository) -> Callable[[Files], str]:
    """A function that gives the message with which a repository is refused."""

    def refused(files: Files) -> str:
        done = rebind("plan", make_repository(files), "--json", data=data)
        event = json.loads(done.stdout.splitlines()[-1])
        assert (done.returncode, event["phase"]) == (1, "failed")
        return str(event["message"])

    return refused


# 4.2: the test repositories


def test_v_def(verify: Verify) -> None:
    assert verify({}, f'python -c "{VERSION}"; python -c "import jupyter"; type jupyter >/dev/null') == ["3.10"]


def test_v_np(verify: Verify) -> None:
    script = f'python -c "{VERSION}"; python -c "import numpy; print(numpy.arange(3).sum())"'
    assert verify({"requirements.txt": "numpy\n"}, script) == ["3.10", "3"]


def test_v_py3(verify: Verify) -> None:
    assert verify({"runtime.txt": "python-3"}, f'python3 -c "{VERSION}"')[0].startswith("3.")


def test_v_py2(verify: Verify) -> None:
    files: Files = {"runtime.txt": "python-2.7", "requirements.txt": "numpy\n"}
    script = "python2 -c 'import sys, numpy; print(\"%d.%d\" % sys.version_info[:2]); print(numpy.arange(3).sum())'"
    assert verify(files, script) == ["2.7", "3"]


def test_v_py2k(hub: Hub, publish: Publish) -> None:
    """`requirements3.txt` is the notebook server's: seen from the session, where both environments are."""
    files = {"runtime.txt": "python-2.7", "requirements.txt": "numpy\n", "requirements3.txt": "nbgitpuller==0.6.1\n"}
    ready = hub.launch(publish("v-py2k", files))
    code = """
import subprocess, sys, numpy
print("%d.%d" % sys.version_info[:2])
try:
    import nbgitpuller
    print("in the kernel")
except ImportError:
    print("not in the kernel")
print(subprocess.call(["python3", "-c", "import nbgitpuller"]))
"""
    version, where, server = execute(ready["url"], ready["token"], code).split("\n")[:3]
    assert (version, where, server) == ("2.7", "not in the kernel", "0")


def test_v_start(verify: Verify) -> None:
    files: Files = {"start": '#!/bin/bash\nexport VARIABLE="from start"\nexec "$@"\n'}
    assert verify(files, "echo $VARIABLE") == ["from start"]


def test_v_bin(verify: Verify) -> None:
    path, here, repository, home = verify({}, "echo $PATH; pwd; echo $REPO_DIR; echo $HOME")
    assert f"{home}/.local/bin" in path.split(":")
    assert f"{repository}/.local/bin" in path.split(":")
    assert here == repository


V_PB: Files = {
    "requirements.txt": "jupyter-keepalive\n",
    "postBuild": """#!/bin/bash
set -ex
jupyter server extension disable --sys-prefix jupyter_keepalive
npm install --global configurable-http-proxy
npm cache clean --force
""",
}


def test_v_pb(verify: Verify) -> None:
    script = "command -v configurable-http-proxy; configurable-http-proxy --version; jupyter server extension list 2>&1"
    # A registry may be a mirror in this machine's own network.
    lines = verify(V_PB, script, egress_hosts="registry.npmjs.org")
    assert lines[0] == "/srv/npm/bin/configurable-http-proxy"
    listed = [line for line in lines if "jupyter_keepalive" in line and "abled" in line]
    assert listed
    assert all("disabled" in line for line in listed), lines


def test_b_gen_tools_and_user(verify: Verify) -> None:
    script = """
node --version | cut -d. -f1
npm --version >/dev/null
id -u; id -g; id -un; id -gn; echo $USER $HOME
stat -c %U $HOME
touch $HOME/new && echo written
find $HOME ! -user jovyan
pip install -q --disable-pip-version-check pytest
python -m pytest --version
"""
    *user, last = verify({"a/b": "x"}, script)
    wanted = ["v20", "1000", "1000", "jovyan", "jovyan", "jovyan /home/jovyan", "jovyan", "written"]
    assert [line for line in user if line] == wanted
    assert last.startswith("pytest ")


def test_b_gen_a_session(hub: Hub, publish: Publish) -> None:
    """(b) of 4.1, and the same tools in a session."""
    ready = hub.launch(publish("b-gen", {}))
    assert json.loads(ask(ready["url"] + "api", ready["token"])[1])["version"]
    assert ask(ready["url"] + "tree", ready["token"])[0] == 200
    script = "node --version; id -un; which jupyter-lab jupyterhub-singleuser"
    code = f"import subprocess; print(subprocess.getoutput({script!r}))"
    node, user, *servers = execute(ready["url"], ready["token"], code).split()
    assert (node.split(".")[0], user, len(servers)) == ("v20", "jovyan", 2)


def test_spec_1_16_left_overs(verify: Verify) -> None:
    """At most 1 MB in the home directory and in /tmp, whatever a build left."""
    files: Files = {"requirements.txt": "six\n", "postBuild": "pip download -q --no-deps -d /tmp/x six; touch made\n"}
    home, tmp, made = verify(files, "du -skx $HOME | cut -f1; du -skx /tmp | cut -f1; ls made")
    assert int(home) <= 1024
    assert int(tmp) <= 1024
    assert made == "made"


# 4.3: addresses and refs


@pytest.fixture(scope="module")
def requirements_repository(publish: Publish, served: Path) -> str:
    """As binder-examples/requirements: branch main on Python 3.10, a tag python-3.8 beside it."""
    url = publish("e-req", {"requirements.txt": "matplotlib\n", "runtime.txt": "python-3.8"})
    git(served / "e-req", "tag", "python-3.8")
    (served / "e-req" / "runtime.txt").write_text("python-3.10")
    git(served / "e-req", "commit", "-q", "-a", "-m", "newer", date="2024-03-02T12:00:00Z")
    return url


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        pytest.param("origin/main", "3.10", id="E-REQ-OM"),
        pytest.param("main", "3.10", id="E-REQ-M"),
        pytest.param("python-3.8", "3.8", id="E-REQ-TAG"),
    ],
)
def test_e_req(ref: str, version: str, requirements_repository: str, data: Path) -> None:
    command = ["python", "-c", f"import matplotlib.figure; {VERSION}"]
    done = rebind("run", requirements_repository, "--ref", ref, "--", *command, data=data)
    assert (done.returncode, done.stdout.strip()) == (0, version), done.stderr


@pytest.fixture(scope="module")
def long_history(publish: Publish, served: Path) -> tuple[str, list[str]]:
    """A repository of 100 commits, and their ids, oldest first."""
    url = publish("u-depth", {})
    for number in range(99):
        git(served / "u-depth", "commit", "-q", "--allow-empty", "-m", str(number))
    return url, git(served / "u-depth", "rev-list", "--reverse", "HEAD").split()


@pytest.mark.parametrize("options", [(), ("--ref", "HEAD")], ids=["no ref", "HEAD"])
def test_u_depth1(options: tuple[str, ...], long_history: tuple[str, list[str]], data: Path) -> None:
    done = rebind("run", long_history[0], *options, "--", "git", "rev-list", "--count", "HEAD", data=data)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


@pytest.mark.parametrize(("ref", "length"), [("main", 100), (-1, 100), (49, 50)], ids=["branch", "head", "middle"])
def test_u_depth2(ref: str | int, length: int, long_history: tuple[str, list[str]], data: Path) -> None:
    url, ids = long_history
    named = ids[ref] if isinstance(ref, int) else ref
    done = rebind("run", url, "--ref", named, "--", "git", "rev-list", "--count", "HEAD", data=data)
    assert (done.returncode, done.stdout.strip()) == (0, str(length)), done.stderr


# 4.5: corner cases

NO_SIX = "python -c 'import six' 2>/dev/null || echo none"
SIX = "python -c 'import six; print(six.__name__)'"


def test_o_01_empty_config_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "r" / "binder").mkdir(parents=True)
    (tmp_path / "r" / "requirements.txt").write_text("packaging\n")
    done = rebind("plan", tmp_path / "r", "--json", data=data)
    found = json.loads(done.stdout)
    assert (found["config_dir"], found["requirements"]["lines"]) == ("binder", [])


def test_o_02_file_named_binder(verify: Verify) -> None:
    assert verify({"binder": "", "requirements.txt": "six\n"}, SIX) == ["six"]


def test_o_03_commands_in_apt_txt(refused: Callable[[Files], str]) -> None:
    assert "'vim;' is not the name" in refused({"apt.txt": "vim; touch /x\n"})


def test_o_05_capitals_in_apt_txt(refused: Callable[[Files], str]) -> None:
    assert "Vim" in refused({"apt.txt": "Vim\n"})


def test_o_06_patch_version(verify: Verify) -> None:
    assert verify({"runtime.txt": "python-3.10.2"}, f'python -c "{VERSION}"') == ["3.10"]


def test_o_07_date_in_runtime_txt(verify: Verify) -> None:
    files: Files = {"runtime.txt": "python-3.10-2022-06-01", "requirements.txt": "toolz\n"}
    script = "python -c 'import toolz; print(toolz.__version__)'"
    assert verify(files, script) == ["0.11.2"]
    assert verify(files, script, "--as-of", "2023-12-01") == ["0.12.0"]  # who asks by hand knows better


def package(requires: str, dependencies: str = "") -> str:
    return f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "lab"
version = "1.0"
requires-python = "{requires}"
dependencies = [{dependencies}]
[tool.setuptools]
py-modules = ["lab"]
"""


def test_o_12_package_that_wants_a_late_patch(verify: Verify) -> None:
    files: Files = {"pyproject.toml": package(">=3.11.4"), "lab.py": ""}
    script = "cd /tmp; python -c 'import lab, sys; print(sys.version_info >= (3, 11, 4))'"
    assert verify(files, script) == ["True"]


def test_o_13_package_that_wants_one_patch(verify: Verify) -> None:
    files: Files = {"pyproject.toml": package("==3.11.5").replace("[build-system]", "[unused]")}
    assert verify(files, f'python -c "{VERSION}"') == ["3.11"]


def test_o_14_project_without_build_system(verify: Verify) -> None:
    text = '[project]\nname = "lab"\nversion = "1"\ndependencies = ["six"]\n'
    assert verify({"pyproject.toml": text}, SIX) == ["six"]


def test_o_15_nested_requirements(verify: Verify) -> None:
    files: Files = {"requirements.txt": "-r more/other.txt\n", "more/other.txt": "six\n"}
    assert verify(files, SIX) == ["six"]


def wheel() -> bytes:
    """A wheel with one module, `given`."""
    kept = io.BytesIO()
    info = "given-1.0.dist-info"
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("given.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: given\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"given.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return kept.getvalue()


def test_o_16_packages_by_path(verify: Verify) -> None:
    files: Files = {
        "requirements.txt": "./pkg\ngiven-1.0-py3-none-any.whl\n",
        "pkg/pyproject.toml": package(">=3.8", '"six"'),
        "pkg/lab.py": "",
        "given-1.0-py3-none-any.whl": wheel(),
    }
    assert verify(files, "cd /tmp; python -c 'import lab, given, six; print(lab.__name__)'") == ["lab"]


def test_o_17_requirements3_with_one_environment(verify: Verify) -> None:
    files: Files = {"runtime.txt": "python-3.7", "requirements3.txt": "six\n"}
    lines = verify(files, f'python -c "{VERSION}"; python -c "import toolz" 2>/dev/null || echo none')
    assert lines == ["3.7", "none"]


def test_o_19_post_build_without_interpreter_line(data: Path, make_repository: MakeRepository) -> None:
    path = make_repository({"postBuild": "echo $NB_USER > made.txt\n"})
    assert not (path / "postBuild").stat().st_mode & 0o111
    done = rebind("run", path, "--", "cat", "made.txt", data=data)
    assert (done.returncode, done.stdout.strip()) == (0, "jovyan"), done.stderr


def test_o_20_start_without_interpreter_line(verify: Verify) -> None:
    assert verify({"start": 'export A=b\nexec "$@"\n'}, "echo $A") == ["b"]


def test_o_22_branch_with_a_slash(publish: Publish, served: Path, data: Path) -> None:
    url = publish("o-22", {"where": "main\n"})
    git(served / "o-22", "checkout", "-q", "-b", "feature/main")
    (served / "o-22" / "where").write_text("feature/main\n")
    git(served / "o-22", "commit", "-q", "-a", "-m", "other")
    git(served / "o-22", "checkout", "-q", "main")
    for ref in ("feature/main", "main"):
        done = rebind("run", url, "--ref", ref, "--", "cat", "where", data=data)
        assert (done.returncode, done.stdout.strip()) == (0, ref), done.stderr


def test_o_30_git_folder(publish: Publish, data: Path, verify: Verify) -> None:
    url = publish("o-30", {"a": ""})
    script = (
        "git status --porcelain && echo x > a && git -c user.name=a -c user.email=a@b commit -qam x && echo committed"
    )
    done = rebind("run", url, "--", "/bin/sh", "-c", script, data=data)
    assert (done.returncode, done.stdout.strip()) == (0, "committed"), done.stderr
    assert verify({".dockerignore": ".git\n"}, "ls -A") == [".dockerignore"]


def test_u_user(verify: Verify) -> None:
    assert verify({}, "id -u; pwd; whoami; echo $USER") == ["1000", "/home/jovyan", "jovyan", "jovyan"]


def test_u_bdir(refused: Callable[[Files], str], verify: Verify) -> None:
    for folder in ("binder/", ".binder/", ""):
        files: Files = {f"{folder}requirements.txt": "six\n"}
        if folder:
            files["requirements.txt"] = "rebind-no-such-package\n"
            files["postBuild"] = "exit 1\n"
        if folder == ".binder/":
            continue
        assert verify(files, SIX) == ["six"]
        break
    assert "binder" in refused({"binder/a": "", ".binder/a": ""})
