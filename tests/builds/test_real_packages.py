"""Real packages of the index, in a real sandbox: run on purpose (`-m network`)."""

from __future__ import annotations

import os
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny import Lines, interpreter
from uv import find_uv_bin

from rebind.builds import Builder, Store
from rebind.sandbox import SANDBOX_UID, capabilities, run, session_confinement
from rebind.values import Environment, Limits, LockedPlan, Package

pytestmark = [pytest.mark.network, pytest.mark.session]

OWNER = SANDBOX_UID if os.geteuid() == 0 else None


def locked(tmp_path: Path, *names: str) -> LockedPlan:
    """By uv; the first wheel of each package is the one that fits."""
    (tmp_path / "r.in").write_text("\n".join(names))
    python = str(interpreter().executable)
    argv = [find_uv_bin(), "pip", "compile", "r.in", "-p", python, "--no-config", "--format", "pylock.toml", "-q"]
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    done = subprocess.run(argv, cwd=tmp_path, env=kept, capture_output=True, text=True, check=True)
    packages = []
    for each in tomllib.loads(done.stdout)["packages"]:
        file = each["wheels"][0]
        url, sha256 = file["url"], file["hashes"]["sha256"]
        packages.append(Package(each["name"], each["version"], url, sha256, url.rpartition("/")[2], file.get("size")))
    ordered = tuple(sorted(packages, key=lambda package: package.name))
    return LockedPlan(interpreter().version, ordered, datetime.now(UTC))


def inside(environment: Environment, script: str) -> list[str]:
    lines: list[str] = []
    made = session_confinement(environment, (), limits=Limits(), egress=None, name="tests")
    code = run(made, ["/bin/sh", "-ec", script], on_line=lines.append, timeout=100)
    assert code == 0, lines
    return lines


def test_scientific_packages_work_and_pip_manages_them(tmp_path: Path) -> None:
    if not capabilities().isolation:
        pytest.skip(capabilities().problem)
    builder = Builder(store=Store(tmp_path / "store", OWNER), egress=None, proxy_url=None)
    plan = locked(tmp_path, "numpy", "pandas", "ipykernel", "pip")
    environment = builder.build(plan, interpreter(), Lines())
    said = inside(environment, 'python -c "import numpy, pandas, ipykernel; print(pandas.DataFrame([1]).sum()[0])"')
    assert said == ["1"]
    listed = inside(environment, "pip list --format=freeze --disable-pip-version-check")
    assert {line.partition("==")[0].lower().replace("_", "-") for line in listed} == {p.name for p in plan.packages}
    assert inside(environment, "pip check --disable-pip-version-check") == ["No broken requirements found."]
    script = (
        "pip uninstall -qy pandas; ls $NB_PYTHON_PREFIX/lib/python3*/site-packages | grep -ci '^pandas' || true;"
        "ls $NB_PYTHON_PREFIX/bin | grep -c '^f2py$'; pip uninstall -qy numpy;"
        "ls $NB_PYTHON_PREFIX/bin | grep -c f2py || true"
    )
    assert inside(environment, script) == ["0", "1", "0"]
    # Nothing of it reached the environment that others share, and no .pyc was made anew.
    assert inside(environment, "python -c 'import pandas'; find /srv -newer /proc/1 -name '*.pyc' | wc -l") == ["0"]
