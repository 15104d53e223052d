"""Environments made of tiny wheels, with the interpreter that runs the tests."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import MINOR, SITE, Lines, Served, interpreter, lock, serving, wheel_bytes

from rebind.builds import Builder, Store
from rebind.builds.scripts import first_lines
from rebind.errors import BuildError
from rebind.values import NB_PREFIX, LockedPlan, Package

HERE = Path(__file__).parent
KERNELS = "share/jupyter/kernels"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def builder(store: Store) -> Builder:
    return Builder(store=store, egress=None, proxy_url=None)


def prefix_of(builder: Builder, *packages: Package, report: Lines | None = None) -> Path:
    environment = builder.build(lock(packages), interpreter(), report or Lines())
    return environment.path / NB_PREFIX[1:]


def app(served: Served, name: str = "app", version: str = "1.0") -> Package:
    files = {
        f"{name}.py": f"import sys\ndef main():\n    print({name!r}, {version!r}, sys.prefix, *sys.argv[1:])\n",
        f"{name}-{version}.data/scripts/{name}-script": f"#!python\nimport {name}\n{name}.main()\n",
    }
    data = wheel_bytes(name, version, files, info={"entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n"})
    return served.add(name, version, data)


def test_layout_of_an_environment(served: Served, builder: Builder) -> None:
    prefix = prefix_of(builder, app(served), served.add("tiny"))
    srv = prefix.parents[2]
    assert (srv / "npm/npmrc").read_text() == "prefix=/srv/npm\n"
    assert (srv / "conda/bin").is_dir()
    assert str((prefix / "bin/python").readlink()) == interpreter().inside
    assert (prefix / "bin" / f"python{MINOR}").is_symlink()
    assert (prefix / "bin/python3").is_symlink()
    assert str((prefix / "lib64").readlink()) == "lib"
    settings = (prefix / "pyvenv.cfg").read_text()
    assert f"home = {Path(interpreter().inside).parent}\n" in settings
    assert "include-system-site-packages = false\n" in settings
    for script in ("app", "app-script"):
        assert (prefix / "bin" / script).read_text().startswith(f"#!{NB_PREFIX}/bin/python\n")
        assert stat.S_IMODE((prefix / "bin" / script).stat().st_mode) == 0o755
    assert not (prefix / KERNELS).exists()


def test_files_are_links_to_the_unpacked_wheel(served: Served, builder: Builder, store: Store) -> None:
    package = served.add()
    prefix = prefix_of(builder, package)
    (wheel,) = (store.path / "wheels").iterdir()
    assert wheel.name == f"{package.sha256}-cp{MINOR.replace('.', '')}"
    assert (prefix / SITE / "tiny.py").samefile(wheel / "tree" / SITE / "tiny.py")


def test_compiled_once_with_the_path_inside(served: Served, builder: Builder, store: Store) -> None:
    prefix = prefix_of(builder, served.add())
    (compiled,) = (prefix / SITE / "__pycache__").iterdir()
    content = compiled.read_bytes()
    assert content[4:8] == b"\x01\0\0\0"  # PEP 552: by hash, not checked
    assert f"{NB_PREFIX}/{SITE}/tiny.py".encode() in content


def test_what_does_not_compile_is_installed_all_the_same(served: Served, builder: Builder) -> None:
    files = {"bad.py": "print 'x'\n", "deep.py": "(" * 5000 + ")" * 5000, "nul.py": "\0", "good.py": ""}
    prefix = prefix_of(builder, served.add("tiny", data=wheel_bytes(files=files)))
    assert {path.name.split(".")[0] for path in (prefix / SITE / "__pycache__").iterdir()} == {"good"}
    assert (prefix / SITE / "bad.py").exists()


def test_tests_of_packages_are_not_compiled(served: Served, builder: Builder) -> None:
    files = {"p/__init__.py": "", "p/tests/test_a.py": "", "p/tests/conftest.py": "", "p/tests/runner.py": ""}
    prefix = prefix_of(builder, served.add("tiny", data=wheel_bytes(files=files)))
    assert [path.name.split(".")[0] for path in (prefix / SITE / "p/tests/__pycache__").iterdir()] == ["runner"]


def test_built_once_and_found_again(served: Served, builder: Builder, tmp_path: Path) -> None:
    locked = lock((served.add("a"), served.add("b")))
    first = builder.build(locked, interpreter(), Lines())
    report = Lines()
    again = Builder(store=Store(tmp_path / "store"), egress=None, proxy_url=None)
    assert again.build(locked, interpreter(), report) == first
    assert report.lines == []
    assert len(served.asked) == 2
    assert first.digest == locked.environment


def test_one_more_package_fetches_only_that(served: Served, builder: Builder) -> None:
    a, b = served.add("a"), served.add("b")
    prefix_of(builder, a)
    report = Lines()
    prefix_of(builder, a, b, report=report)
    assert [path for path, _ in served.asked] == [f"/{a.filename}", f"/{b.filename}"]
    assert "Fetching 1 packages" in report


def test_the_same_file_in_two_packages(served: Served, builder: Builder) -> None:
    a = served.add("a", data=wheel_bytes("a", files={"same.py": "WHO = 'a'\n"}))
    b = served.add("b", data=wheel_bytes("b", files={"same.py": "WHO = 'b'\n"}))
    report = Lines()
    prefix = prefix_of(builder, b, a, report=report)
    assert (prefix / SITE / "same.py").read_text() == "WHO = 'b'\n"
    assert f"{SITE}/same.py" in report
    alone = prefix_of(builder, a)
    assert (alone / SITE / "same.py").read_text() == "WHO = 'a'\n"


def test_attack_a_file_where_another_package_has_a_directory(served: Served, builder: Builder, store: Store) -> None:
    a = served.add("a", data=wheel_bytes("a", files={"p/__init__.py": ""}))
    b = served.add("b", data=wheel_bytes("b", files={"p": "no directory"}))
    with pytest.raises(BuildError, match="has a directory"):
        prefix_of(builder, a, b)
    assert store.find("environments", lock((a, b)).environment) is None


@pytest.mark.parametrize("own", ["bin/app", "pyvenv.cfg", "bin/python", f"{KERNELS}/python3/kernel.json"])
def test_attack_directories_where_our_files_belong(served: Served, builder: Builder, own: str) -> None:
    kernel = served.add("ipykernel", data=wheel_bytes("ipykernel", files={"ipykernel/resources/x": ""}))
    evil = served.add("evil", data=wheel_bytes("evil", files={f"evil-1.0.data/data/{own}/x": ""}))
    with pytest.raises(BuildError, match="where a file of ours belongs"):
        prefix_of(builder, app(served), kernel, evil)


@pytest.mark.parametrize(("name", "version"), [("other", "1.0"), ("tiny", "2.0")])
def test_attack_a_wheel_of_another_name_or_version(served: Served, builder: Builder, name: str, version: str) -> None:
    package = served.add("tiny", data=wheel_bytes(name, version))
    with pytest.raises(BuildError, match=r"tiny-1.0-py3-none-any.whl cannot be installed"):
        prefix_of(builder, package)


def test_a_bad_wheel_among_many_ends_the_build(served: Served, builder: Builder, store: Store) -> None:
    good = tuple(served.add(f"good{number}") for number in range(5))
    bad = served.add("bad", data=wheel_bytes("bad", raw=(("../evil", b""),)))
    with pytest.raises(BuildError, match=r"bad-1.0-py3-none-any.whl cannot be installed: '../evil'"):
        prefix_of(builder, *good, bad)
    assert list((store.path / "tmp").iterdir()) == []
    prefix_of(builder, *good)


def test_kernel_is_registered(served: Served, builder: Builder) -> None:
    files = {
        "ipykernel/resources/logo-64x64.png": "logo",
        "ipykernel_launcher.py": "",
        f"ipykernel-1.0.data/data/{KERNELS}/python3/kernel.json": '{"argv": ["evil"]}',
        f"ipykernel-1.0.data/data/{KERNELS}/python2/kernel.json": "{}",
    }
    prefix = prefix_of(builder, served.add("ipykernel", data=wheel_bytes("ipykernel", files=files)))
    assert [path.name for path in (prefix / KERNELS).iterdir()] == ["python3"]
    facts = json.loads((prefix / KERNELS / "python3/kernel.json").read_text())
    assert facts["argv"][:3] == [f"{NB_PREFIX}/bin/python", "-m", "ipykernel_launcher"]
    assert facts["display_name"] == "Python 3 (ipykernel)"
    assert (prefix / KERNELS / "python3/logo-64x64.png").read_text() == "logo"


def test_writing_ours_leaves_the_shared_wheel_alone(served: Served, builder: Builder, store: Store) -> None:
    kernel = f"ipykernel-1.0.data/data/{KERNELS}/python3/kernel.json"
    data = wheel_bytes("ipykernel", files={"ipykernel/resources/x": "", kernel: "theirs"})
    prefix_of(builder, served.add("ipykernel", data=data))
    (wheel,) = (store.path / "wheels").iterdir()
    assert (wheel / "tree" / KERNELS / "python3/kernel.json").read_text() == "theirs"


def test_server_environment_works_where_it_lies(served: Served, builder: Builder) -> None:
    locked = lock((app(served), served.add("tiny")))
    report = Lines()
    prefix = builder.build_server(locked, interpreter(), report)
    for script in ("app", "app-script"):
        done = subprocess.run([prefix / "bin" / script, "x"], capture_output=True, text=True, check=True)
        assert done.stdout == f"app 1.0 {prefix} x\n"
    code = "import importlib.metadata as m; print(sorted(d.name for d in m.distributions()), m.version('app'))"
    done = subprocess.run([prefix / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['app', 'tiny'] 1.0\n"
    assert builder.build_server(locked, interpreter(), report) == prefix
    assert prefix != builder.build(locked, interpreter(), report).path


def test_record_names_files_that_are_there(served: Served, builder: Builder) -> None:
    """So that pip can uninstall."""
    prefix = builder.build_server(lock((app(served),)), interpreter(), Lines())
    rows = (prefix / SITE / "app-1.0.dist-info/RECORD").read_text().splitlines()
    paths = [row.split(",")[0] for row in rows]
    assert {"../../../bin/app", "../../../bin/app-script", "app.py"} <= set(paths)
    for path in paths:
        assert (prefix / SITE / path).exists(), path


@pytest.mark.parametrize("python", ["/a/" + "long/" * 40 + "python", "/with blank/python", "/with'quote /python"])
def test_first_lines_for_difficult_paths(tmp_path: Path, python: str) -> None:
    real = tmp_path / python[1:]
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)
    script = tmp_path / "script"
    script.write_bytes(first_lines(str(real)) + b"import sys\nprint(sys.argv[1:])\n")
    script.chmod(0o755)
    assert subprocess.run([script, "a b"], capture_output=True, text=True, check=True).stdout == "['a b']\n"


def test_a_checkout_says_where_it_is_from(served: Served, builder: Builder, store: Store) -> None:
    """The wheel of a checkout is built elsewhere (test_sources); here it lies ready."""
    from rebind.builds.assemble import _write_origin
    from rebind.builds.tree import Tree
    from rebind.builds.unpack import Unpacked
    from rebind.builds.wheels import Wheel

    prefix = prefix_of(builder, served.add())
    (place,) = (store.path / "wheels").iterdir()
    contents = Unpacked(**json.loads((place / "manifest.json").read_text()))
    url = f"git+https://example.org/tiny@{'a' * 40}"
    wheel = Wheel(place.name, place, Package("tiny", "1.0", url, "", "tiny"), contents)
    _write_origin(wheel, Tree(prefix, None), interpreter())
    info = prefix / SITE / "tiny-1.0.dist-info"
    expected = {"url": "https://example.org/tiny", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}}
    assert json.loads((info / "direct_url.json").read_text()) == expected
    assert "tiny-1.0.dist-info/direct_url.json,," in (info / "RECORD").read_text()
    assert "direct_url" not in (place / "tree" / SITE / "tiny-1.0.dist-info/RECORD").read_text()


BUILD = """
import pickle, sys
from pathlib import Path
from rebind.builds import Builder, Store
locked, interpreter = pickle.load(sys.stdin.buffer)
builder = Builder(store=Store(Path(sys.argv[1])), egress=None, proxy_url=None)
environment = builder.build(locked, interpreter, lambda event: print(event.message, end="", flush=True))
print("DONE", environment.path, flush=True)
"""


def building(store: Store, locked: LockedPlan, code: str = BUILD) -> subprocess.Popen[bytes]:
    import pickle

    argv = [sys.executable, "-c", code, str(store.path)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin
    process.stdin.write(pickle.dumps((locked, interpreter())))
    process.stdin.close()
    return process


def test_killed_at_any_point_nothing_half_made_is_used(served: Served, builder: Builder, store: Store) -> None:
    files = {f"m{number}.py": f"x = {number}\n" * 50 for number in range(120)}
    packages = tuple(
        served.add(f"p{at}", data=wheel_bytes(f"p{at}", files={f"p{at}/{k}": v for k, v in files.items()}))
        for at in range(5)
    )
    for number, pause in enumerate((0.0, 0.15, 0.25, 0.35, 0.5, 0.7)):
        locked = lock(packages, f"machine{number}")
        process = building(store, locked)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()
        environment = builder.build(locked, interpreter(), Lines())
        for at in range(5):
            folder = environment.path / NB_PREFIX[1:] / SITE / f"p{at}"
            assert {path.name: path.read_text() for path in folder.glob("*.py")} == files
            assert len(list((folder / "__pycache__").iterdir())) == len(files)
    deadline = time.monotonic() + 20
    while any((store.path / "tmp").iterdir()) and time.monotonic() < deadline:
        store.sweep()  # a worker of a killed build may be writing for a moment
    assert list((store.path / "tmp").iterdir()) == []


def test_many_processes_and_threads_make_one_build(served: Served, builder: Builder, store: Store) -> None:
    locked = lock(tuple(served.add(f"p{at}") for at in range(6)))
    report, found = Lines(), []
    processes = [building(store, locked) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: found.append(builder.build(locked, interpreter(), report).path))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = "\n".join(report.lines)
    for process in processes:
        assert process.stdout
        said += process.stdout.read().decode()
        process.stdout.close()
        assert process.wait() == 0
    assert said.count("Installing 6 packages") == 1
    assert said.count(f"DONE {found[0]}") == 2
    assert len(set(found)) == 1
    assert len(served.asked) == 6


def test_an_interpreter_of_another_minor_gets_its_own_wheels(served: Served, builder: Builder, store: Store) -> None:
    package = served.add()
    prefix_of(builder, package)
    other = replace(interpreter(), version="3.99.1")
    builder.build(replace(lock((package,)), python="3.99.1"), other, Lines())
    assert {path.name[-5:] for path in (store.path / "wheels").iterdir()} == {
        f"cp{MINOR.replace('.', '')}",
        "-cp399"[1:],
    }


INTERRUPTED = """
import pickle, signal, sys, threading, time
from pathlib import Path
from rebind.builds import Builder, Store
locked, interpreter = pickle.load(sys.stdin.buffer)
builder = Builder(store=Store(Path(sys.argv[1])), egress=None, proxy_url=None)
try:
    builder.build(locked, interpreter, lambda event: print(event.message, end="", flush=True))
except KeyboardInterrupt:
    print("INTERRUPTED", len(list(builder.store.path.glob("tmp/*"))), flush=True)
"""


def test_interrupted_it_ends_at_once_and_leaves_nothing(served: Served, store: Store) -> None:
    """Also in the middle of a download that would take for ever."""
    slow = served.add("slow", data=wheel_bytes("slow", files={"x": os.urandom(2_000_000)}))
    served.slow = True
    process = building(store, lock((slow, served.add("tiny"))), INTERRUPTED)
    while not served.asked:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.stdout
    said = process.stdout.read().decode()
    process.stdout.close()
    assert process.wait() == 0
    assert said.endswith("INTERRUPTED 0\n")


def test_a_failure_does_not_wait_for_the_others(served: Served, builder: Builder) -> None:
    slow = served.add("slow", data=wheel_bytes("slow", files={"x": os.urandom(2_000_000)}))
    bad = served.add("bad", data=b"bad")
    served.slow = True
    with pytest.raises(BuildError, match=r"bad-1.0-py3-none-any.whl cannot be installed"):
        prefix_of(builder, slow, bad)
