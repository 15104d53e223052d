"""Lock files of somebody who means harm: none may lead out of the repository or the public network, or take long."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.errors import RecipeError
from rebind.recipes import plan
from rebind.recipes.inline import _blocks
from rebind.recipes.pins import check_host
from rebind.recipes.poetry_versions import alternatives, fitting, python_marker
from rebind.recipes.toml import read_toml
from rebind.recipes.where import Where

A = "a" * 64
SHA = "1" * 40


def uv(source: str, more: str = "") -> dict[str, str]:
    text = '[[package]]\nname = "root"\nsource = { virtual = "." }\ndependencies = [{ name = "x" }]\n'
    text += f'[[package]]\nname = "x"\nversion = "1"\nsource = {source}\n{more}'
    return {"uv.lock": f"version = 1\n{text}"}


def pylock(entry: str) -> dict[str, str]:
    return {"pylock.toml": f'lock-version = "1.0"\n[[packages]]\nname = "x"\n{entry}'}


def poetry(entry: str) -> dict[str, str]:
    text = f'[[package]]\nname = "x"\nversion = "1"\ngroups = ["main"]\n{entry}\n[metadata]\nlock-version = "2.1"\n'
    return {"poetry.lock": text}


def pdm(entry: str) -> dict[str, str]:
    head = '[metadata]\nlock_version = "4.5.0"\nstrategy = ["inherit_metadata"]\n'
    return {"pdm.lock": f'{head}[[package]]\nname = "x"\nversion = "1"\ngroups = ["default"]\n{entry}\n'}


def pipenv(entry: object) -> dict[str, str]:
    return {"Pipfile.lock": json.dumps({"_meta": {"pipfile-spec": 6, "sources": []}, "default": {"x": entry}})}


def file(url: str, name: str = "x-1-py3-none-any.whl") -> str:
    return f'{{ name = "{name}", url = "{url}", hashes = {{ sha256 = "{A}" }} }}'


PRIVATE = (
    *("http://127.0.0.1/x-1.zip", "http://localhost/x-1.zip", "http://a.localhost./x-1.zip", "http://10.0.0.1/x-1.zip"),
    *("http://169.254.169.254/latest/x-1.zip", "http://[::1]/x-1.zip", "http://[fe80::1]/x-1.zip", "http://0/x-1.zip"),
    *("http://2130706433/x-1.zip", "http://0x7f000001/x-1.zip", "http://0177.0.0.1/x-1.zip", "http://127.1/x-1.zip"),
    *("http://[::ffff:127.0.0.1]/x-1.zip", "http://100.64.0.1/x-1.zip", "http://user@127.0.0.1/x-1.zip"),
)
STRANGE = ("file:///etc/x-1.zip", "ftp://h.org/x-1.zip", "//h.org/x-1.zip", "x-1.zip", "http:///x-1.zip", "-h", "")
CHECKOUTS = (
    *("https://127.0.0.1/x", "file:///etc", "-oProxyCommand=x", "ssh://-oProxyCommand=x/y", "ext::sh -c x", "/etc", ""),
)
OUTSIDE = ("..", "../x", "/etc", "~root", "a/../../x", "link", "absent", "")


@pytest.mark.parametrize("url", [*PRIVATE, *STRANGE])
def test_files_are_of_the_public_network(repository, url):
    wheels = f'wheels = [{{ url = "{url}", hash = "sha256:{A}" }}]\n'
    for files in (
        uv('{ registry = "https://pypi.org/simple" }', wheels),
        uv(f'{{ url = "{url}" }}', f'sdist = {{ hash = "sha256:{A}" }}\n'),
        pylock(f"wheels = [{file(url)}]"),
        pylock(f'version = "1"\narchive = {file(url, "x-1.zip")}'),
        pdm(f'files = [{{ file = "x-1.zip", url = "{url}", hash = "sha256:{A}" }}]') if url else {"pdm.lock": "x"},
        poetry(
            f'files = [{{ file = "x-1.zip", hash = "sha256:{A}" }}]\n'
            f'[package.source]\ntype = "{"url" if url else "x"}"\nurl = "{url}"'
        ),
    ):
        with pytest.raises(RecipeError) as caught:
            plan(repository(files))
        assert next(iter(files)) in str(caught.value)
        for name in files:
            (repository({}) / name).unlink()


@pytest.mark.parametrize("url", CHECKOUTS)
def test_checkouts_are_of_the_public_network(repository, url):
    for files in (
        uv(f'{{ git = "{url}#{SHA}" }}'),
        pylock(f'vcs = {{ type = "git", url = "{url}", commit-id = "{SHA}" }}'),
        poetry(f'[package.source]\ntype = "git"\nurl = "{url}"\nresolved_reference = "{SHA}"'),
        pdm(f'git = "{url}"\nrevision = "{SHA}"'),
        pipenv({"git": url, "ref": SHA}),
    ):
        with pytest.raises(RecipeError):
            plan(repository(files))
        for name in files:
            (repository({}) / name).unlink()


@pytest.mark.parametrize("commit", ["main", "", "1" * 39, "-x", f"{SHA};x", "HEAD"])
def test_a_checkout_without_a_commit_is_no_lock(repository, commit):
    for files in (
        uv(f'{{ git = "https://h.org/x#{commit}" }}'),
        pylock(f'vcs = {{ type = "git", url = "https://h.org/x", commit-id = "{commit}" }}'),
        pipenv({"git": "https://h.org/x", "ref": commit}),
    ):
        with pytest.raises(RecipeError, match="not fixed to a commit"):
            plan(repository(files))
        for name in files:
            (repository({}) / name).unlink()


def test_credentials_of_an_address_are_left_out(repository):
    found = plan(repository(uv(f'{{ git = "https://me:secret@h.org/x?subdirectory=y#{SHA}" }}')))
    assert found.pinned is not None
    assert found.pinned.packages[1].checkout == f"git+https://h.org/x@{SHA}#subdirectory=y"


@pytest.mark.parametrize("folder", ["../x", "/etc", "-x", "a/../../b", "a b", "$(x)"])
def test_a_folder_of_a_checkout_stays_in_it(repository, folder):
    with pytest.raises(RecipeError):
        plan(repository(uv(f'{{ git = "https://h.org/x?subdirectory={folder}#{SHA}" }}')))


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_stay_in_the_repository(repository, path):
    for files in (
        {**uv(f'{{ editable = "{path}" }}'), "uv.lock": uv(f'{{ editable = "{path}" }}')["uv.lock"]},
        pylock(f'directory = {{ path = "{path}" }}'),
        pylock(f'archive = {{ path = "{path}", hashes = {{ sha256 = "{A}" }} }}'),
        poetry(f'[package.source]\ntype = "directory"\nurl = "{path}"'),
        pdm(f'path = "{path}"'),
        pipenv({"path": path, "editable": True}),
        {"Pipfile": f'[packages]\nx = {{ path = "{path}" }}'},
    ):
        root = repository(files)
        if not (root / "link").is_symlink():
            (root / "link").symlink_to("/etc")
        with pytest.raises(RecipeError):
            plan(root)
        for name in files:
            (root / name).unlink()


PYLOCK = 'lock-version = "1.0"\n[[packages]]\nname = "x"\n'
WRONG: dict[str, list[str]] = {
    "uv.lock": [
        *("", "x", "version = 2", "version = 1\npackage = 1", "version = 1\npackage = [1]", "version = 1\n[package]"),
        *("version = 1\n[[package]]", 'version = 1\n[[package]]\nname = "x"', 'version = 1\n[[package]]\nname = 1'),
        'version = 1\n[[package]]\nname = "../x"\nversion = "1"\nsource = {registry = "r"}',
        'version = 1\n[[package]]\nname = "x"\nversion = "1;y"\nsource = {registry = "r"}',
        'version = 1\n[[package]]\nname = "x"\nversion = ["1"]\nsource = {virtual = "."}',
        'version = 1\n[[package]]\nname = "x"\nsource = "."',
        'version = 1\n[[package]]\nname = "x"\nsource = {virtual = "."}\ndependencies = [1]',
        'version = 1\n[[package]]\nname = "x"\nsource = {virtual = "."}\ndependencies = [{name="x", marker="x"}]',
        'version = 1\nrequires-python = "x"',
        "version = 1\nmanifest = 1",
    ],
    "pylock.toml": [
        *("", "lock-version = 1", 'lock-version = "2.0"', 'lock-version = "1.0"\npackages = {}'),
        'lock-version = "1.0"\n[[packages]]',
        'lock-version = "1.0"\n[[packages]]\nname = "x"',
        'lock-version = "1.0"\n[[packages]]\nname = "x"\nwheels = 1',
        f'{PYLOCK}wheels = [{{ path = "x-1-py3-none-any.whl", hashes = {{sha256="{A}"}} }}]',
        f'{PYLOCK}wheels = [{{ url = "", name = "x-1-py3-none-any.whl", hashes = {{sha256="{A}"}} }}]',
        PYLOCK + 'wheels = [{ url = "https://h.org/x-1-py3-none-any.whl" }]',
        PYLOCK + 'wheels = [{ url = "https://h.org/x-1-py3-none-any.whl", hashes = {sha256="x"} }]',
        'lock-version = "1.0"\n[[packages]]\nname = "x"\nvcs = { type = "hg", url = "https://h.org/x" }',
        'lock-version = "1.0"\nenvironments = ["x"]',
        'lock-version = "1.0"\ndefault-groups = [1]',
        'lock-version = "1.0"\ntool = 1',
    ],
    "poetry.lock": [
        *("[metadata]\nlock-version = 1", '[metadata]\nlock-version = "3.0"', "metadata = 1", "package = 1"),
        '[[package]]\nname = "x"\nversion = "1"',
        '[[package]]\nname = "x"\nversion = "1"\nfiles = [{file = "x", hash = "md5:1"}]',
        f'[[package]]\nname = "x"\nversion = "1"\nfiles = [{{file = "../x.whl", hash = "sha256:{A}"}}]',
        '[[package]]\nname = "x"\nversion = "1"\n[package.source]\ntype = "svn"\nurl = "https://h.org"',
        f'[[package]]\nname = "x"\nversion = "1"\nfiles = [{{file = "x-1.zip", hash = "sha256:{A}"}}]\n'
        "[package.dependencies]\ny = 1",
    ],
    "pdm.lock": [
        *("[metadata]", '[metadata]\nlock_version = "5"', '[metadata]\nlock_version = "4.5"', "metadata = 1"),
        'package = 1\n[metadata]\nlock_version = "4.5"\nstrategy = ["inherit_metadata"]',
    ],
    "Pipfile.lock": [
        *("", "x", "[]", "1", '{"default": 1}', '{"default": {"x": 1}}', '{"default": {"x": {}}}', '{"_meta": []}'),
        *('{"default": {"x": {"version": "*"}}}', '{"default": {"x": {"version": ">=1"}}}'),
        '{"_meta": {"sources": 1}}',
        '{"default": {"x": {"version": "==1", "hashes": "a"}}}',
        '{"default": {"x": {"version": "==1", "hashes": ["md5:0a"]}}}',
        '{"default": {"x": {"version": "==1", "hashes": ["sha256:0a"]}}}',
        '{"default": {"x": {"version": "==1", "markers": "x y"}}}',
        '{"default": {"x": {"version": "==1\\n--pre"}}}',
        '{"default": {"-r x": {"version": "==1"}}}',
        '{"default": {"x": {"hg": "https://h.org"}}}',
        '{"_meta": {"requires": {"python_version": "4.0"}}}',
        '{"_meta": {"requires": {"python_version": 3.8}}}',
        '{"_meta": {"pipfile-spec": 99}}',
        '{"_meta": {"sources": [{"name": "a", "url": "https://${USER}@h.org"}]}, '
        '"default": {"x": {"version": "==1", "index": "a"}}}',
    ],
    "Pipfile": [
        *("x", "packages = 1", "[packages]\nx = 1", "[packages]\nx = [1]", '[packages]\nx = {version = 1}'),
        *('[packages]\nx = "1; y"', '[packages]\nx = {git = "-x"}', '[packages]\nx = {svn = "https://h.org"}'),
        *('[packages]\n"x --pre" = "*"', '[packages]\nx = "==1 --hash=y"', '[packages]\nx = {file = "ftp://h.org/x"}'),
        *('[requires]\npython_version = "2.6"', '[requires]\npython_version = 3', "source = 1", "[[source]]"),
        *('[[source]]\nurl = "file:///etc"', '[[source]]\nurl = "https://${X}@h.org"'),
        '[packages]\nx = {markers = "y"}',
        *('[packages]\nx = {version="*", sys_platform = "y"}', '[packages]\nx = {path = 1}', 'source = [1]'),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_what_is_wrong_is_an_error_that_names_the_file(repository, name, text):
    with pytest.raises(RecipeError, match=rf"(?s)^'?{re.escape(name)}"):
        plan(repository({name: text}))


DEEP: dict[str, str] = {
    "uv.lock": "version = 1\nx = " + "[" * 100_000,
    "pylock.toml": 'lock-version = "1.0"\nx = ' + "{a=" * 50_000,
    "poetry.lock": "[" * 100_000,
    "Pipfile.lock": '{"default":' * 100_000,
    "Pipfile": "[packages]\nx = " + "[" * 100_000,
    "pdm.lock": "[[" * 50_000,
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.timeout(20)
def test_deep_and_long_files_end_soon(repository, name):
    dots = "a" + ".a" * 100_000
    hidden = f'x = {{ b = """\n""" , {dots} = "x" }}'
    number = f"x = {'9' * 100_000}"
    many = "\n".join(f"{'a.' * 19}b{n} = 1  # {'.' * 99}" for n in range(20_000))
    for text in (DEEP[name], f"{dots} = 1", hidden, number, f"[{dots}]", "\x00", "x" * (5 << 20)):
        with pytest.raises(RecipeError):
            plan(repository({name: text}))
    if name == "pylock.toml":
        read_toml(many, Where(name))


def test_a_marker_is_no_deeper_than_the_parser_goes(repository):
    marker = "(" * 5000 + "os_name == 'x'" + ")" * 5000
    with pytest.raises(RecipeError, match="not an environment marker"):
        plan(repository(pylock(f'marker = "{marker}"\nwheels = [{file("https://h.org/x-1-py3-none-any.whl")}]')))


@pytest.mark.timeout(20)
def test_more_packages_than_anybody_has(repository):
    with pytest.raises(RecipeError, match="more than"):
        plan(repository({"uv.lock": "version = 1\n" + "[[package]]\n" * 20_001}))


@pytest.mark.parametrize("host", ["pypi.org", "files.pythonhosted.org", "8.8.8.8", "[2606:4700::1111]", "a1.b2"])
def test_public_hosts(host):
    check_host(host, Where("x"))


@given(st.text(alphabet="^~<>=!|,. *0123456789abv", max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_condition_of_poetry_is_read(text):
    alternatives(text)
    python_marker(text)
    fitting(("1.0", "2.1"), text)


@given(st.lists(st.sampled_from(["# /// script", "# ///", "#", "# a = 1", "x", "# /// other", ""]), max_size=12))
@settings(max_examples=300, deadline=None)
def test_script_blocks_are_those_of_the_pattern_in_the_pep(lines):
    pattern = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
    text = "\n".join(lines)
    theirs = [match for match in re.finditer(pattern, text) if match["type"] == "script"]
    if "# /// other" not in lines:
        assert len(list(_blocks(text))) == len(theirs)


@pytest.mark.timeout(20)
def test_a_script_that_is_all_starts_ends_soon(repository):
    name: Callable[[int], str] = lambda n: f"s{n}.py"  # noqa: E731
    plan(repository({name(n): "# /// script\n" * 100_000 for n in range(3)}))


def test_links_are_not_followed_to_scripts(repository, tmp_path: Path):
    (tmp_path / "secret.py").write_text('# /// script\n# dependencies = ["a"]\n# ///\n')
    root = repository({"a.txt": ""})
    (root / "s.py").symlink_to(tmp_path / "secret.py")
    assert plan(root).requirements.lines == ()
