from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.errors import RecipeError
from rebind.recipes.requirements import parse_dependencies, read_requirements
from rebind.recipes.tree import Tree
from rebind.values import LocalPackage, Requirements


def read(root: Path, name: str = "requirements.txt") -> Requirements:
    return read_requirements(Tree.at(root), name)[0]


def warnings(root: Path) -> tuple[str, ...]:
    return read_requirements(Tree.at(root), "requirements.txt")[1]


@pytest.fixture
def lines(repository):
    """Reads requirements from a text, beside a few files."""

    def read_text(text: str) -> Requirements:
        return read(repository({"requirements.txt": text, "pkg/setup.py": "", "my pkg/setup.py": "", "x.whl": ""}))

    return read_text


@pytest.fixture
def refused(lines):
    """The message for a text that is refused."""

    def message(text: str) -> str:
        with pytest.raises(RecipeError) as caught:
            lines(text)
        assert str(caught.value)
        return caught.value.text()

    return message


def test_no_file_is_no_requirements(tmp_path):
    assert read(tmp_path) == Requirements()


def test_comments_blanks_and_continuations(lines):
    text = "# head \\\n\n  numpy  # why\npandas>=1,\\\n<2\nscipy \\\n# a comment ends it\nseaborn\\"
    assert lines(text).lines == ("numpy", "pandas>=1,<2", "scipy", "seaborn")


def test_line_ends_of_windows(lines):
    assert lines("numpy\r\npandas\\\r\n>=1\r\n").lines == ("numpy", "pandas>=1")


def test_a_hash_sign_in_an_address_is_no_comment(lines):
    assert lines("git+https://x.org/a#egg=a # comment").lines == ("git+https://x.org/a#egg=a",)


def test_names_extras_and_markers_are_kept(lines):
    text = 'requests[socks, security]>=2 ; python_version < "3.8"\nDjango~=4.2\na===1.0\nb (>=1.2)'
    assert lines(text).lines == tuple(text.splitlines())


@pytest.mark.parametrize(
    "line",
    [
        "https://x.org/a-1.0-py3-none-any.whl",
        "http://x.org/archive/master.zip#egg=a",
        "git+https://github.com/x/y.git@v1#egg=y",
        "git+ssh://git@github.com/x/y",
        "a @ https://x.org/a.zip",
        "a[b,c] @ git+https://github.com/x/y@abc123",
        'a @ https://x.org/a;b.zip ; python_version < "3"',
    ],
)
def test_addresses_are_kept(lines, line):
    assert lines(line).lines == (line,)


def test_an_editable_address_is_a_plain_one(lines):
    assert lines("-e git+https://x.org/a#egg=a\n--editable=git+https://x.org/b").lines == (
        "git+https://x.org/a#egg=a",
        "git+https://x.org/b",
    )


def test_the_git_protocol_of_github_is_mended(repository):
    root = repository({"requirements.txt": "-e git://github.com/x/y.git#egg=y\ngit+git://github.com/x/z"})
    assert read(root).lines == ("git+https://github.com/x/y.git#egg=y", "git+https://github.com/x/z")
    assert len(warnings(root)) == 2


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("./pkg", LocalPackage("pkg")),
        ("pkg/", LocalPackage("pkg")),
        ("./my pkg", LocalPackage("my pkg")),
        ("x.whl", LocalPackage("x.whl")),
        ("./x.whl", LocalPackage("x.whl")),
        (".", LocalPackage(".")),
        (".[a, b]", LocalPackage(".", extras=("a", "b"))),
        ("-e .", LocalPackage(".", True)),
        ("-e.", LocalPackage(".", True)),
        ('-e "./my pkg"', LocalPackage("my pkg", True)),
        ("--editable=./pkg[a]", LocalPackage("pkg", True, ("a",))),
        ("-e ./pkg#egg=pkg[a]", LocalPackage("pkg", True, ("a",))),
        ("-e .#subdirectory=pkg", LocalPackage("pkg", True)),
        ("file:pkg", LocalPackage("pkg")),
        ("file:./my%20pkg", LocalPackage("my pkg")),
        ("file://./pkg", LocalPackage("pkg")),
        ("file:///home/jovyan/pkg", LocalPackage("pkg")),
        ("/home/jovyan/x.whl", LocalPackage("x.whl")),
        ("~/pkg", LocalPackage("pkg")),
        ("name @ file:./pkg", LocalPackage("pkg")),
        ("name[a] @ ./pkg", LocalPackage("pkg", extras=("a",))),
        ("pkg/../pkg/./", LocalPackage("pkg")),
        ('./pkg ; sys_platform == "linux"', LocalPackage("pkg")),
        ('-e . ; sys_platform == "linux"', LocalPackage(".", True)),
    ],
)
def test_packages_of_the_repository(lines, line, package):
    assert lines(line).local == (package,)
    assert lines(line).lines == ()


def test_a_package_named_twice_is_one(lines):
    assert lines("./pkg[a]\n-e pkg/[b]").local == (LocalPackage("pkg", True, ("a", "b")),)


def test_markers_of_local_packages(repository):
    root = repository(
        {"requirements.txt": './pkg; sys_platform == "win32"\n.; python_version < "3"', "pkg/setup.py": ""}
    )
    assert read(root).local == (LocalPackage("."),)
    assert "whatever its marker" in warnings(root)[0]


def test_a_linked_package_is_named_by_its_real_path(repository):
    root = repository({"requirements.txt": "./link", "pkg/setup.py": ""})
    (root / "link").symlink_to("pkg")
    assert read(root).local == (LocalPackage("pkg"),)


def test_nested_files_count_from_the_including_file(repository):
    root = repository(
        {
            "requirements.txt": "first\n-r deps/a.txt\n--constraint=deps/c.txt\nlast",
            "deps/a.txt": "a\n-rmore/b.txt\n./pkg",
            "deps/more/b.txt": "b\n-c ../c.txt\n-r ../../root.txt",
            "deps/c.txt": "numpy<2\n-r ../fromc.txt",
            "root.txt": "root",
            "fromc.txt": "fromc",
            "pkg/setup.py": "",
        }
    )
    found = read(root)
    assert found.lines == ("first", "a", "b", "fromc", "root", "last")
    assert found.constraints == ("numpy<2",)
    assert found.local == (LocalPackage("pkg"),)  # counts from the root, as for pip


@pytest.mark.parametrize("prefix", ["-r ", "-c ", "-r", "--requirement=", "--constraint "])
@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "../repository/../other", "~root/x", "/home/jovyan/../../etc/passwd"],
)
def test_nested_files_stay_inside(refused, prefix, path):
    message = refused(f"{prefix}{path}")
    assert "repository" in message
    assert "root:" not in message
    assert message.startswith("requirements.txt line 1: ")


@pytest.mark.parametrize(
    "path", ["absent.txt", "pkg", "https://x.org/r.txt", "file:///etc/passwd", "a\u2028b", "x" * 300]
)
def test_nested_files_that_cannot_be_read(refused, path):
    refused(f"-r {path}")


@pytest.mark.parametrize("kind", ["-r", "-c"])
def test_cycles_are_refused(repository, kind):
    root = repository({"requirements.txt": f"{kind} a.txt", "a.txt": f"{kind} ./sub/../requirements.txt", "sub/x": ""})
    with pytest.raises(RecipeError, match="includes itself"):
        read(root)


def test_a_cycle_over_a_link_is_refused(repository):
    root = repository({"requirements.txt": "-r again.txt"})
    (root / "again.txt").symlink_to("requirements.txt")
    with pytest.raises(RecipeError, match="includes itself"):
        read(root)


def test_a_file_included_by_many_is_read_once(repository):
    files = {f"{n}.txt": f"-r {n + 1}.txt\n-r {n + 1}.txt\np{n}" for n in range(15)}
    assert len(read(repository(files | {"15.txt": "end", "requirements.txt": "-r 0.txt"})).lines) == 16


def test_deep_nesting_is_refused(repository):
    files = {f"{n}.txt": f"-r {n + 1}.txt" for n in range(2000)}
    with pytest.raises(RecipeError, match="nested"):
        read(repository(files | {"2000.txt": "", "requirements.txt": "-r 0.txt"}))


@pytest.mark.parametrize(
    "line",
    [
        "../other",
        "-e ..",
        "/abs/x.whl",
        "file:///etc",
        "file:../x",
        "file:%2e%2e/x",
        "file://server/share/x.whl",
        "name @ file:///etc/work",
        "file:///croot/name/work",
        "name @ ../x",
        ".#subdirectory=..",
        ".#subdirectory=/etc",
        "./absent",
        "absent.whl",
        "file:",
        "./pkg ; nonsense",
        "name[a;b] @ ./pkg",
        "./pkg[-x]",
    ],
)
def test_paths_that_lead_out_or_nowhere_are_refused(refused, line):
    refused(line)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("certifi @ file:///croot/certifi_1671487769961/work/certifi", "certifi"),
        ("comm @ file:///home/conda/feedstock_root/build_artifacts/comm_1733502965406/work", "comm"),
        ("click @ file:///C:/b/abs_f9ihnt72pu/croot/click_1698129847492/work", "click"),
        ("cffi[x] @ file:///tmp/build/80754af9/cffi/work ; python_version>'3'", 'cffi[x] ; python_version > "3"'),
        ("numpy @ file:///croot/n/work/dist/numpy-1.26.4-cp311-cp311-linux_x86_64.whl#sha256=0", "numpy==1.26.4"),
    ],
)
def test_what_pip_freeze_wrote_under_conda_means_the_name(repository, line, meant):
    root = repository({"requirements.txt": line})
    assert read(root).lines == (meant,)
    assert len(warnings(root)) == ("==" not in meant)


def test_another_absolute_path_is_explained(refused):
    assert "pip list --format=freeze" in refused("certifi @ file:///home/me/certifi")


@pytest.mark.parametrize(
    "line",
    [
        "git+ext::sh -c touch% /tmp/x",
        "git+ext://sh%20-c%20touch/x",
        "git+file:///etc",
        "git+https://-oProxyCommand=x/y",
        "git+ssh://-oProxyCommand=x@host/y",
        "git+ssh://%2DoProxyCommand=x/y",
        "git+https://x.org/y@--upload-pack=touch",
        "git+https://x.org/y@%2d-upload-pack=touch",
        "git+https://x.org/y#subdirectory=../../etc",
        "git+https:///y",
        "hg+https://x.org/y",
        "svn+ssh://x.org/y",
        "ftp://x.org/y.zip",
        "https://[::1/y.zip",
        "git@github.com:x/y.git",
        "git+git@github.com:x/y.git",
        "javascript://x",
        "a- @ https://x.org/a",
    ],
)
def test_addresses_that_could_do_harm_are_refused(refused, line):
    refused(line)
    refused(f"-e {line}")


@pytest.mark.parametrize(
    "line",
    [
        "a @ https://x.org/${SECRET}",
        "-r ${HOME}/x.txt",
        "-i https://${TOKEN}@x.org/",
        "-f ${HOME}",
        "./${USER}",
        "-e ${X}",
    ],
)
def test_variables_of_the_builder_are_not_asked_for(refused, line):
    refused(line)


def test_a_conda_version_is_explained(refused):
    assert "two signs" in refused("numpy=1.26.4")
    assert "two signs" in refused("numpy=1.26.4=py310")


@pytest.mark.parametrize(
    "line",
    ["numpy pandas", "numpy==", "==1", "numpy;", "a @", "-e numpy", "-e https://x.org/a.zip", "--pre x", "numpy --pre",
     "--bogus", "-x", "--index-url", "-r", "-e", "--pre=1", "--no-binary=", "'numpy", "numpy --hash='x",
     "a; " + "(" * 3000, "a" * 5000, "a<" + "1" * 4000 + "!"],
)  # fmt: skip
def test_lines_that_are_no_requirements(refused, line):
    assert refused(line).startswith("requirements.txt line 1: ")


def test_options_are_kept_by_their_long_names(lines):
    text = (
        "-i https://a.org/simple\n--index-url=https://b.org/s --extra-index-url https://c.org\n-f https://d.org/w.html\n"
        "--pre\n--no-index\n--prefer-binary\n--no-binary a,b\n--only-binary=:all:\n--trusted-host c.org:80\n--pre"
    )
    assert lines(text).options == (
        "--index-url https://a.org/simple",
        "--index-url https://b.org/s",
        "--extra-index-url https://c.org",
        "--find-links https://d.org/w.html",
        "--pre",
        "--no-index",
        "--prefer-binary",
        "--no-binary a",
        "--no-binary b",
        "--only-binary :all:",
        "--trusted-host c.org:80",
    )


@pytest.mark.parametrize(
    "line",
    ["-i file:///etc", "-i /etc", "-i --help", "--extra-index-url ftp://x", "--no-binary --exec", "--no-binary a/b",
     "--trusted-host a/b", "--trusted-host -x", "-f file:///etc", "-f /etc", "-f ..", "-i 'https://x y'", "-i https://"],
)  # fmt: skip
def test_option_values_are_checked(refused, line):
    refused(line)


def test_find_links_in_the_repository(repository):
    root = repository(
        {
            "requirements.txt": "-f wheels\n-f absent\n-r deps/r.txt",
            "wheels/x": "",
            "deps/r.txt": "-f more",
            "deps/more/": "",
        }
    )
    assert read(root).options == ("--find-links wheels", "--find-links deps/more")
    assert "'absent' is not there" in warnings(root)[0]


A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_hashes_go_along_with_their_package(repository):
    lines = (
        f"--require-hashes\nNum_Py==1.0 \\\n --hash=sha256:{A} \\\n --hash=sha256:{B}\npandas[x]>=1 --hash sha256:{C}"
    )
    found, warnings = read_requirements(Tree.at(repository({"requirements.txt": lines})), "requirements.txt")
    assert found.lines == ("Num_Py==1.0", "pandas[x]>=1")
    assert found.hashes == (("num-py", (A, B)), ("pandas", (C,)))
    assert warnings == ()


def test_hashes_of_a_name_add_up_and_other_kinds_are_left_out(repository):
    text = f"a==1; python_version<'3' --hash=sha256:{A}\na==2 --hash=sha512:{A}{A} --hash=sha256:{B}\n"
    text += f"b @ https://x.org/b.zip --hash=sha256:{C}"
    found, _ = read_requirements(Tree.at(repository({"requirements.txt": text})), "requirements.txt")
    assert found.hashes == (("a", (A, B)), ("b", (C,)))


def test_hashes_of_what_has_no_name_are_named_in_a_warning(repository):
    text = f"https://x.org/b.zip --hash=sha256:{C}"
    found, warnings = read_requirements(Tree.at(repository({"requirements.txt": text})), "requirements.txt")
    assert found.hashes == ()
    assert "not compared" in warnings[0]


@pytest.mark.parametrize(
    "bad", ["sha256:aa", "sha256", "", f"sha256:{'A' * 64}", f"md5:{'0' * 32}", "x:y", f"sha256:{A}a"]
)
def test_what_is_no_usable_hash_is_an_error(repository, bad):
    with pytest.raises(RecipeError, match=r"^requirements\.txt line 1: "):
        read_requirements(Tree.at(repository({"requirements.txt": f"a==1 --hash={bad}"})), "requirements.txt")


def test_options_without_effect_are_named(repository):
    root = repository(
        {"requirements.txt": "--use-feature=2020-resolver\n--process-dependency-links\na --install-option=x"}
    )
    assert read(root).lines == ("a",)
    assert [warning.split(":")[0] for warning in warnings(root)] == [f"requirements.txt line {n}" for n in (1, 2, 3)]


def test_warnings_are_not_endless(repository):
    assert len(warnings(repository({"requirements.txt": "--use-wheel\n" * 500}))) == 21


def test_constraints_are_names(repository):
    for line in ("./pkg", "-e .", "https://x.org/a.zip", "-e git+https://x.org/a"):
        root = repository({"requirements.txt": "-c c.txt", "c.txt": line, "pkg/setup.py": ""})
        with pytest.raises(RecipeError, match=r"^c\.txt line 1: a constraint must be"):
            read(root)


def test_an_old_wildcard_is_mended(repository):
    root = repository({"requirements.txt": "a>=2.*\nb>=1.2.*,<2.*"})
    assert read(root).lines == ("a>=2", "b>=1.2,<2")
    assert len(warnings(root)) == 2


def test_too_many_requirements(repository):
    with pytest.raises(RecipeError, match="more than 20000"):
        read(repository({"requirements.txt": "a\n" * 20_001}))


def test_dependencies_of_a_list_name_their_file(tmp_path):
    found, _ = parse_dependencies(["a", "b>=1\n"], Tree.at(tmp_path), "pyproject.toml")
    assert found.lines == ("a", "b>=1")
    with pytest.raises(RecipeError, match=r"^pyproject\.toml: "):
        parse_dependencies(["-r /etc/passwd"], Tree.at(tmp_path), "pyproject.toml")


pieces = st.sampled_from(
    ["numpy", "==1.0", ">=2.*", "-e", "-r", "-c", " ", " ; ", "python_version", "<'3'", "[a,b]", "@", "file:",
     "git+https:", "//", "/", "..", ".", "pkg", "requirements.txt", "#", "egg=", "&subdirectory=", "\\\n", "\n",
     "--hash=", "--pre", "-i", "https://x.org", "%2e", "~", "'", '"', "${A}", "(", ")", "x.whl", "\t", "--no-binary",
     ",", ":all:", "é", "-f"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces | st.text(max_size=3), max_size=14).map("".join))
def test_any_text_gives_requirements_inside_or_a_recipe_error(text):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "pkg").mkdir()
        (root / "requirements.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = read(root)
        except RecipeError:
            return
    for line in found.lines + found.constraints + found.options:
        assert line.isprintable()
        assert "${" not in line
    assert all(not package.path.startswith(("/", "..")) for package in found.local)
    assert not any(line.startswith("-") for line in found.lines + found.constraints)
